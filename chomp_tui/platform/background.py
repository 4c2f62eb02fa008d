"""Work that blocks, in daemon threads: off the event loop, and without keeping a closed console alive.

Textual's thread workers and `asyncio.to_thread` use `concurrent.futures`, whose threads Python joins at its exit: one
that hangs (a dead network disk) would hold up the end of the program.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def start_thread(work: Callable[[], object], name: str = "background") -> None:
    """Do `work` in a daemon thread that is not waited for."""
    threading.Thread(target=work, daemon=True, name=name).start()


async def in_thread(work: Callable[[], T]) -> T:
    """Do `work` in a daemon thread and give its result; what it raises is raised here."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def finish(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)  # type: ignore[arg-type]
        else:
            done.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as caught:  # noqa: BLE001 - raised where the result is awaited
            error = caught
        # The loop may have ended meanwhile.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(finish, result, error)

    start_thread(run)
    return await done
