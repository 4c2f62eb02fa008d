"""The shapes themselves, at a few points worked out by hand."""

from typing import Any, get_args, get_type_hints

import pytest

from chomp.config.derive import derive
from chomp.config.optim import OptimConfig
from chomp.optim.schedule import SHAPES, make_schedule
from tests.model.tiny import tiny_config


def rate(count: int, steps: int = 100, **optim: Any) -> float:
    config = tiny_config("dummy", train={"steps": steps}, optim={"min_lr_ratio": 0.0, "warmup_steps": 0, **optim})
    return float(make_schedule(config.optim, derive(config), 1.0)(count))


@pytest.mark.parametrize(
    ("shape", "quarter", "half"), [("linear", 0.75, 0.5), ("cosine", 0.8535534, 0.5), ("sqrt", 0.5, 0.2928932)]
)
def test_final_decay_shapes(shape: str, quarter: float, half: float) -> None:
    optim = {"schedule": "wsd", "decay_shape": shape, "decay_steps": 40}
    assert rate(60, **optim) == 1.0
    assert rate(70, **optim) == pytest.approx(quarter, rel=1e-6)
    assert rate(80, **optim) == pytest.approx(half, rel=1e-6)


def test_every_decay_shape_of_the_configuration_is_there() -> None:
    assert set(SHAPES) == set(get_args(get_type_hints(OptimConfig)["decay_shape"]))


def test_stable_phase_decays_over_the_last_fifth_unless_told() -> None:
    assert rate(80, schedule="wsd") == 1.0
    assert rate(90, schedule="wsd") == pytest.approx(0.5)


def test_a_stable_phase_without_a_decay_never_ends() -> None:
    assert [rate(count, schedule="wsd", decay_steps=0) for count in (0, 50, 99, 100)] == [1.0] * 4


def test_cosine_takes_all_remaining_steps_unless_told() -> None:
    assert rate(55, schedule="cosine", warmup_steps=10) == pytest.approx(0.5, rel=1e-6)
    assert rate(30, schedule="cosine", warmup_steps=10, decay_steps=40) == pytest.approx(0.5, rel=1e-6)


def test_floor_lifts_the_whole_decay() -> None:
    assert rate(90, schedule="wsd", min_lr_ratio=0.2) == pytest.approx(0.6)
