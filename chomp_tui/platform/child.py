"""Child processes in sessions of their own; cancelling the wait kills a child with all that it started."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

# Of what a child writes on its error output, the end is kept.
MOST_ERRORS = 100_000
PIECE_BYTES = 1 << 16
LONGEST_LINE_BYTES = 1 << 24


@contextlib.asynccontextmanager
async def child_process(
    command: Sequence[str],
    environ: Mapping[str, str],
    *,
    stdin: int = DEVNULL,
    on_start: Callable[[int], None] = lambda pid: None,
) -> AsyncIterator[Process]:
    """A child with pipes for its outputs; an exception in the block kills it.

    Args:
        on_start: gets its pid.

    Raises:
        OSError, ValueError: it cannot be started.
    """
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *command,
            stdin=stdin,
            stdout=PIPE,
            stderr=PIPE,
            env=dict(environ),
            start_new_session=True,
            limit=LONGEST_LINE_BYTES,
        )
    )
    try:
        # Cut short while it starts a child, asyncio would kill that alone, and wait for what the child has started.
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError, ValueError):
            process = await starting
            on_start(process.pid)
            await _kill(process)
        raise
    on_start(process.pid)
    try:
        yield process
    except BaseException:
        await _kill(process)
        raise


async def _kill(process: Process) -> None:
    """Kill a child and what it started; that may still hold the pipes of a child that is gone itself."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


async def read_errors(process: Process, on_errors: Callable[[str], None] = lambda text: None) -> str:
    """The end of a child's error output, once that is closed; `on_errors` gets it whenever there is more."""
    assert process.stderr is not None
    decode, said = codecs.getincrementaldecoder("utf-8")("replace").decode, ""
    while piece := await process.stderr.read(PIECE_BYTES):
        said = (said + decode(piece))[-MOST_ERRORS:]
        on_errors(said)
    return said
