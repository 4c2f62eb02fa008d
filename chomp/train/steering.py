"""Commands of a live run, obeyed between two steps."""

from __future__ import annotations

import logging
from collections import deque

from chomp.errors import ChompError, ConfigError
from chomp.parallel.agreement import Wish
from chomp.record.commands import COMMANDS, Command
from chomp.train.control import ENDING, AbortRequestedError, StopRequestedError
from chomp.train.hooks.runner import Hooks
from chomp.train.rewind import RewindDueError, plan_skip
from chomp.train.trainer import Trainer

log = logging.getLogger("chomp.steering")

PAUSE_POLL_SECONDS = 0.1


class CommandExecutor:
    """Reads commands, obeys them or passes them to the hooks, and answers each."""

    def __init__(self, trainer: Trainer, hooks: Hooks):
        self._trainer = trainer
        self._hooks = hooks
        self._session = trainer.session
        self._queue = trainer.session.queue
        self._world = trainer.session.world
        self._paused = False
        self._unanswered: deque[Command] = deque()
        self._rewind: RewindDueError | None = None

    def obey(self) -> None:
        """Obey the commands that have arrived; while paused, wait here for `resume`.

        Raises:
            StopRequestedError: by a signal or a `stop`.
            AbortRequestedError: by an `abort`.
            RewindDueError: by a `skip`.
        """
        agreement = self._trainer.agreement
        self._act(agreement.read())
        if self._paused:
            self._wait_while_paused()
        agreement.ask(self._wish)

    def _act(self, agreed: Wish) -> None:
        if agreed & Wish.STOP:
            self._trainer.leave_if_stopped()
        if agreed & Wish.COMMANDS:
            self._obey_new()

    def _wish(self) -> Wish:
        """What this process, one of several, wants all to do."""
        wish = self._trainer.wish()
        if self._world.is_leader and self._queue.has_commands():
            wish |= Wish.COMMANDS
        # A save that is agreed for this step restarts the clock only after it.
        is_time = self._hooks.is_time_to_save() and not self._trainer.agreement.agreed & Wish.SAVE
        if is_time or (not self._world.is_leader and self._queue.take_given()):
            wish |= Wish.SAVE
        return wish

    def _wait_while_paused(self) -> None:
        self._trainer.between = "paused"
        self._trainer.publish_phase("paused")
        with self._session.budget.measure("paused"):
            while self._paused:
                self._session.switch.wait(PAUSE_POLL_SECONDS)
                self._hooks.poll()
                self._act(self._trainer.agreement.now(self._wish))
        self._trainer.between = "train"
        self._trainer.publish_phase("train")

    def _obey_new(self) -> None:
        self._unanswered.extend(self._queue.take())
        while self._unanswered:
            # May go back to an earlier step first; the command is then obeyed there.
            self._trainer.catch_up()
            command = self._unanswered.popleft()
            step = self._trainer.progress.step
            try:
                message = self._obey(command)
            except (StopRequestedError, AbortRequestedError):
                self._queue.answer(command, step, ENDING)
                raise
            except ChompError as error:
                self._require_all_fail(error)
                self._queue.answer(command, step, str(error), ok=False)
            except Exception as error:
                self._require_all_fail(error)
                log.exception("the command %s failed", command.command)
                cause = self._trainer.explained(error)
                said = str(cause) if isinstance(cause, ChompError) else f"{type(cause).__name__}: {cause}"
                self._queue.answer(command, step, f"{command.command} failed: {said}", ok=False)
            else:
                unknown = f"unknown command {command.command!r}; known: {', '.join(sorted(COMMANDS))}"
                self._queue.answer(command, step, unknown if message is None else message, ok=message is not None)
            if self._rewind is not None:
                due, self._rewind = self._rewind, None
                raise due

    def _require_all_fail(self, error: Exception) -> None:
        """Raise an error that the other processes may not meet: this one cannot go on without them."""
        if not (self._world.is_alone or isinstance(error, ConfigError)):
            raise error

    def _obey(self, command: Command) -> str | None:
        """The answer to a command; None if it is unknown."""
        match command.command:
            case "pause":
                self._paused = True
                return "paused"
            case "resume":
                was, self._paused = self._paused, False
                return "resumed" if was else "the run was not paused"
            case "skip":
                self._rewind = plan_skip(self._trainer, command.args.get("step"))
                return self._rewind.words
            case "stop" | "abort":
                raise self._queue.ending(command)
            case _:
                return self._hooks.obey(command)
