"""Event loops that wait for their tasks before they are closed.

Orbax writes arrays in threads, each with an event loop of its own, and closes a loop as soon as one of its writes fails
(`orbax/checkpoint/_src/asyncio_utils.py`, `_run_sync_via_new_loop`). The writes that are left then end without a loop,
each with `RuntimeError: Event loop is closed`, and some make files anew in the folder of the failed save.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

# A write to a disk that does not answer must not hold up the report of the failure for ever.
DRAIN_SECONDS = 60.0


class DrainingLoop(asyncio.SelectorEventLoop):
    """The usual event loop of Unix, which ends its tasks before it is closed."""

    def close(self) -> None:
        """Wait for the tasks that are left, then close."""
        if not self.is_closed() and not self.is_running():
            left = asyncio.all_tasks(self)
            if left:
                self.run_until_complete(_end(left))
        super().close()


async def _end(tasks: set[asyncio.Task[object]]) -> None:
    # What failed first is the reason of the failure; what fails after it is the same disk.
    done, _ = await asyncio.wait(tasks, timeout=DRAIN_SECONDS)
    for task in done:
        if not task.cancelled():
            task.exception()


class _Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """A loop for the thread that asks."""
        return DrainingLoop()


@contextlib.contextmanager
def draining_event_loops() -> Iterator[None]:
    """New event loops of this process wait for their tasks meanwhile."""
    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(_Policy())
    try:
        yield
    finally:
        asyncio.set_event_loop_policy(before)
