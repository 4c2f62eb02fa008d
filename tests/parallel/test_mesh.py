"""Shapes of meshes, and which rows of a step a device computes."""

from typing import Any

import pytest

from chomp.config.mesh import mesh_shape, micro_batches
from chomp.errors import ConfigError
from chomp.parallel.mesh import Placement, place_on
from tests.model.tiny import tiny_config


@pytest.mark.parametrize(
    ("data", "fsdp", "devices", "shape"),
    [
        (-1, 1, 1, (1, 1)), (-1, 1, 8, (8, 1)), (-1, 4, 8, (2, 4)), (2, -1, 8, (2, 4)), (1, -1, 8, (1, 8)),
        (2, 4, 8, (2, 4)),
    ],
)  # fmt: skip
def test_the_axis_that_is_minus_one_takes_what_the_other_leaves(data, fsdp, devices, shape):
    assert mesh_shape(tiny_config(parallel={"data": data, "fsdp": fsdp}), devices) == shape


@pytest.mark.parametrize(
    ("data", "fsdp", "devices", "message"),
    [
        (
            -1, 3, 8,
            "parallel.fsdp is 3, which does not divide the 8 devices of this run; it can be 1, 2, 4 or 8, or choose "
            "devices with --devices",
        ),
        (
            5, -1, 6,
            "parallel.data is 5, which does not divide the 6 devices of this run; it can be 1, 2, 3 or 6, or choose "
            "devices with --devices",
        ),
        (
            2, 2, 8,
            "parallel.data x parallel.fsdp = 2 x 2 = 4 devices, and this run has 8; set one of them to -1, or choose "
            "devices with --devices",
        ),
    ],
)  # fmt: skip
def test_a_mesh_that_the_devices_do_not_make(data, fsdp, devices, message):
    with pytest.raises(ConfigError, match="--devices") as caught:
        mesh_shape(tiny_config(parallel={"data": data, "fsdp": fsdp}), devices)
    assert str(caught.value) == message


@pytest.mark.parametrize("values", [{"data": 0}, {"fsdp": 0}, {"data": -1, "fsdp": -1}, {"data": -2}])
def test_an_axis_that_cannot_be(values):
    from chomp.config.load import parse_config

    text = "parallel: {" + ", ".join(f"{name}: {value}" for name, value in values.items()) + "}\n"
    with pytest.raises(ConfigError, match=r"parallel\.(data|fsdp)"):
        parse_config(text, source="c.yaml")


@pytest.mark.parametrize(
    ("accum", "batch", "devices", "found"),
    [(1, 8, 1, 1), (4, 8, 1, 4), (3, 5, 1, 3), (4, 8, 8, 1), (8, 4, 4, 2), (32, 1, 8, 4), (6, 4, 3, 2), (9, 4, 3, 3)],
)
def test_micro_batches_of_a_mesh(accum, batch, devices, found):
    config = tiny_config(train={"batch_size": batch, "grad_accum": accum})
    assert micro_batches(config, devices) == found


def test_a_filter_of_tokens_needs_one_device():
    filtered: dict[str, Any] = {"objective": {"token_filter_keep": 0.5}, "parallel": {"data": 2}}
    with pytest.raises(ConfigError, match="token_filter_keep"):
        place_on(tiny_config(**filtered), [None, None])  # type: ignore[list-item]


def test_one_device_is_no_mesh():
    placement = place_on(tiny_config(), [None])  # type: ignore[list-item]
    assert placement == Placement()
    assert (placement.data, placement.fsdp, placement.count, placement.cut_axis((64, 64))) == (1, 1, 1, -1)
