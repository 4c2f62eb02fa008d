"""Work between two steps: what a hook is, and how several run in turn."""

from __future__ import annotations

from collections.abc import Sequence

from chomp.record.commands import Command
from chomp.step.train_step import StepMetrics
from chomp.train.progress import Pending
from chomp.train.trainer import Trainer


class Hook:
    """Work between two steps; subclasses override what they need.

    An error that a hook raises ends the run with a saved checkpoint.

    Attributes:
        every: cadence in steps; the run's last step is due too. 0 is never.
        command: the command of a live run that `on_command` obeys.
        job: name of work that a checkpoint notes as unfinished when a stop cuts it short; the attempt that resumes
            does it first. Without a name it is not done again.
    """

    every: int = 0
    command: str | None = None
    job: str | None = None

    def is_due(self, step: int, last: int) -> bool:
        """Whether `on_step` is called at `step` of a run of `last` steps."""
        return self.every > 0 and step > 0 and (step % self.every == 0 or step == last)

    def is_due_at_end(self, trainer: Trainer) -> bool:
        """Whether `on_step` is called where the text ends before the run's last step."""
        step = trainer.progress.step
        return self.is_due(step, step) and not self.is_due(step, trainer.config.train.steps)

    def on_start(self, trainer: Trainer) -> None:
        """The step is compiled; training begins."""

    def on_completed(self, trainer: Trainer, completed: Pending, metrics: StepMetrics) -> None:
        """A step's metrics are on the host; the device may be one step ahead. Called at every step: be quick."""

    def on_step(self, trainer: Trainer) -> None:
        """Do the work; `trainer.state` is that of `trainer.progress.step`."""

    def on_command(self, trainer: Trainer, command: Command) -> str:
        """Obey `command` between two steps.

        Returns:
            A sentence for the user.

        Raises:
            ChompError: the command cannot be obeyed; the message is the answer.
        """
        raise NotImplementedError

    def on_rollback(self, trainer: Trainer) -> None:
        """The run went back to an earlier step: forget later ones."""

    def on_end(self, trainer: Trainer) -> None:
        """The text is used up, which makes the last completed step the run's last; `on_step` follows where due."""

    def poll(self, trainer: Trainer) -> None:
        """Called at every step and several times a second while the run is paused: be quick."""

    def close(self) -> None:
        """Training is over, however it ended; a last save may follow."""


def run_hooks(trainer: Trainer, due: Sequence[Hook]) -> None:
    """Call `on_step` of each; every device step is complete.

    Raises:
        StopRequestedError: the named jobs that are left stay in `progress.unfinished_jobs`.
    """
    unfinished = trainer.progress.unfinished_jobs = [hook.job for hook in due if hook.job is not None]
    for hook in due:
        if hook.job is not None:
            trainer.check_stop()
        hook.on_step(trainer)
        if hook.job is not None:
            unfinished.remove(hook.job)
