"""From a session to an outcome: the order of events in an attempt, and what each ending leaves behind."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from chomp.errors import ChompError, NonFiniteError
from chomp.model.selfcheck import check_path
from chomp.record.events import EndStatus, Phase, Warned
from chomp.train.boundary import Boundary
from chomp.train.control import AbortRequestedError, StopRequestedError
from chomp.train.rollback import roll_back
from chomp.train.session import Session
from chomp.train.steering import Steering
from chomp.train.trainer import RollbackDueError, Trainer

log = logging.getLogger("chomp.loop")

NOTHING_NEW = " before the first step: there was nothing new to save"


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended."""

    status: EndStatus
    reason: str
    exit_code: int
    step: int
    error: BaseException | None = None


def train(session: Session) -> Outcome:
    """Train until the last step, the end of the text, a stop, or an error; then save what there is."""
    with session.budget.measure("startup"):
        trainer = Trainer(session)
        boundary = Boundary(trainer)
    steering = Steering(trainer, boundary)
    try:
        trainer.compile(partial(session.queue.check, step=trainer.dispatched))
        session.reporter.publish(Phase(name="train", step=trainer.dispatched))
        outcome = _run(trainer, boundary, steering)
    except AbortRequestedError:
        return aborted(trainer.progress.step)
    except Exception as error:  # noqa: BLE001 - whatever it is, what was learnt is saved first and the error told after
        complaint = _settle(trainer)
        outcome = _cut_short(complaint if complaint and isinstance(error, StopRequestedError) else error, trainer)
        boundary.publish_last_row()
    finally:
        trainer.close()
    _tell_skipped(trainer)
    # A step that cannot be compiled calls for another configuration, which a checkpoint of step 0 would refuse.
    if trainer.program is not None or outcome.status == "stopped":
        boundary.save_if_possible()
    return _with_saving(outcome, session)


def aborted(step: int) -> Outcome:
    """The outcome of a run that an `abort` ended."""
    return Outcome("stopped", "abort was asked for: nothing was saved", 0, step)


def _settle(trainer: Trainer) -> ChompError | None:
    """Count in every step that is still on the device, because the state is already that of the last of them.

    Returns:
        The first complaint about one of those steps.
    """
    complaint: ChompError | None = None
    while trainer.is_ahead():
        try:
            trainer.catch_up()
        except NonFiniteError as error:
            complaint = complaint or error
        except RollbackDueError:
            # The step is forgotten and its batch will be read again: whoever resumes goes back then.
            break
        except Exception:
            log.exception("the last steps could not be read back")
            break
    return complaint


def _cut_short(error: Exception, trainer: Trainer) -> Outcome:
    """The outcome of a run that `error` ended."""
    step, request = trainer.progress.step, trainer.session.switch.request
    if isinstance(error, StopRequestedError):
        assert request is not None
        return Outcome("stopped", request.reason, request.exit_code, step)
    if isinstance(error, ChompError):
        return Outcome("crashed", str(error), error.exit_code, step, error)
    log.error("training failed", exc_info=error)
    return Outcome("crashed", f"{type(error).__name__}: {error}", 1, step, error)


def _run(trainer: Trainer, boundary: Boundary, steering: Steering) -> Outcome:
    boundary.begin()
    trainer.rows.restart()
    while (due := _step_on(trainer, boundary, steering)) is not None:
        roll_back(trainer, due)
    if trainer.session.request.dry_run:
        return _tried(trainer)
    step, total = trainer.progress.step, trainer.config.train.steps
    if step >= total:
        return Outcome("completed", f"all {total} steps done", 0, step)
    if step > trainer.session.start.step:
        boundary.run_last()
    reason = f"the text is used up after {step} of {total} steps (data.repeat is false)"
    return Outcome("data_exhausted", reason, 0, step)


def _step_on(trainer: Trainer, boundary: Boundary, steering: Steering) -> RollbackDueError | None:
    """Train until the last step or the end of the text, or until a rollback is due."""
    try:
        for _ in training_steps(trainer, steering):
            boundary.run_due()
            boundary.report_failed_save()
        trainer.catch_up()
    except RollbackDueError as due:
        return due
    return None


def _tried(trainer: Trainer) -> Outcome:
    """The outcome of a dry run; says how far chomp's own way through a layer is from the library's."""
    config = trainer.config
    model = trainer.session.model_def.config
    found = check_path(model, config.train.seq_len, isolate=config.data.isolate_documents)
    said = ["dry run: built, compiled and trained one step; nothing was written", *([found.sentence] if found else [])]
    return Outcome("completed", "; ".join(said), 0, trainer.progress.step)


def training_steps(trainer: Trainer, steering: Steering) -> Iterator[int]:
    """Steps as they are dispatched, until the last or until the text is used up."""
    last = trainer.dispatched + 1 if trainer.session.request.dry_run else trainer.config.train.steps
    while trainer.dispatched < last:
        steering.obey()
        watch = trainer.session.compile_watch
        watch.expect()
        if not trainer.advance():
            return
        _warn_of_compilation(trainer, watch.unexpected())
        yield trainer.dispatched


def _warn_of_compilation(trainer: Trainer, count: int) -> None:
    """A compilation inside a step means lost time that nobody asked for."""
    if count:
        step = trainer.dispatched
        message = f"{count} program{'s' * (count != 1)} compiled during step {step}, which should need none"
        trainer.session.reporter.publish(Warned(topic="recompile", step=step, message=message))


def _tell_skipped(trainer: Trainer) -> None:
    """Text that was never trained on must not go unsaid."""
    facts = trainer.session.data.describe_state(trainer.position)
    if facts["skipped"]:
        message = f"{facts['skipped']:,} of {facts['documents']:,} documents read were too short to train on"
        trainer.session.reporter.publish(Warned(topic="data", step=trainer.progress.step, message=message))


def _with_saving(outcome: Outcome, session: Session) -> Outcome:
    """An attempt whose last state is not on disk has not ended well, whatever else is true; a stop tells what is."""
    failure = session.store.take_failure()
    if failure is None:
        if outcome.status != "stopped":
            return outcome
        return replace(outcome, reason=outcome.reason + _what_a_stop_saved(session, outcome.step))
    reason = f"step {failure.step} could not be saved: {failure.reason}"
    if outcome.exit_code not in (0, 130, 143):
        return Outcome(outcome.status, f"{outcome.reason}; {reason}", outcome.exit_code, outcome.step, outcome.error)
    return Outcome("crashed", f"{outcome.reason}, but {reason}", 5, outcome.step)


def _what_a_stop_saved(session: Session, step: int) -> str:
    if step == session.start.resumed_from:
        return NOTHING_NEW
    if session.store.has(step):
        return f"; step {step} is saved"
    return "; nothing was saved" + ("" if session.config.checkpoint.enabled else ", for checkpoint.enabled is false")
