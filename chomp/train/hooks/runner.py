"""The hooks of an attempt, in their order."""

from __future__ import annotations

from collections.abc import Sequence

from chomp.record.commands import Command
from chomp.step.train_step import StepMetrics
from chomp.train.hooks.base import Hook, run_hooks
from chomp.train.hooks.evaluate import EvaluateHook
from chomp.train.hooks.health import HealthHook
from chomp.train.hooks.log import LogHook
from chomp.train.hooks.process import ProcessHook
from chomp.train.hooks.profile import ProfileHook
from chomp.train.hooks.sample import SampleHook
from chomp.train.hooks.save import SaveHook
from chomp.train.hooks.save_plan import SavePlan
from chomp.train.hooks.speed import SpeedHook
from chomp.train.progress import Pending
from chomp.train.trainer import Trainer


class Hooks:
    """A trace, evaluation, the row, samples, the user's own hooks, and last the save, which knows all of them."""

    def __init__(self, trainer: Trainer, extra: Sequence[Hook] = ()):
        session = trainer.session
        self._trainer = trainer
        evaluate = EvaluateHook(session)
        plan = SavePlan(trainer, evaluate)
        sample = SampleHook(session, plan)
        self._log = LogHook(session, evaluate)
        self._save = SaveHook(session, plan, self._log, sample)
        self._plan = plan
        self._hooks: tuple[Hook, ...] = (
            *([] if session.world.is_alone else [ProcessHook(session)]), ProfileHook(session),
            evaluate, self._log, sample, HealthHook(session), *extra, SpeedHook(session), self._save,
        )  # fmt: skip
        trainer.on_completed = self._on_completed

    def _on_completed(self, completed: Pending, metrics: StepMetrics) -> None:
        for hook in self._hooks:
            hook.on_completed(self._trainer, completed, metrics)

    def start(self) -> None:
        """Begin, with the jobs that the restored checkpoint notes as unfinished."""
        unfinished = self._trainer.progress.unfinished_jobs
        for hook in self._hooks:
            hook.on_start(self._trainer)
        run_hooks(self._trainer, [hook for hook in self._hooks if hook is self._log or hook.job in unfinished])

    def run_due(self) -> None:
        """Do what the step just dispatched calls for."""
        step, last = self._trainer.dispatched, self._trainer.config.train.steps
        due = [hook for hook in self._hooks if hook.is_due(step, last)]
        if due:
            self._trainer.catch_up()
            run_hooks(self._trainer, due)
        self.poll()

    def poll(self) -> None:
        """Give each hook a moment."""
        for hook in self._hooks:
            hook.poll(self._trainer)

    def obey(self, command: Command) -> str | None:
        """The answer of the hook that obeys `command`; None where there is none.

        Raises:
            ChompError: the command cannot be obeyed.
        """
        for hook in self._hooks:
            if hook.command == command.command:
                return hook.on_command(self._trainer, command)
        return None

    def on_rollback(self) -> None:
        """The trainer went back to an earlier step."""
        for hook in self._hooks:
            hook.on_rollback(self._trainer)

    def end(self) -> None:
        """Do at an end of the text before `train.steps` what the last step would have called for."""
        self._trainer.catch_up()
        for hook in self._hooks:
            hook.on_end(self._trainer)
        run_hooks(self._trainer, [hook for hook in self._hooks if hook.is_due_at_end(self._trainer)])

    def is_time_to_save(self) -> bool:
        """Whether the leader's clock calls for a save."""
        return self._plan.is_time()

    def cut_short(self) -> None:
        """Publish the deferred row, unless the attempt that resumes will publish it with its evaluation."""
        if not ("eval" in self._trainer.progress.unfinished_jobs and self._trainer.session.saves):
            self._log.publish()

    def close(self) -> None:
        """Training is over."""
        for hook in self._hooks:
            hook.close()

    def save_last(self) -> None:
        """Save before leaving."""
        self._save.save_last(self._trainer)
