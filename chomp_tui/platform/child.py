"""A child process that is asked one thing; when nobody waits for it any more, it is killed with all that it started."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from chomp.record.text import sanitize

# Of what libraries print around an engine's sentence, the end is kept.
MOST_ERRORS = 100_000
PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class Answer:
    """How a child ended, and what it said."""

    code: int
    out: str
    err: str


async def ask_child(
    command: Sequence[str],
    environ: Mapping[str, str],
    *,
    limit_seconds: float | None = None,
    nice: int = 0,
    on_start: Callable[[int], None] = lambda pid: None,
    on_errors: Callable[[str], None] = lambda text: None,
) -> Answer:
    """Run a child to its end; cancelling this kills it.

    Args:
        on_start: gets its pid.
        on_errors: gets what it has said on its error output so far, whenever there is more.

    Raises:
        OSError, ValueError: it cannot be started.
        TimeoutError: it took longer than the limit.
    """
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=dict(environ), start_new_session=True
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
    is_over = False
    try:
        if nice:
            with contextlib.suppress(psutil.Error):
                psutil.Process(process.pid).nice(nice)
        async with asyncio.timeout(limit_seconds):
            assert process.stdout is not None
            out, err = await asyncio.gather(process.stdout.read(), _errors(process, on_errors))
            code = await process.wait()
        is_over = True
    finally:
        if not is_over:
            await _kill(process)
    return Answer(code, out.decode("utf-8", "replace"), err)


async def _kill(process: Process) -> None:
    """Kill a child and what it started; that may still hold the pipes of a child that is gone itself."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


async def _errors(process: Process, on_errors: Callable[[str], None]) -> str:
    assert process.stderr is not None
    decode, said = codecs.getincrementaldecoder("utf-8")("replace").decode, ""
    while piece := await process.stderr.read(PIECE_BYTES):
        said = (said + decode(piece))[-MOST_ERRORS:]
        on_errors(said)
    return said


def sentence(answer: Answer) -> str:
    """The engine's own complaint, without what libraries print around it."""
    lines = [line for line in sanitize(answer.err).splitlines() if line.strip()]
    own = [index for index, line in enumerate(lines) if line.startswith("error: ")]
    if own:
        return "\n".join(lines[own[-1] :]).removeprefix("error: ")
    if answer.code < 0:
        # What it said last was about something else: a system short of memory gives nobody time for words.
        return f"the engine was killed by signal {-answer.code}"
    return lines[-1] if lines else f"the engine ended with code {answer.code} and said nothing"


def said_object(answer: Answer) -> Mapping[str, Any] | None:
    """The JSON object that a child printed last, or None."""
    line = next((line for line in reversed(answer.out.splitlines()) if line.startswith("{")), "")
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None
