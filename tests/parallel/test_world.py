"""What a process makes of errors that another process may cause."""

from __future__ import annotations

import jax
import pytest

from chomp.errors import DataError
from chomp.parallel.world import World, may_come_from_others

GLOO = "UNKNOWN: Gloo all-reduce failed: [external/gloo/gloo/transport/tcp/pair.cc:538] Read error: Connection reset"


@pytest.mark.parametrize(
    ("error", "may"),
    [
        (jax.errors.JaxRuntimeError(GLOO), True),
        # Of a program that was dispatched before.
        (ValueError(GLOO), True),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes"), False),
        (jax.errors.JaxRuntimeError("INVALID_ARGUMENT: shapes"), False),
        (ValueError("too many values to unpack"), False),
        (DataError("UNKNOWN: text"), False),
    ],
)
def test_errors_of_collectives_are_told_from_a_process_own(error: Exception, may: bool) -> None:
    assert may_come_from_others(error) == may


def test_one_process_decides_alone() -> None:
    world = World()
    assert world.share({"a": 1}) == {"a": 1}
    assert world.decide(lambda: 3) == 3
    assert world.meet("wish") == ["wish"]
    assert world.loss_behind(ValueError(GLOO)) is None
    assert world.is_leader
    assert world.is_alone
