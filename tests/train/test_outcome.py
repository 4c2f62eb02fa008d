"""Each ending has one outcome and one exit code."""

from __future__ import annotations

import pytest

from chomp.errors import CheckpointError, ConfigError, DataError, DeviceError
from chomp.train.control import AbortRequestedError, StopRequest, StopRequestedError
from chomp.train.outcome import outcome_of

STOP = StopRequest("SIGTERM received", 143)


@pytest.mark.parametrize(
    ("error", "status", "reason", "exit_code"),
    [
        (StopRequestedError(), "stopped", "SIGTERM received", 143),
        (AbortRequestedError(), "stopped", "abort requested: nothing was saved", 0),
        (ConfigError("c.yaml: no"), "crashed", "c.yaml: no", 2),
        (DataError("no text"), "crashed", "no text", 3),
        (DeviceError("no GPU"), "crashed", "no GPU", 4),
        (CheckpointError("damaged"), "crashed", "damaged", 5),
        (ValueError("no"), "crashed", "ValueError: no", 1),
    ],
)
def test_an_ending_has_one_outcome(error: Exception, status: str, reason: str, exit_code: int) -> None:
    outcome = outcome_of(error, 7, STOP)
    assert (outcome.status, outcome.reason, outcome.exit_code, outcome.step) == (status, reason, exit_code, 7)
    assert outcome.error is (error if status == "crashed" else None)


def test_a_stop_before_training_has_nothing_to_save() -> None:
    outcome = outcome_of(StopRequestedError(), 0, STOP, before_training=True)
    assert outcome.reason == "SIGTERM received before the first step: there was nothing new to save"
