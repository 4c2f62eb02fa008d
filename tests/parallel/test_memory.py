"""Memory on each device of a mesh: the estimate beside XLA's account, and the least `parallel.fsdp` that fits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import jax
import pytest

from chomp.config import Config, parse_config
from chomp.config.mesh import micro_batches, rows_at_once
from chomp.errors import ConfigError
from chomp.parallel.mesh import ONE_DEVICE, Placement, placement_of, plan_mesh
from chomp.train.blueprint import build_blueprint
from chomp.train.footprint import activation_bytes, bytes_on_device, estimate_memory, fsdp_advice, least_fsdp
from tests.parallel.compiled_memory import configuration

GIB = 2**30
# XLA's account of a whole compiled step by the estimate, on CPUs; docs/gpu.md has those of cards.
LEAST_SHARE, MOST_SHARE = 0.8, 1.4


def compiled(*case: str) -> dict[str, Any]:
    printed = subprocess.run(
        [sys.executable, "-m", "tests.parallel.compiled_memory", *case],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "8"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=300,
    ).stdout
    found: dict[str, Any] = json.loads(printed)
    return found


@pytest.mark.parametrize(
    "case",
    [
        ("llama", "2", "4"),
        pytest.param(("llama", "1", "8"), marks=pytest.mark.soak),
        pytest.param(("llama", "8", "1"), marks=pytest.mark.soak),
        pytest.param(("megalodon", "2", "4"), marks=pytest.mark.soak),
        pytest.param(("megalodon", "1", "8"), marks=pytest.mark.soak),
        # Its compiler keeps what the policy recomputes, in every layer.
        pytest.param(("llama", "1", "8", "num_layers=6", "remat=full"), marks=pytest.mark.soak),
    ],
)
def test_the_estimate_is_that_of_the_compiled_step(case: tuple[str, ...]) -> None:
    found, fsdp = compiled(*case), int(case[2])
    # Ids, labels and segments of the device's own rows; the mask is not read.
    batch = 3 * 4 * 2 * 2 * 64
    assert found["compiled"]["argument"] == found["state"] + batch
    assert found["state"] <= found["whole"] / fsdp + found["whole"] / 100
    assert LEAST_SHARE <= found["compiled"]["total"] / found["estimate"]["total"] <= MOST_SHARE
    if fsdp > 1:
        # Around a ring each device sends what it gathers or sums, but for its own part, in both micro-batches.
        cut = 4 * found["cut"] * (fsdp - 1) / fsdp
        assert found["collectives"]["reduce-scatter"][1] == found["accum"] * cut
        assert found["collectives"]["all-gather"][1] >= found["accum"] * cut


def config_of(**train: Any) -> Config:
    config = configuration("llama", -1, 1)
    return config.model_copy(update={"train": config.train.model_copy(update=train)})


def test_arrays_are_cut_as_they_are_placed() -> None:
    shapes = [jax.ShapeDtypeStruct(shape, "float32") for shape in ((4096, 6), (10, 4096), (7, 4097), (64,), ())]
    assert bytes_on_device(shapes) == 4 * (4096 * 6 + 40960 + 7 * 4097 + 64 + 1)
    # What no axis divides, or is small, is whole on each device.
    assert bytes_on_device(shapes, placement_of(2, 4)) == 4 * (1024 * 6 + 10 * 1024 + 7 * 4097 + 64 + 1)


@pytest.mark.parametrize(
    ("accum", "devices", "micro", "rows"), [(16, 1, 16, 2), (16, 8, 2, 2), (16, 32, 1, 1), (3, 3, 1, 2), (3, 2, 3, 1)]
)
def test_devices_compute_at_most_a_micro_batch_at_once(accum: int, devices: int, micro: int, rows: int) -> None:
    config = config_of(grad_accum=accum)
    assert (micro_batches(config, devices), rows_at_once(config, devices)) == (micro, rows)


@pytest.mark.parametrize(
    ("train", "devices", "options"),
    [
        (
            {"grad_accum": 8},
            3,
            "a step has 16 rows (train.batch_size 2 x 8), which 3 devices cannot share evenly: use 2 of them with "
            "--devices 0,1, or -o train.grad_accum=6 (12 rows) or -o train.grad_accum=9 (18 rows)",
        ),
        (
            {"grad_accum": 1, "batch_size": 1},
            8,
            "a step has 1 rows (train.batch_size 1 x 1), which 8 devices cannot share evenly: use 1 of them with "
            "--devices 0, or -o train.grad_accum=8 (8 rows)",
        ),
        (
            {"batch_tokens": 640, "grad_accum": None},
            4,
            "a step has 10 rows (train.batch_size 2 x 5), which 4 devices cannot share evenly: use 2 of them with "
            "--devices 0,1, or -o train.batch_tokens=512 (8 rows) or -o train.batch_tokens=768 (12 rows)",
        ),
    ],
)
def test_the_options_with_which_devices_share_the_rows(train: dict[str, Any], devices: int, options: str) -> None:
    config = config_of(**train)
    with pytest.raises(ConfigError) as error:
        plan_mesh(config, devices)
    assert str(error.value) == options


def test_a_mesh_need_not_be_here() -> None:
    text = json.dumps({"parallel": {"fsdp": 4}, "train": {"batch_size": 4, "grad_accum": 8}})
    config = parse_config(text, source="test").config
    assert plan_mesh(config, 32).shape == {"data": 8, "fsdp": 4}
    assert plan_mesh(config_of(), 1) == ONE_DEVICE
    filtered = config.model_copy(update={"objective": config.objective.model_copy(update={"token_filter_keep": 0.5})})
    with pytest.raises(ConfigError, match="ranks the tokens of a whole micro-batch, and 8 devices share one"):
        plan_mesh(filtered, 8)


@pytest.mark.parametrize(("limit", "least"), [(100, (1, 100)), (60, (2, 60)), (41, (4, 40)), (25, None)])
def test_the_least_fsdp_that_fits(limit: int, least: tuple[int, int] | None) -> None:
    def total(placement: Placement) -> int:
        assert placement.count == 8
        return 20 + 80 // placement.fsdp

    assert least_fsdp(8, limit, total) == least


def test_what_to_change_where_a_device_holds_too_much() -> None:
    config = config_of()
    assert fsdp_advice(config, 8, (4, 3 * GIB)) == (
        "parallel.fsdp of at least 4 fits by estimate (-o parallel.fsdp=4, 3.0 GiB on each device)"
    )
    assert fsdp_advice(config, 8, None) == "even parallel.fsdp=8 does not fit 8 devices by estimate"
    fixed = config.model_copy(update={"parallel": config.parallel.model_copy(update={"data": 8})})
    assert "(-o parallel.data=-1 -o parallel.fsdp=2, " in fsdp_advice(fixed, 8, (2, GIB))


def test_devices_that_share_parameters_keep_no_copies_of_a_layer_s() -> None:
    """They are gathered again in the backward pass; one device keeps them in the dtype of the products."""
    config = configuration("llama", -1, 1)
    kept, matrices = [], 0
    for layers in (1, 2):
        model = config.model.model_copy(update={"compute_dtype": "bfloat16", "num_layers": layers})
        blueprint = build_blueprint(config.model_copy(update={"model": model}), "cpu")
        model_def, resolved = blueprint.model_def, blueprint.config
        kept.append([activation_bytes(model_def, resolved, placement_of(*shape)) for shape in ((4, 1), (1, 4))])
        blocks = jax.tree.leaves(blueprint.model_def.abstract().blocks[0])
        matrices = sum(2 * leaf.size for leaf in blocks if leaf.ndim == 2)
    copies, shared = (two - one for one, two in zip(*kept, strict=True))
    # Other values are kept in another form where a layer is computed again in part.
    assert copies - shared > matrices / 2


@pytest.mark.parametrize(("backend", "setting"), [("llama", "attention=xla"), ("megalodon", "chunk_size=64")])
def test_attention_is_computed_again_on_devices_that_share_parameters(backend: str, setting: str) -> None:
    """Weights, one in bf16 for each pair of positions, are kept under `none` alone."""
    kept = {}
    for policy in ("none", "attention"):
        config = configuration(backend, -1, 1, f"remat={policy}", "num_layers=1", setting)
        model_def = build_blueprint(config, "cpu").model_def
        kept[policy] = [activation_bytes(model_def, config, placement_of(*shape)) for shape in ((4, 1), (1, 4))]
    weights = 2 * (2 * 2 * 64 * 64)
    for none, attention in zip(kept["none"], kept["attention"], strict=True):
        assert none - attention >= weights


def test_a_cpu_keeps_what_is_recomputed_and_the_whole_of_what_is_gathered() -> None:
    """Its compiler undoes both, so that neither the policy nor the mesh makes less of it."""
    config = configuration("llama", -1, 1)
    found = {}
    for policy, layers in (("none", 1), ("full", 1), ("full", 2)):
        model = config.model.model_copy(update={"remat": policy, "num_layers": layers})
        blueprint = build_blueprint(config.model_copy(update={"model": model}), "cpu")
        found[policy, layers] = [estimate_memory(blueprint, placement_of(*shape)) for shape in ((4, 1), (1, 4))]
        blocks = jax.tree.leaves(blueprint.model_def.abstract().blocks[0])
        matrices = sum(4 * leaf.size for leaf in blocks if leaf.ndim == 2)
    assert found["none", 1] == found["full", 1]
    for one, two in zip(found["full", 1], found["full", 2], strict=True):
        assert two.activations > 1.2 * one.activations
    (_, one), (_, two) = found["full", 1], found["full", 2]
    assert two.gathered - one.gathered == matrices
