"""How an attempt ended: the one place that maps an error to an outcome and its exit code."""

from __future__ import annotations

import logging
import shlex
from dataclasses import dataclass, replace

from chomp.config import Config
from chomp.config.compat import compare
from chomp.config.derive import derive, derived_section
from chomp.errors import ChompError, RunDirError, command_name
from chomp.record.events import EndStatus
from chomp.train.control import AbortRequestedError, StopRequest, StopRequestedError
from chomp.train.out_of_memory import OutOfMemoryError, is_out_of_memory, out_of_memory
from chomp.train.session import Session

log = logging.getLogger("chomp.attempt")

NOTHING_NEW = " before the first step: there was nothing new to save"


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended; `error` is what ended it, unless a user did."""

    status: EndStatus
    reason: str
    exit_code: int
    step: int
    error: Exception | None = None


def outcome_of(error: Exception, step: int, stop: StopRequest | None, *, before_training: bool = False) -> Outcome:
    """The outcome of an attempt that `error` ended at `step`.

    Args:
        stop: the request behind a `StopRequestedError`.
        before_training: there is nothing that a stop could save.
    """
    match error:
        case AbortRequestedError():
            return Outcome("stopped", "abort requested: nothing was saved", 0, step)
        case StopRequestedError():
            assert stop is not None
            reason = stop.reason + NOTHING_NEW if before_training else stop.reason
            return Outcome("stopped", reason, stop.exit_code, step)
        case ChompError():
            return Outcome("crashed", str(error), error.exit_code, step, error)
        case _ if is_out_of_memory(error):
            return outcome_of(out_of_memory(error, "before the first step" if before_training else ""), step, stop)
        case _:
            log.error("the engine failed", exc_info=error)
            return Outcome("crashed", f"{type(error).__name__}: {error}", 1, step, error)


def after_saving(outcome: Outcome, session: Session) -> Outcome:
    """The outcome with what became of the last save: an attempt whose last state is not on disk has failed."""
    outcome = _if_lost(outcome, session)
    failure = session.store.take_failure()
    if failure is None:
        if isinstance(outcome.error, RunDirError) and session.store.sees(outcome.step):
            saved = f"step {outcome.step} is saved in the directory that the engine opened"
            return replace(outcome, reason=f"{outcome.reason}; {saved}")
        if isinstance(outcome.error, OutOfMemoryError):
            return replace(outcome, reason=outcome.reason + _where_to_continue(session, outcome.step, outcome.error))
        if outcome.status != "stopped":
            return outcome
        return replace(outcome, reason=outcome.reason + _what_a_stop_saved(session, outcome.step))
    reason = f"step {failure.step} could not be saved: {failure.reason}"
    if outcome.status == "crashed":
        return replace(outcome, reason=f"{outcome.reason}; {reason}")
    return Outcome("crashed", f"{outcome.reason}, but {reason}", 5, outcome.step)


def _if_lost(outcome: Outcome, session: Session) -> Outcome:
    """The outcome of an attempt whose files no path leads to: it has failed, however it ended."""
    try:
        session.queue.look()
    except RunDirError as error:
        if outcome.error is None:
            return Outcome("crashed", f"{outcome.reason}, but {error}", error.exit_code, outcome.step, error)
    return outcome


def _what_a_stop_saved(session: Session, step: int) -> str:
    if step == session.start.resumed_from:
        return NOTHING_NEW
    if session.store.sees(step):
        return f"; step {step} is saved"
    return "; nothing was saved" + ("" if session.config.checkpoint.enabled else ": checkpoint.enabled is false")


def _where_to_continue(session: Session, step: int, error: OutOfMemoryError) -> str:
    """From which checkpoint a resume continues, and the command for it."""
    if session.request.dry_run:
        return ""
    saved = [info.step for info in session.store.infos()]
    if not saved:
        return "; nothing was saved"
    state = "is saved" if step in saved else "is lost with the memory of the failed step"
    command = [command_name(), "train", "--run-dir", shlex.quote(str(session.run.path)), "--resume", "latest"]
    if error.fits:
        changed = error.fits[0]
        command += [changed.options, *(f"--accept {name}" for name in _to_accept(session.config, changed.config))]
    return f"; the state of step {step} {state}, and `{' '.join(command)}` continues from step {max(saved)}"


def _to_accept(config: Config, changed: Config) -> list[str]:
    """What a resume with `changed` must accept."""
    before, after = ({**each.model_dump(), "derived": derived_section(derive(each))} for each in (config, changed))
    return [difference.path for difference in compare(before, after) if difference.severity == "needs_accept"]
