"""Starts `chomp train` detached from the console, with flags that were tested."""

from __future__ import annotations

from collections.abc import Mapping

from chomp.device import check_xla_flags
from chomp.queue import launch
from chomp.queue.launch import LaunchError, LaunchRequest, reason, train_environment
from chomp_tui.platform.background import start_thread

# By text of flags, why the installed XLA refuses them, None where it accepts them.
_verdicts: dict[str, str | None] = {}


def prove_flags(environ: Mapping[str, str]) -> str | None:
    """Why XLA does not start with `XLA_FLAGS` of `environ`, in one sentence, or None; may take seconds.

    Asks a child process, once for each text of flags.
    """
    flags = _flags(environ)
    if not flags or flags in _verdicts:
        return _verdicts.get(flags)
    try:
        check = check_xla_flags(environ)
    except (OSError, ValueError) as error:
        return f"the flags cannot be tested: {reason(error)}"
    # Not a child that hung: it may not hang another time.
    if check.accepted or check.rejected:
        _verdicts[flags] = check.message or None
    return check.message or None


def _flags(environ: Mapping[str, str]) -> str:
    return environ.get("XLA_FLAGS", "").strip()


def start(request: LaunchRequest, environ: Mapping[str, str]) -> int:
    """Start the engine detached from this terminal, and wait for it in a daemon thread; returns its pid.

    Flags that `prove_flags` rejected are refused here. Flags that it has not tested are tested by the engine
    before anything else, which ends with the same sentence.

    Raises:
        LaunchError: it could not be started; nothing was left behind.
    """
    refusal = _verdicts.get(_flags(train_environment(environ, request.environment)))
    if refusal is not None:
        raise LaunchError(f"no engine was started for {request.run_dir}: {refusal}")
    child = launch.start(request, environ)
    start_thread(child.wait, f"engine-{child.pid}")
    return child.pid
