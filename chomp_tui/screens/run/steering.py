"""Steering a run from its screen: dialogs, and commands to the engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

from textual.app import App

from chomp.record.commands import Command
from chomp.record.rundir import RunDir
from chomp_tui.engine import commands
from chomp_tui.engine.commands import CommandStatus, SentCommand
from chomp_tui.live.snapshot import RunSnapshot
from chomp_tui.platform.background import in_thread
from chomp_tui.screens.run.explaining import ExplainDialog, step_to_explain
from chomp_tui.state import Console
from chomp_tui.widgets.dialogs import Ask, Choice, Choose

MOST_SENT = 20
STEERING_ACTIONS = frozenset({"pause", "save_now", "evaluate_now", "sample_now", "profile_now", "stop"})


class SteeredScreen(Protocol):
    """What steering needs of the run screen."""

    @property
    def app(self) -> App[Any]: ...

    @property
    def chomp(self) -> Console: ...

    def snapshot(self) -> RunSnapshot | None:
        """The run at this moment; None before anything was read."""

    def redraw(self) -> None:
        """Draw what has changed."""

    def refresh_bindings(self) -> None:
        """Offer other keys."""

    def sent(self, *, is_written: bool) -> None:
        """A command was written, or could not be."""


@dataclass(frozen=True)
class Offer:
    """What the footer offers of a run: commands to its engine, a resume from a checkpoint, the end of a pause."""

    steering: bool = False
    resuming: bool = False
    unpausing: bool = False


class Steering:
    """Sends commands to the engine of the run on screen; only events report their results."""

    def __init__(self, screen: SteeredScreen) -> None:
        self._screen = screen
        self._sent: list[SentCommand] = []
        self._offer = Offer()

    def offers(self, action: str) -> bool:
        """Steering while there is an engine to steer, resuming while there is none but a checkpoint."""
        if action in STEERING_ACTIONS:
            return self._offer.steering
        return action != "resume" or self._offer.resuming

    def label_of(self, action: str, label: str) -> str:
        """What a key does now: of a paused run, `p` resumes."""
        return "Resume" if action == "pause" and self._offer.unpausing else label

    def offer_for(self, snapshot: RunSnapshot) -> None:
        """Offer the actions that are possible with the run now."""
        may_change, status = not self._screen.chomp.state.read_only, snapshot.status
        is_over = not status.is_live and status.tone != "live" and status.word != "elsewhere"
        offer = Offer(
            steering=status.is_live and may_change,
            resuming=is_over and may_change and bool(snapshot.saved),
            unpausing=commands.pause_or_resume(snapshot.view, self._sent) == "resume",
        )
        if offer != self._offer:
            self._offer = offer
            self._screen.refresh_bindings()

    def forget(self) -> None:
        """Drop what is known of the previous run: another run will be shown."""
        self._sent, self._offer = [], Offer()
        self._screen.refresh_bindings()

    def line(self, snapshot: RunSnapshot) -> CommandStatus | None:
        """The status of the newest command."""
        return commands.newest_status(snapshot.view, self._sent, alive=snapshot.status.is_live, now=snapshot.now)

    # Keys --------------------------------------------------------------------------------

    def pause(self) -> None:
        """Pause, or resume."""
        snapshot = self._steerable()
        if snapshot is not None:
            self._send_command(snapshot, commands.pause_or_resume(snapshot.view, self._sent))

    def save_now(self) -> None:
        """Save a checkpoint."""
        if (snapshot := self._steerable()) is not None:
            self._send_command(snapshot, "save")

    def evaluate_now(self) -> None:
        """Evaluate."""
        if (snapshot := self._steerable()) is not None:
            self._send_command(snapshot, "eval")

    def profile_now(self) -> None:
        """Trace a few steps."""
        if (snapshot := self._steerable()) is not None:
            self._send_command(snapshot, "profile")

    def sample_now(self) -> None:
        """Ask for a prompt, then for a sample."""
        snapshot = self._steerable()
        if snapshot is None:
            return
        last = snapshot.view.samples[-1].prompt if snapshot.view.samples else ""
        question = Ask(
            "Continue which text?",
            value="" if "\n" in last else last,
            placeholder="the run's own prompts",
            text="The model continues it. Without a text, it continues the run's own prompts.",
        )
        self._screen.app.push_screen(question, self._sample)

    def _sample(self, prompt: str | None) -> None:
        # The run may have ended while the question was open.
        if prompt is not None and (snapshot := self._steerable()) is not None:
            self._send_command(snapshot, "sample", prompt=prompt or None)

    def explain(self) -> None:
        """Show the documents of a step by their loss; the batch of the step can be left out."""
        snapshot, chomp = self._screen.snapshot(), self._screen.chomp
        asked = step_to_explain(snapshot) if snapshot is not None else None
        if snapshot is None or asked is None:
            chomp.notify("no run selected" if snapshot is None else "no step has been trained yet", severity="warning")
            return
        dialog = ExplainDialog(
            chomp.state.helper,
            snapshot.update.run.path,
            asked,
            dict(chomp.state.environment),
            may_skip=self._offer.steering,
        )
        self._screen.app.push_screen(dialog, self._confirm_skip)

    def _confirm_skip(self, step: int | None) -> None:
        if step is None or (snapshot := self._steerable()) is None:
            return
        again = max(snapshot.view.step - max((one for one in snapshot.saved if one < step), default=0), 0)
        choices = (
            Choice(
                "yes", "y", f"Go back and leave out the batch of step {step:,}", f"{again:,} steps are computed again"
            ),
            Choice("no", "n", "Leave the run as it is"),
        )

        def skip(choice: str | None) -> None:
            if choice == "yes" and (now := self._steerable()) is not None:
                self._send_command(now, "skip", step=step)

        self._screen.app.push_screen(Choose(f"Leave out a batch of {snapshot.update.run.name}?", choices), skip)

    def stop(self) -> None:
        """Ask how to end the run, then end it."""
        snapshot = self._steerable()
        if snapshot is None:
            return
        choices = (
            Choice("stop", "s", "Save and stop", "finishes the step and saves a checkpoint first"),
            Choice("abort", "a", "Stop now, without saving", _loss_of(snapshot)),
            Choice("no", "n", "Leave it running"),
        )
        self._screen.app.push_screen(Choose(f"Stop {snapshot.update.run.name}?", choices), self._stop)

    def resume(self) -> None:
        """Choose a checkpoint to resume from, once the run has ended."""
        snapshot, chomp = self._screen.snapshot(), self._screen.chomp
        if snapshot is None:
            chomp.notify("no run selected", severity="warning")
        elif snapshot.status.is_live:
            chomp.notify("this run is still training; stop it before resuming it", severity="warning")
        elif not snapshot.saved and snapshot.update.read_fraction == 1:
            chomp.notify(f"{snapshot.update.run.name} has no checkpoint to resume from", severity="warning")
        else:
            chomp.show_checkpoints(snapshot.update.run.path)

    def _stop(self, choice: str | None) -> None:
        if choice in ("stop", "abort") and (snapshot := self._steerable()) is not None:
            self._send_command(snapshot, choice)

    # Commands ----------------------------------------------------------------------------

    def _steerable(self) -> RunSnapshot | None:
        """The snapshot of a run that can be steered; otherwise None, and the user is notified why."""
        snapshot = self._screen.snapshot()
        if snapshot is None:
            self._screen.chomp.notify("no run selected", severity="warning")
            return None
        liveness = snapshot.update.liveness
        reason = commands.why_not(
            snapshot.status, read_only=self._screen.chomp.state.read_only, elsewhere=liveness.elsewhere
        )
        if reason is not None:
            self._screen.chomp.notify(reason, severity="warning")
            return None
        return snapshot

    def _send_command(
        self, snapshot: RunSnapshot, name: str, *, prompt: str | None = None, step: int | None = None
    ) -> None:
        given = {"prompt": prompt, "step": step}
        command = Command(command=name, args={key: value for key, value in given.items() if value is not None})
        self._sent = [*self._sent, SentCommand(command.id, name, command.t)][-MOST_SENT:]
        self._screen.redraw()
        self._screen.app.run_worker(self._send(snapshot.update.run, command))

    async def _send(self, run: RunDir, command: Command) -> None:
        problem = await in_thread(lambda: commands.send(run.commands, command))
        if problem is not None:
            self._sent = [replace(one, problem=problem) if one.id == command.id else one for one in self._sent]
        self._screen.sent(is_written=problem is None)


def _loss_of(snapshot: RunSnapshot) -> str:
    """How many steps are lost without saving."""
    if not snapshot.saved:
        return f"nothing is saved yet: {snapshot.view.step:,} steps are lost"
    last = max(snapshot.saved)
    where = "the fork began at" if snapshot.saved[last].state == "origin" else "the last checkpoint is"
    return f"{where} step {last:,}: {max(snapshot.view.step - last, 0):,} steps are lost"
