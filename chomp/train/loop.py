"""One attempt: from a request to an exit code, with the order of events in between."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from chomp.checkpoint.event_loops import draining_event_loops
from chomp.errors import ChompError, NonFiniteError, ProcessLostError
from chomp.model.selfcheck import check_path
from chomp.record.commands import CommandReader
from chomp.record.events import Warned
from chomp.record.tail import last_save_seconds
from chomp.record.user_files import keep_traceback
from chomp.train.clock import TimeBudget
from chomp.train.compilation import use_compilation_cache
from chomp.train.control import AbortRequestedError, CommandQueue, StopRequestedError, StopSwitch
from chomp.train.hooks.base import Hook
from chomp.train.hooks.runner import Hooks
from chomp.train.lost_run import end_in_place, end_of_lost, turn_of
from chomp.train.outcome import Outcome, after_saving, outcome_of
from chomp.train.processes import RunProcesses
from chomp.train.reporting import LastStep, follow_run_dir, open_reporter, tell, watch_signals
from chomp.train.request import RunRequest, claim_run_dir
from chomp.train.rewind import RewindDueError, rewind
from chomp.train.rollback import roll_back
from chomp.train.session import Session, open_session
from chomp.train.steering import CommandExecutor
from chomp.train.time_limit import TimeLimit
from chomp.train.trainer import RollbackDueError, Trainer

log = logging.getLogger("chomp.loop")


def run_training(request: RunRequest, hooks: Sequence[Hook] = ()) -> int:
    """Train as `request` says.

    Args:
        hooks: work between steps beside evaluation, metrics rows, samples and saves (docs/hooks.md).

    Returns:
        The exit code: 0, 2 to 6, or 128 and the number of the signal that stopped the run.

    Raises:
        ChompError: nothing was started: the run directory, its lock or a tracker is at fault.
    """
    with RunProcesses(request.world, request.loaded.config.parallel) as processes:
        return _run(request, processes, hooks)


def _run(request: RunRequest, processes: RunProcesses, hooks: Sequence[Hook]) -> int:
    problems: list[str] = []
    use_compilation_cache(problems.append)
    with claim_run_dir(request) as claim, open_reporter(request, claim) as reporter, draining_event_loops():
        switch, budget = StopSwitch(), TimeBudget()
        last = LastStep(reporter, budget, turn_of(request, claim))
        reporter.add(last)
        reader = CommandReader(claim.files.commands, since=claim.since, shown=claim.run.commands)
        queue = CommandQueue(reader, reporter, switch, partial(follow_run_dir, claim, reporter), request.world)
        processes.follow(switch, reporter, partial(end_of_lost, request, claim, last), lambda: claim.ended_by)
        limit = TimeLimit(
            request.loaded.config.train.max_seconds if request.world.is_leader else None,
            switch,
            began=request.began,
            earlier_save_seconds=last_save_seconds(claim.run.events),
        )
        reporter.add(limit)
        with limit, watch_signals(request.loaded.config, queue, claim, reporter, last, budget, processes):
            try:
                for problem in problems:
                    reporter.publish(Warned(topic="cache", message=problem))
                with open_session(request, claim, reporter, budget, queue, processes) as session:
                    outcome = train(session, hooks)
            except Exception as error:  # noqa: BLE001 - every error becomes an outcome, which is published
                outcome = outcome_of(processes.before_training(error), last.step, switch.request, before_training=True)
            last.publish_end(outcome)
            exit_code = processes.common_exit_code(outcome.exit_code)
            end_in_place(request, claim, last, replace(outcome, exit_code=exit_code))
        if outcome.error is not None and not isinstance(outcome.error, ChompError):
            # The folder of a dry run is removed, and its log with it.
            kept = keep_traceback(outcome.error) if request.dry_run else claim.run.log_of(request.world.index)
            if kept is not None:
                tell(f"the traceback is in {kept}")
        claim.exit_code, claim.step = exit_code, outcome.step
    return exit_code


def train(session: Session, extra: Sequence[Hook] = ()) -> Outcome:
    """Train until the last step, the end of the text, a stop, or an error; then save what there is."""
    with session.budget.measure("startup"):
        trainer = Trainer(session)
        hooks = Hooks(trainer, extra)
    can_save = True
    try:
        trainer.compile()
        trainer.publish_phase("train")
        hooks.start()
        executor = CommandExecutor(trainer, hooks)
        while True:
            try:
                for _ in training_steps(trainer, executor):
                    hooks.run_due()
                trainer.catch_up()
                break
            except RollbackDueError as due:
                roll_back(trainer, due)
                hooks.on_rollback()
            except RewindDueError as due:
                rewind(trainer, due)
                hooks.on_rollback()
        outcome = _finish(trainer, hooks)
    except AbortRequestedError as error:
        return outcome_of(error, trainer.progress.step, None)
    except ProcessLostError:
        raise
    except Exception as error:
        # The completed steps are saved before the error is reported.
        lost = session.world.loss_behind(error)
        if lost is not None:
            raise lost from error
        complaint = _settle(trainer)
        cause = complaint if complaint and isinstance(error, StopRequestedError) else trainer.explained(error)
        outcome = outcome_of(cause, trainer.progress.step, session.switch.request)
        # What only this process met leaves the others in the middle of a step: there is nothing to save with them.
        can_save = session.processes.end_with_all(cause, settled=trainer.is_settled())
        hooks.cut_short()
    finally:
        hooks.close()
        trainer.close()
    _warn_of_skipped_documents(trainer)
    # A step that cannot be compiled calls for another configuration, which a checkpoint of step 0 would refuse.
    if can_save and (trainer.program is not None or outcome.status == "stopped"):
        hooks.save_last()
    return after_saving(outcome, session)


def training_steps(trainer: Trainer, executor: CommandExecutor) -> Iterator[int]:
    """Steps as they are dispatched, until the last or until the text is used up."""
    last = trainer.dispatched + 1 if trainer.session.request.dry_run else trainer.config.train.steps
    while trainer.dispatched < last:
        executor.obey()
        watch = trainer.session.compile_watch
        watch.expect()
        if not trainer.advance():
            return
        _warn_of_compilation(trainer, watch.unexpected())
        yield trainer.dispatched


def _finish(trainer: Trainer, hooks: Hooks) -> Outcome:
    """The outcome of training that nothing cut short."""
    if trainer.session.request.dry_run:
        return _tried(trainer)
    step, total = trainer.progress.step, trainer.config.train.steps
    if step >= total:
        return Outcome("completed", f"all {total} steps done", 0, step)
    if step > trainer.session.start.step:
        hooks.end()
    setting = (
        f"data.mixture.exhausted is {trainer.config.data.mixture.exhausted}"
        if trainer.session.derived.mixture
        else "data.repeat is false"
    )
    reason = f"the text is used up after {step} of {total} steps ({setting})"
    return Outcome("data_exhausted", reason, 0, step)


def _tried(trainer: Trainer) -> Outcome:
    """The outcome of a dry run, with the result of the self-check."""
    config = trainer.config
    found = check_path(trainer.session.model_def.config, config.train.seq_len, isolate=config.data.isolate_documents)
    said = ["dry run: built, compiled and trained one step; nothing was written", *([found.sentence] if found else [])]
    return Outcome("completed", "; ".join(said), 0, trainer.progress.step)


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
            # The step is forgotten; the attempt that resumes reads its batch again and goes back then.
            break
        except Exception:
            log.exception("the last steps could not be read back")
            break
    return complaint


def _warn_of_compilation(trainer: Trainer, count: int) -> None:
    """A compilation inside a step is lost time."""
    if count:
        step = trainer.dispatched
        message = f"{count} program{'s' * (count != 1)} compiled during step {step}, which should need none"
        trainer.session.reporter.publish(Warned(topic="recompile", step=step, message=message))


def _warn_of_skipped_documents(trainer: Trainer) -> None:
    facts = trainer.session.data.describe_state(trainer.data_state)
    if facts["skipped"]:
        message = f"{facts['skipped']:,} of {facts['documents']:,} documents read were too short to train on"
        trainer.session.reporter.publish(Warned(topic="data", step=trainer.progress.step, message=message))
