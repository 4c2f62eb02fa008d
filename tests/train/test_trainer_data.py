"""A source that fails or falls silent while the loop waits for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from chomp.errors import DataError
from chomp.parallel.mesh import ONE_DEVICE
from chomp.parallel.world import World
from chomp.train.clock import TimeBudget
from chomp.train.control import StopRequest, StopRequestedError, StopSwitch
from chomp.train.restorer import Start
from chomp.train.trainer import Trainer


class FailingIterator:
    """Fails as a stream does when a stop ends its wait."""

    def get_state(self) -> dict[str, Any]:
        return {}

    def __next__(self) -> Any:
        raise DataError("the stream: stopped while waiting to retry after ConnectionError")


def waiting_trainer(switch: StopSwitch) -> Trainer:
    data = SimpleNamespace(train_iterator=FailingIterator, cancel_retries=lambda: None)
    session = SimpleNamespace(
        config=None,
        state=None,
        start=Start(),
        data=data,
        switch=switch,
        budget=TimeBudget(),
        world=World(),
        blueprint=SimpleNamespace(placement=ONE_DEVICE, accum=1),
    )
    return Trainer(session)  # type: ignore[arg-type]


def test_a_stop_during_the_wait_is_a_stop() -> None:
    switch = StopSwitch()
    switch.set(StopRequest("SIGTERM received", 143))
    with pytest.raises(StopRequestedError):
        waiting_trainer(switch).advance()


def test_without_a_stop_the_failure_is_told() -> None:
    with pytest.raises(DataError, match="the stream"):
        waiting_trainer(StopSwitch()).advance()
