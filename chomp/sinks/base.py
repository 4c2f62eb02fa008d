"""Where events go: `events.jsonl`, and sinks."""

from __future__ import annotations

import abc
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar

from chomp.record.event_log import EventWriter, NoEvents
from chomp.record.events import Event, Step, Warned

log = logging.getLogger("chomp.sinks")

E = TypeVar("E", bound=Event)
# The fields of events that are sentences; they may be those of an error, with the path by which a file was opened.
SENTENCES = frozenset({"message", "reason"})


class Sink(abc.ABC):
    """Receives every event of a run, from any thread, in order."""

    name: str = "sink"

    @abc.abstractmethod
    def handle(self, event: Event) -> None:
        """Handle one event, or ignore it."""

    def close(self) -> None:
        """Finish; called once, after the last event."""
        return


class Reporter:
    """The one way to say that something happened: `events.jsonl` first, then each sink.

    Metrics rows go to the sinks alone, of which `RowFiles` writes them to `metrics.jsonl`. A sink
    that raises is reported once and dropped; it never stops training.

    Args:
        is_over: whether another process has ended the run, so that nothing is said any more.
        named: a text about files of the run, with the path that users know.
    """

    def __init__(
        self,
        writer: EventWriter | NoEvents,
        sinks: list[Sink],
        is_over: Callable[[], bool] = lambda: False,
        named: Callable[[str], str] = str,
    ):
        self._writer = writer
        self._sinks = list(sinks)
        self._is_over = is_over
        self._named = named
        self._lock = threading.RLock()

    @property
    def writer(self) -> EventWriter | NoEvents:
        return self._writer

    def add(self, sink: Sink) -> None:
        """Add a sink, which receives all later events."""
        with self._lock:
            self._sinks.append(sink)

    def named(self, event: E) -> E:
        """The event, whose sentences name files of the run by the path that users know."""
        said = {field.name: getattr(event, field.name) for field in fields(event) if field.name in SENTENCES}
        named: dict[str, Any] = {name: self._named(text) for name, text in said.items() if text}
        return replace(event, **named)

    def publish(self, event: Event) -> None:
        with self._lock:
            if self._is_over():
                return
            if not isinstance(event, Step):
                event = self.named(event)
                self._writer.write(event)
            failures: list[tuple[Sink, Exception]] = []
            for sink in self._sinks:
                try:
                    sink.handle(event)
                except Exception as error:
                    # A tracker's library may raise anything; the sink is dropped and named.
                    log.exception("%s failed", sink.name)
                    failures.append((sink, error))
            for sink, _ in failures:
                self._sinks.remove(sink)
            for sink, failure in failures:
                message = f"{sink.name} failed and is switched off for this run: {failure}"
                self.publish(Warned(topic="sink", message=message))

    def close(self) -> None:
        with self._lock:
            for sink in self._sinks:
                try:
                    sink.close()
                except Exception:
                    log.exception("closing %s failed", sink.name)
            self._writer.close()


class QueuedSink(Sink):
    """Hands events to a slow sink in a thread of its own, through a bounded queue.

    When the queue is full the event is dropped and counted: a tracker that hangs must not
    stall training. `handle` raises the inner sink's error at the next event.
    """

    MAX_EVENTS = 1000
    CLOSE_TIMEOUT_SECONDS = 10.0

    def __init__(self, inner: Sink):
        self.name = inner.name
        self.dropped = 0
        self._inner = inner
        self._queue: queue.Queue[Event | None] = queue.Queue(self.MAX_EVENTS)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, daemon=True, name=f"sink-{inner.name}")
        self._thread.start()

    def handle(self, event: Event) -> None:
        if self._error is not None:
            raise self._error
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self.dropped += 1

    def _work(self) -> None:
        while (event := self._queue.get()) is not None:
            try:
                self._inner.handle(event)
            except Exception as error:
                log.warning("%s failed", self.name, exc_info=error)
                self._error = error
                return
        try:
            self._inner.close()
        except Exception:
            log.exception("closing %s failed", self.name)

    def close(self) -> None:
        deadline = time.monotonic() + self.CLOSE_TIMEOUT_SECONDS
        if self._error is None:
            try:
                self._queue.put(None, timeout=self.CLOSE_TIMEOUT_SECONDS)
            except queue.Full:
                self.dropped += self._queue.qsize()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            log.warning("%s did not finish in %.0f s and is left behind", self.name, self.CLOSE_TIMEOUT_SECONDS)
        if self.dropped:
            log.warning("%s lost %d events because it was too slow", self.name, self.dropped)
