"""What a failed save leaves behind ends before its event loop is closed."""

from __future__ import annotations

import asyncio

import pytest

from chomp.checkpoint.event_loops import draining_event_loops

pytestmark = pytest.mark.pure


def test_writes_that_are_left_end_before_the_loop_is_closed() -> None:
    """As Orbax does it: one write fails, `gather` raises, the loop is closed."""
    ended: list[str] = []

    async def write(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        ended.append(name)
        if name != "slow":
            raise OSError(28, f"No space left on device: {name}")

    async def save() -> None:
        await asyncio.gather(write("first", 0), write("slow", 0.01), write("second", 0.005))

    before = asyncio.get_event_loop_policy()
    with draining_event_loops():
        loop = asyncio.new_event_loop()
        with pytest.raises(OSError, match="first"):
            loop.run_until_complete(save())
        loop.close()
        loop.close()
    assert ended == ["first", "second", "slow"]
    assert loop.is_closed()
    assert asyncio.get_event_loop_policy() is before
