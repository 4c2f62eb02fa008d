"""Commands of a live run, obeyed between two steps."""

from __future__ import annotations

import logging
from collections import deque

from chomp.errors import ChompError, ConfigError
from chomp.record.commands import COMMANDS, Command
from chomp.record.events import Phase
from chomp.train.boundary import Boundary
from chomp.train.control import ENDING, AbortRequestedError, StopRequestedError
from chomp.train.trainer import Trainer

log = logging.getLogger("chomp.steering")

PAUSE_POLL_SECONDS = 0.1


class Steering:
    """Reads commands, does what they ask for, and answers each."""

    def __init__(self, trainer: Trainer, boundary: Boundary):
        self._trainer = trainer
        self._boundary = boundary
        self._session = trainer.session
        self._queue = trainer.session.queue
        self._paused = False
        self._unanswered: deque[Command] = deque()

    def obey(self) -> None:
        """Obey what has arrived; while paused, stay here until told to go on.

        Raises:
            StopRequestedError: by a signal or a `stop`.
            AbortRequestedError: by an `abort`.
        """
        self._session.switch.check()
        self._obey_new()
        if self._paused:
            self._wait_while_paused()

    def _wait_while_paused(self) -> None:
        step = self._trainer.progress.step
        self._boundary.between = "paused"
        self._session.reporter.publish(Phase(name="paused", step=step))
        with self._session.budget.measure("paused"):
            while self._paused:
                self._session.switch.wait(PAUSE_POLL_SECONDS)
                self._session.switch.check()
                self._boundary.report_failed_save()
                self._obey_new()
        self._boundary.between = "train"
        self._session.reporter.publish(Phase(name="train", step=step))

    def _obey_new(self) -> None:
        self._unanswered.extend(self._queue.read())
        while self._unanswered:
            # May go back to an earlier step first; the command is then obeyed there.
            self._trainer.catch_up()
            command = self._unanswered.popleft()
            step = self._trainer.progress.step
            try:
                message = self._act(command)
            except (StopRequestedError, AbortRequestedError):
                self._queue.answer(command, step, ENDING)
                raise
            except ChompError as error:
                self._queue.answer(command, step, str(error), ok=False)
            except Exception as error:
                log.exception("the command %s failed", command.command)
                self._queue.answer(
                    command, step, f"{command.command} failed: {type(error).__name__}: {error}", ok=False
                )
            else:
                self._queue.answer(command, step, message, ok=command.command in COMMANDS)

    def _act(self, command: Command) -> str:
        match command.command:
            case "pause":
                self._paused = True
                return "paused"
            case "resume":
                was, self._paused = self._paused, False
                return "going on" if was else "the run was not paused"
            case "save":
                return self._boundary.save(wait=False)
            case "eval":
                return self._boundary.evaluate()
            case "sample":
                return self._boundary.sample(_prompt_of(command))
            case "stop" | "abort":
                raise self._queue.ending(command)
            case other:
                return f"unknown command {other!r}; known: {', '.join(sorted(COMMANDS))}"


def _prompt_of(command: Command) -> str | None:
    prompt = command.args.get("prompt")
    if prompt is None:
        return None
    if not isinstance(prompt, str) or any("\ud800" <= char <= "\udfff" for char in prompt):
        raise ConfigError(f"the prompt must be text, got {str(prompt)[:40]!a}")
    return prompt
