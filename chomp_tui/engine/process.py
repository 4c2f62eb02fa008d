"""Engine processes: their argument list, their environment, and one question to one of them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chomp.record.text import sanitize
from chomp_tui.platform.child import Answer, ask_child

UNREADABLE = "the engine's answer could not be read; is another version of chomp installed?"


class EngineError(Exception):
    """The engine gave no answer; the text says why in one sentence."""


def engine_command(*arguments: str) -> list[str]:
    """`chomp ARGUMENTS` as an argument list for this very Python."""
    # -P: a file of the working folder that is called as a library is not imported instead of it.
    return [sys.executable, "-P", "-m", "chomp", *arguments]


def train_environment(environ: Mapping[str, str], chosen: Mapping[str, str]) -> dict[str, str]:
    """The environment of a run: `chosen` over `environ`, and no output held back, so that the log is current."""
    return {**environ, **chosen, "PYTHONUNBUFFERED": "1"}


def helper_environment(chosen: Mapping[str, str]) -> dict[str, str]:
    """The environment of an engine that works beside a run: `chosen` over this process's own.

    JAX's pool of three quarters of the GPU's memory would not fit beside a run.
    """
    return {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ, **chosen}


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
        on_start, on_errors: as of `ask_child`.

    Raises:
        EngineError: it cannot be started, it failed, or it took longer than the limit.
    """
    try:
        answer = await ask_child(
            command, environ, limit_seconds=limit_seconds, nice=nice, on_start=on_start, on_errors=on_errors
        )
    except (OSError, ValueError) as error:
        if isinstance(error, TimeoutError) and limit_seconds is not None:
            raise EngineError(f"no answer within {limit_seconds:.0f} s") from None
        raise EngineError(start_problem(error)) from error
    if answer.code != 0:
        raise EngineError(sentence(answer))
    return printed_object(answer.out)


def start_problem(error: OSError | ValueError) -> str:
    """One sentence on an engine that could not be started."""
    return f"the engine could not be started: {getattr(error, 'strerror', None) or error}"


def sentence(answer: Answer) -> str:
    """The engine's own complaint, without what libraries print around it."""
    lines = [line for line in sanitize(answer.err).splitlines() if line.strip()]
    own = [index for index, line in enumerate(lines) if line.startswith("error: ")]
    if own:
        return "\n".join(lines[own[-1] :]).removeprefix("error: ")
    if answer.code < 0:
        # Its last line is about something else: a kernel short of memory kills without a warning.
        return f"the engine was killed by signal {-answer.code}"
    return lines[-1] if lines else f"the engine ended with code {answer.code} and said nothing"


def printed_object(out: str) -> Mapping[str, Any]:
    """The JSON object on the last line of `out` that begins with a brace; {} where there is none."""
    line = next((line for line in reversed(out.splitlines()) if line.startswith("{")), "")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
