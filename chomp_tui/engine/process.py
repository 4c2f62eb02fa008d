"""Engine processes: their argument list, their environment, and one question to one of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from chomp.errors import COMMAND_VARIABLE, RunDirError, command_name
from chomp.record.formatting import sanitize
from chomp.record.temporary import temporary_folder
from chomp_tui.platform.child import child_process, read_errors

UNREADABLE = "the engine's answer could not be read; is another version of chomp installed?"


class EngineError(Exception):
    """The engine gave no answer; the text says why in one sentence.

    Attributes:
        exit_code: the engine's own; None if it did not end by itself.
    """

    def __init__(self, text: str, exit_code: int | None = None) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def helper_command() -> list[str]:
    """The process that answers the console's questions, as an argument list."""
    return [sys.executable, "-P", "-m", "chomp.cli.helper"]


def helper_environment(chosen: Mapping[str, str]) -> dict[str, str]:
    """The environment of an engine that works beside a run: `chosen` over this process's own.

    JAX's pool of three quarters of the GPU's memory would not fit beside a run.
    """
    return {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ, **chosen, COMMAND_VARIABLE: command_name()}


async def ask_engine(
    command: Sequence[str],
    environ: Mapping[str, str],
    *,
    limit_seconds: float | None = None,
    nice: int = 0,
    on_start: Callable[[int], None] = lambda pid: None,
    on_errors: Callable[[str], None] = lambda text: None,
) -> Mapping[str, Any]:
    """Run an engine to its end and return the JSON object that it printed last, {} if none; cancelling this kills it.

    Args:
        on_start: gets its pid.
        on_errors: gets all that it has written on its error output so far, whenever there is more.

    Raises:
        EngineError: it cannot be started, it failed, or it took longer than the limit.
    """
    pid: int | None = None

    def started(child: int) -> None:
        nonlocal pid
        pid = child
        on_start(child)

    try:
        async with child_process(command, environ, on_start=started) as process, asyncio.timeout(limit_seconds):
            if nice:
                with contextlib.suppress(psutil.Error):
                    psutil.Process(process.pid).nice(nice)
            assert process.stdout is not None
            out, errors = await asyncio.gather(process.stdout.read(), read_errors(process, on_errors))
            code = await process.wait()
    except (OSError, ValueError) as error:
        if isinstance(error, TimeoutError) and limit_seconds is not None:
            raise EngineError(f"no answer within {limit_seconds:.0f} s") from None
        raise EngineError(start_problem(error) if pid is None else f"the engine cannot be read: {error}") from error
    if code != 0:
        raise EngineError(sentence(code, errors))
    return printed_object(out.decode("utf-8", "replace"))


def start_problem(error: OSError | ValueError) -> str:
    """One sentence on an engine that could not be started."""
    return f"the engine could not be started: {getattr(error, 'strerror', None) or error}"


def sentence(code: int, errors: str) -> str:
    """Why an engine ended with `code`: its own words on its error output, without what libraries print around them."""
    lines = [line for line in sanitize(errors).splitlines() if line.strip()]
    own = [index for index, line in enumerate(lines) if line.startswith("error: ")]
    if own:
        return "\n".join(lines[own[-1] :]).removeprefix("error: ")
    if code < 0:
        # Its last line is about something else: a kernel short of memory kills without a warning.
        return f"the engine was killed by signal {-code}"
    return lines[-1] if lines else f"the engine ended with code {code} and said nothing"


def printed_object(out: str) -> Mapping[str, Any]:
    """The JSON object on the last line of `out` that begins with a brace; {} where there is none."""
    line = next((line for line in reversed(out.splitlines()) if line.startswith("{")), "")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


@contextlib.contextmanager
def configuration_file(text: str) -> Iterator[Path]:
    """A configuration's text as a temporary file.

    Raises:
        EngineError: it cannot be written, or the engine says what is wrong; its sentence does not name the file.
    """
    try:
        with temporary_folder("chomp-console-") as folder:
            path = folder / "config.yaml"
            path.write_bytes(text.encode("utf-8", "replace"))
            yield path
    except EngineError as error:
        raise EngineError(str(error).replace(str(path), "the configuration"), error.exit_code) from error
    except (RunDirError, OSError) as error:
        raise EngineError(f"the configuration cannot be handed to the engine: {error}") from error
