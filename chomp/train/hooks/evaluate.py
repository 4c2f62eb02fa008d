"""Scoring the held-out text, evaluation sets and tasks while training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from chomp.data.batch import Batch
from chomp.model.mtp import with_trunk
from chomp.record import formatting
from chomp.record.commands import Command
from chomp.record.events import Evaluated, Event, SetEvaluated, TaskEvaluated
from chomp.record.manifest import HELD_OUT, set_evaluation
from chomp.tasks.entries import EntryScore, TaskEntry, score_entry
from chomp.tasks.scoring import TaskScore
from chomp.train.control import run_interruptible
from chomp.train.evaluate import EvalResult, evaluate
from chomp.train.hooks.base import Hook
from chomp.train.session import Session
from chomp.train.trainer import Trainer

log = logging.getLogger("chomp.train")

TASK_SCORES = ("accuracy", "accuracy_norm", "bpb", "centered")


class EvaluateHook(Hook):
    """Scores each text at its cadence, and all on `eval`; the row of a scheduled evaluation carries its numbers.

    What is due at one step is scored as one job: its events are published once all of it is done, so that a stop never
    leaves half of them.
    """

    command = job = "eval"

    def __init__(self, session: Session):
        self._session = session
        self._evaluations = session.evaluations
        self._byte_lengths = session.tokenizer.byte_lengths()
        self._scheduled: tuple[int, dict[str, float]] | None = None
        self._programs: dict[str, Callable[..., Any]] = {}
        self._scored_at: dict[str, int] = {}
        self._end: int | None = None
        train = session.config.train
        held_out = {HELD_OUT: train.eval_every} if session.data.has_eval else {}
        self._cadences = held_out | {name: self._evaluations.every(name) for name in self._evaluations.names}

    def is_due(self, step: int, last: int) -> bool:
        return bool(self._due(step, last))

    def ranks(self, step: int, last: int) -> bool:
        """Whether at `step` that is scored by which the best checkpoints are chosen."""
        return (self._session.config.evaluation.best or HELD_OUT) in self._due(step, last)

    def is_due_at_end(self, trainer: Trainer) -> bool:
        step = trainer.progress.step
        return any(self._scored_at.get(name) != step for name in self._due(step, step))

    def _due(self, step: int, last: int) -> list[str]:
        return [
            name
            for name, every in self._cadences.items()
            if every > 0 and step > 0 and (step % every == 0 or step == last)
        ]

    def on_end(self, trainer: Trainer) -> None:
        self._end = trainer.progress.step

    def on_step(self, trainer: Trainer) -> None:
        step, last = trainer.progress.step, self._end or self._session.config.train.steps
        # One that a stop cut short at the end of the text is at no cadence.
        due = self._due(step, last) or self._due(step, step)
        names = [name for name in due if self._scored_at.get(name) != step]
        values = self._evaluate(trainer, names)
        earlier = self._scheduled[1] if self._scheduled is not None and self._scheduled[0] == step else {}
        self._scheduled = step, earlier | values

    def on_command(self, trainer: Trainer, command: Command) -> str:
        if not self._cadences:
            return "there is no held-out text to evaluate on"
        step = trainer.progress.step
        values = self._evaluate(trainer, list(self._cadences))
        if self._session.saves and self._session.world.is_leader:
            self._note_beside_checkpoint(trainer)
        said = f"loss {formatting.loss(values['eval_loss'])}" if "eval_loss" in values else ", ".join(self._cadences)
        return f"evaluated at step {step}: {said}"

    def _note_beside_checkpoint(self, trainer: Trainer) -> None:
        """Write the scores beside the checkpoint of this step; a scheduled evaluation comes before the save."""
        store, progress = self._session.store, trainer.progress
        store.wait()
        for info in store.infos():
            if info.step == progress.step and info.meta:
                try:
                    texts = self._evaluations.texts
                    set_evaluation(info.path, progress.eval_loss, progress.eval_bpb, progress.scores, texts)
                except OSError as error:
                    log.warning("the evaluation of checkpoint %d cannot be noted: %s", info.step, error.strerror)

    def on_rollback(self, trainer: Trainer) -> None:
        self._scheduled = None
        self._scored_at.clear()

    def for_row(self, step: int) -> dict[str, float]:
        """What the scheduled evaluation of `step` adds to its metrics row; nothing without one."""
        if self._scheduled is None or self._scheduled[0] != step:
            return {}
        return self._scheduled[1]

    def _evaluate(self, trainer: Trainer, names: list[str]) -> dict[str, float]:
        """Score texts and publish the results.

        Returns:
            Values for the metrics row.

        Raises:
            StopRequestedError: by a signal; nothing is reported.
        """
        session, progress, found = self._session, trainer.progress, self._evaluations
        step, events, row = progress.step, list[Event](), dict[str, float]()
        scores = dict(progress.scores) if progress.scores_step == step else {}
        count = session.blueprint.placement.count
        with trainer.phase("eval"):
            weights = self._weights(trainer)
            if HELD_OUT in names:
                result, *average = (self._score_text(trainer, session.data.eval_batches(count), one) for one in weights)
                progress.eval_step, progress.eval_loss, progress.eval_bpb = step, result.loss, result.bpb
                events.append(_evaluated(step, result, *average))
                row |= _text_values("", result, *average)
            for text in found.sets:
                if text.name in names:
                    result, *average = (self._score_text(trainer, text.batches(count), one) for one in weights)
                    scores[text.name] = result.loss
                    events.append(_set_evaluated(text.name, step, result, *average))
                    row |= _text_values(f"/{text.name}", result, *average)
            for entry in found.tasks:
                if entry.name in names:
                    score, *averages = (self._score_tasks(trainer, entry, one) for one in weights)
                    scores[entry.name] = score.whole.bpb
                    events += _task_evaluated(step, score, *averages)
                    row |= _task_values(score, *averages)
            progress.scores_step, progress.scores = step, scores
            self._scored_at |= dict.fromkeys(names, step)
            for event in events:
                session.reporter.publish(event)
        return row

    def _weights(self, trainer: Trainer) -> list[Any]:
        """What is scored: the parameters, then their moving average if that is evaluated."""
        state, is_evaluated = trainer.state, self._session.config.optim.ema.evaluate
        average = [with_trunk(state.params, state.ema)] if state.ema is not None and is_evaluated else []
        return [state.params, *average]

    def _score_text(self, trainer: Trainer, batches: Iterable[Batch], params: Any) -> EvalResult:
        session = self._session
        return evaluate(
            params,
            lambda params, rows: self._run("eval", session.eval_step, params, rows),
            batches,
            self._byte_lengths,
            isolate=session.config.data.isolate_documents,
            check_stop=trainer.check_stop,
            placement=session.blueprint.placement,
        )

    def _score_tasks(self, trainer: Trainer, entry: TaskEntry, params: Any) -> EntryScore:
        found = self._evaluations
        assert found.rows is not None
        return score_entry(
            params,
            lambda params, rows: self._run("tasks", found.answer_step, params, rows),
            entry,
            found.rows,
            check_stop=trainer.check_stop,
            placement=self._session.blueprint.placement,
        )

    def _run(self, name: str, step: Any, params: Any, rows: Any) -> Any:
        """One batch; the first call compiles, which may take longer than a user who stops the run will wait."""
        session = self._session
        if session.world.is_alone:
            return run_interruptible(lambda: step(params, rows), session.switch.check)
        # What all devices compute together cannot be left by one process.
        if name not in self._programs:
            self._programs[name] = session.interruptible(lambda: step.lower(params, rows).compile(), None)
        return self._programs[name](params, rows)


def _evaluated(step: int, result: EvalResult, average: EvalResult | None = None) -> Evaluated:
    return Evaluated(
        step=step,
        loss=result.loss,
        perplexity=result.perplexity,
        bpb=result.bpb,
        unigram_loss=result.unigram_loss,
        tokens=result.tokens,
        seconds=_seconds(result, average),
        ema_loss=average.loss if average is not None else None,
        ema_bpb=average.bpb if average is not None else None,
    )


def _seconds(*scored: EvalResult | TaskScore | None) -> float:
    return round(sum(one.seconds for one in scored if one is not None), 3)


def _set_evaluated(name: str, step: int, result: EvalResult, average: EvalResult | None = None) -> SetEvaluated:
    return SetEvaluated(
        name=name,
        step=step,
        loss=result.loss,
        perplexity=result.perplexity,
        bpb=result.bpb,
        tokens=result.tokens,
        seconds=_seconds(result, average),
        ema_loss=average.loss if average is not None else None,
        ema_bpb=average.bpb if average is not None else None,
    )


def _task_evaluated(step: int, score: EntryScore, average: EntryScore | None = None) -> list[Event]:
    averages = (None,) * (len(score.parts) + 1) if average is None else (*average.parts, average.whole)
    return [
        TaskEvaluated(
            step=step,
            part_of=score.whole.name if one is not score.whole else None,
            **asdict(one) | {"seconds": _seconds(one, mean)},
            **{f"ema_{key}": getattr(mean, key) for key in TASK_SCORES if mean is not None},
        )
        for one, mean in zip((*score.parts, score.whole), averages, strict=True)
    ]


def _text_values(suffix: str, *results: EvalResult) -> dict[str, float]:
    """Values for the row; of the moving average, if it is the second result, as `eval_ema_…`."""
    values = {
        f"{prefix}_{key}{suffix}": getattr(result, key)
        for prefix, result in zip(("eval", "eval_ema"), results, strict=False)
        for key in ("loss", "bpb")
    }
    return {key: value for key, value in values.items() if value is not None}


def _task_values(*scores: EntryScore) -> dict[str, float]:
    """Values for the row; of the moving average, if it is the second score, as `task_ema_…`."""
    values = {
        f"{prefix}_{key}/{score.whole.name}": getattr(score.whole, key)
        for prefix, score in zip(("task", "task_ema"), scores, strict=False)
        for key in TASK_SCORES
        if score.parts or key != "centered"
    }
    return {key: value for key, value in values.items() if value is not None}
