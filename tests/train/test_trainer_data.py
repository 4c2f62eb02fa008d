"""A source that fails or falls silent while the loop waits for it."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from chomp.errors import DataError
from chomp.train.control import StopRequest, StopRequestedError, StopSwitch
from chomp.train.trainer import Trainer


class SilentSource:
    """An iterator that fails as soon as somebody stops waiting for it."""

    def __next__(self) -> Any:
        raise DataError("the stream: stopped while waiting to retry after ConnectionError")


def waiting_trainer(switch: StopSwitch) -> Trainer:
    trainer = object.__new__(Trainer)
    trainer.session = SimpleNamespace(switch=switch, budget=SimpleNamespace(measure=lambda name: nullcontext()))  # type: ignore[assignment]
    trainer.batches = SilentSource()  # type: ignore[assignment]
    return trainer


def test_a_stop_during_the_wait_is_a_stop() -> None:
    switch = StopSwitch()
    switch.set(StopRequest("SIGTERM received", 143))
    with pytest.raises(StopRequestedError):
        waiting_trainer(switch).advance()


def test_without_a_stop_the_failure_is_told() -> None:
    with pytest.raises(DataError, match="the stream"):
        waiting_trainer(StopSwitch()).advance()
