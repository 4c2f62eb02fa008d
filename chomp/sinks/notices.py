"""The engine's own notices: events that a user wants to hear of, handed to the notifier."""

from __future__ import annotations

from collections.abc import Callable

from chomp.notify.notice import Notice, kind_and_reason
from chomp.notify.notifier import Notifier
from chomp.record.events import Event, NonFinite, Phase, RunEnded, RunStarted, Spike, Step, Warned
from chomp.record.formatting import is_finite
from chomp.record.json_text import number
from chomp.record.rundir import RunDir
from chomp.sinks.base import Sink


class NoticeSink(Sink):
    """Sends a notice for each event that is worth one, without waiting.

    Args:
        run: gives the run directory where it is now.
        publish: takes the warning about a notice that could not be sent.
    """

    name = "notify"

    def __init__(self, notifier: Notifier, run: Callable[[], RunDir], publish: Callable[[Event], None]):
        self._notifier = notifier
        self._run = run
        self._publish = publish
        self._total_steps: int | None = None
        self._step = 0
        self._loss: float | None = None

    def handle(self, event: Event) -> None:
        match event:
            case RunStarted():
                self._total_steps, self._step = event.total_steps or None, event.resumed_from or 0
            case Step():
                loss = number(event.row.get("loss"))
                self._step, self._loss = event.row["step"], loss if is_finite(loss) else None
            case Phase() | RunEnded() | NonFinite() | Spike():
                self._step = event.step
        found = kind_and_reason(event, self._notifier.kinds)
        if found is not None:
            kind, reason = found
            run = self._run()
            self._notifier.send(
                Notice(kind, run.name, reason, str(run.path.absolute()), self._step, self._total_steps, self._loss)
            )
        for failure in self._notifier.take_failures():
            self._publish(Warned(topic="notify", step=self._step, message=failure))

    def close(self) -> None:
        self._notifier.close()
