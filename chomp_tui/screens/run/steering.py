"""The part of the run screen that asks the engine for something."""

from __future__ import annotations

import threading

from textual.message import Message

from chomp.record.commands import Command
from chomp.record.rundir import RunDir
from chomp_tui.engine import commands
from chomp_tui.engine.commands import Asked, Line
from chomp_tui.live.snapshot import Scene
from chomp_tui.screens.run.following import FollowingScreen
from chomp_tui.widgets.dialogs import Ask, Choice, Choose

MOST_ASKED = 20
STEERING_ACTIONS = frozenset({"pause", "save_now", "evaluate_now", "sample_now", "stop"})


class SteeringScreen(FollowingScreen):
    """Asks the engine of the run at hand; what became of it is told by events alone."""

    class Sent(Message):
        """A command was written, or could not be."""

        def __init__(self, asked: Asked, problem: str | None) -> None:
            super().__init__()
            self.asked = asked
            self.problem = problem

    def __init__(self) -> None:
        super().__init__()
        self._asked: list[Asked] = []
        self._is_live = False
        self._is_steerable = False

    def scene(self) -> Scene | None:
        """The run at this moment."""
        raise NotImplementedError

    def offers(self, action: str) -> bool:
        """Steering while there is an engine to steer, resuming while there is none."""
        if action in STEERING_ACTIONS:
            return self._is_steerable
        return not self._is_live if action == "resume" else super().offers(action)

    def offer_for(self, scene: Scene) -> None:
        """Offer what can be done with the run as it is now."""
        live = scene.status.tone == "live" or scene.status.is_live
        steerable = scene.status.is_live and not self.chomp.state.read_only
        if (live, steerable) != (self._is_live, self._is_steerable):
            self._is_live, self._is_steerable = live, steerable
            self.refresh_bindings()

    def forget(self) -> None:
        """Another run will be shown: what was asked of the last one is no longer told."""
        self._asked = []

    def steering_line(self, scene: Scene) -> Line | None:
        """What to say of steering now."""
        return commands.steering_line(scene.view, self._asked, alive=scene.status.is_live, now=scene.now)

    # Keys --------------------------------------------------------------------------------

    def action_pause(self) -> None:
        """Pause, or go on."""
        scene = self._steerable()
        if scene is not None:
            self._ask_engine(commands.pause_or_resume(scene.view, self._asked))

    def action_save_now(self) -> None:
        """Save a checkpoint."""
        if self._steerable() is not None:
            self._ask_engine("save")

    def action_evaluate_now(self) -> None:
        """Evaluate."""
        if self._steerable() is not None:
            self._ask_engine("eval")

    def action_sample_now(self) -> None:
        """Ask for a prompt, then for a sample."""
        scene = self._steerable()
        if scene is None:
            return
        last = scene.view.samples[-1].prompt if scene.view.samples else ""
        question = Ask(
            "Continue which text?",
            value="" if "\n" in last else last,
            placeholder="the run's own prompts",
            text="The model writes on from it. Without a text it continues the run's own prompts.",
        )
        self.app.push_screen(question, self._sample)

    def _sample(self, prompt: str | None) -> None:
        # The run may have ended while the question stood there.
        if prompt is not None and self._steerable() is not None:
            self._ask_engine("sample", prompt=prompt or None)

    def action_stop(self) -> None:
        """Ask how to end the run, then end it."""
        scene = self._steerable()
        if scene is None:
            return
        choices = (
            Choice("stop", "s", "Save and stop", "finishes the step and saves a checkpoint first"),
            Choice("abort", "a", "Stop now, without saving", _loss_of(scene)),
            Choice("no", "n", "Leave it running"),
        )
        name = self._update.run.name if self._update is not None else "this run"
        self.app.push_screen(Choose(f"Stop {name}?", choices), self._stop)

    def _stop(self, choice: str | None) -> None:
        if choice in ("stop", "abort") and self._steerable() is not None:
            self._ask_engine(choice)

    # Asking ------------------------------------------------------------------------------

    def _steerable(self) -> Scene | None:
        """What is known of a run that can be steered; else says why it cannot."""
        scene = self.scene()
        if scene is None:
            self.chomp.notify("no run is chosen", severity="warning")
            return None
        liveness = scene.update.liveness
        reason = commands.why_not(scene.status, read_only=self.chomp.state.read_only, elsewhere=liveness.elsewhere)
        if reason is not None:
            self.chomp.notify(reason, severity="warning")
            return None
        return scene

    def _ask_engine(self, name: str, *, prompt: str | None = None) -> None:
        update = self._update
        assert update is not None
        command = Command(command=name, args={"prompt": prompt} if prompt is not None else {})
        asked = commands.asked(command)
        self._asked = [*self._asked, asked][-MOST_ASKED:]
        self.redraw()
        threading.Thread(target=self._send, args=(update.run, command, asked), daemon=True, name="steering").start()

    def _send(self, run: RunDir, command: Command, asked: Asked) -> None:
        problem = commands.send(run.commands, command)
        self.post_safely(self.Sent(asked, problem))

    def on_steering_screen_sent(self, message: Sent) -> None:
        if message.problem is not None:
            self._asked = [
                commands.failed(one, message.problem) if one.id == message.asked.id else one for one in self._asked
            ]
            self.redraw()
        elif self._feed is not None:
            self._feed.poke()


def _loss_of(scene: Scene) -> str:
    """What stopping without saving costs."""
    if not scene.saved:
        return f"nothing is saved yet: {scene.view.step:,} steps are lost"
    last = max(scene.saved)
    where = "the fork began at" if scene.saved[last].state == "origin" else "the last checkpoint is"
    return f"{where} step {last:,}: {max(scene.view.step - last, 0):,} steps are lost"
