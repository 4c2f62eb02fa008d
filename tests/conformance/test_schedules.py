"""What every learning-rate schedule must do."""

from typing import Any

import jax
import numpy as np
import pytest

from chomp.config.derive import Derived, derive
from chomp.config.schema import Config
from chomp.optim.schedule import make_schedule
from tests.model.tiny import tiny_config

PEAK, STEPS, WARMUP = 2e-3, 60, 10

KINDS = [
    {"schedule": "cosine"},
    {"schedule": "cosine", "decay_steps": 20},
    {"schedule": "wsd", "decay_shape": "linear"},
    {"schedule": "wsd", "decay_shape": "cosine", "decay_steps": 25},
    {"schedule": "wsd", "decay_shape": "sqrt", "decay_steps": 50},
]

pytestmark = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))


def curve(kind: dict[str, Any], length: int = STEPS + 30, **changes: Any) -> tuple[np.ndarray, Config, Derived]:
    optim = {"warmup_steps": WARMUP, "min_lr_ratio": 0.1, **kind, **changes}
    config = tiny_config("dummy", train={"steps": STEPS}, optim=optim)
    derived = derive(config)
    rates = jax.vmap(make_schedule(config.optim, derived, PEAK))(np.arange(length))
    return np.asarray(rates, np.float64), config, derived


def test_warm_up_rises_in_equal_steps_from_above_zero_to_the_peak(kind: dict[str, Any]) -> None:
    rates, _, _ = curve(kind)
    np.testing.assert_allclose(rates[:WARMUP], PEAK * np.arange(1, WARMUP + 1) / WARMUP, rtol=1e-6)


def test_without_warm_up_the_first_update_has_the_peak(kind: dict[str, Any]) -> None:
    if kind.get("decay_steps") == 50:
        kind = {**kind, "decay_steps": 60}
    assert curve(kind, warmup_steps=0)[0][0] == pytest.approx(PEAK)


def test_never_rises_after_warm_up_and_ends_at_the_floor_for_good(kind: dict[str, Any]) -> None:
    rates, _, derived = curve(kind)
    assert (np.diff(rates[WARMUP:]) <= 0).all()
    assert rates[derived.schedule_steps - 1] > PEAK * 0.1
    np.testing.assert_allclose(rates[derived.schedule_steps :], PEAK * 0.1, rtol=1e-6)


def test_stays_at_the_peak_until_the_decay_begins(kind: dict[str, Any]) -> None:
    rates, _, derived = curve(kind)
    start = derived.schedule_steps - derived.decay_steps_effective
    np.testing.assert_allclose(rates[WARMUP - 1 : start + 1], PEAK, rtol=1e-6)
    assert rates[start + 1] < PEAK


def test_a_floor_of_zero_or_one_is_reached(kind: dict[str, Any]) -> None:
    rates, _, derived = curve(kind, min_lr_ratio=0.0)
    assert rates[derived.schedule_steps] == pytest.approx(0.0, abs=1e-10)
    assert (rates[: derived.schedule_steps] > 0).all()
    constant, _, _ = curve(kind, min_lr_ratio=1.0)
    np.testing.assert_allclose(constant[WARMUP:], PEAK, rtol=1e-6)
