"""Sends notices in the background: a bounded queue and a thread for each channel."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from chomp.config.notify import NotifyConfig
from chomp.notify.channels import Channel, SendError, build_channels
from chomp.notify.notice import ENDS, Notice

log = logging.getLogger("chomp.notify")

MOST_WAITING = 100
MOST_FAILURES = 20
# Between attempts: 1, 4, 16, … seconds.
BACKOFF_FACTOR = 4.0
CLOSE_SECONDS = 20.0


class Notifier:
    """Takes notices from any thread without waiting, and sends those of the kinds that the configuration names.

    Args:
        first_pause_seconds: between the first two attempts.
        now: clock in seconds, replaceable in tests.
    """

    def __init__(
        self,
        notify: NotifyConfig,
        channels: Sequence[Channel],
        *,
        first_pause_seconds: float = 1.0,
        now: Callable[[], float] = time.monotonic,
    ):
        self.kinds = frozenset(notify.kinds) | {"test"}
        self._min_interval_seconds = notify.min_interval_seconds
        self._now = now
        self._lock = threading.Lock()
        self._last_sent: dict[tuple[str, str], float] = {}
        self._failures: deque[str] = deque(maxlen=MOST_FAILURES)
        self._outboxes = [
            _Outbox(channel, notify.retries, first_pause_seconds, self._failures.append) for channel in channels
        ]

    def wants(self, notice: Notice) -> bool:
        """Whether there is a receiver, and the kind is among those that are sent."""
        return bool(self._outboxes) and notice.kind in self.kinds

    def send(self, notice: Notice, on_done: Callable[[], None] = lambda: None) -> bool:
        """Queue a notice; False if its kind is not wanted, or one of its kind was sent a short while ago.

        Args:
            on_done: called, in some thread, when each channel has sent it or given it up.
        """
        if not self.wants(notice) or not self._is_time(notice):
            return False
        parcel = _Parcel(notice, len(self._outboxes), on_done)
        for outbox in self._outboxes:
            outbox.put(parcel)
        return True

    def _is_time(self, notice: Notice) -> bool:
        if notice.kind in ENDS:
            return True
        key, now = (notice.kind, notice.path or notice.run), self._now()
        with self._lock:
            last = self._last_sent.get(key)
            if last is not None and now - last < self._min_interval_seconds:
                return False
            self._last_sent[key] = now
        return True

    def take_failures(self) -> list[str]:
        """A sentence for each notice that could not be sent since the last call."""
        taken = []
        while self._failures:
            taken.append(self._failures.popleft())
        return taken

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Wait for what is queued, for so many seconds at most; the rest is given up and logged."""
        deadline = time.monotonic() + seconds
        for outbox in self._outboxes:
            outbox.end()
        for outbox in self._outboxes:
            outbox.wait(max(0.0, deadline - time.monotonic()))
        for failure in self.take_failures():
            log.warning("%s", failure)


class _Parcel:
    """A notice on its way through so many channels."""

    def __init__(self, notice: Notice, channels: int, on_done: Callable[[], None]):
        self.notice = notice
        self._left = channels
        self._on_done = on_done
        self._lock = threading.Lock()

    def is_through(self) -> None:
        """A channel has sent the notice, or given it up."""
        with self._lock:
            self._left -= 1
            is_last = not self._left
        if is_last:
            self._on_done()


class _Outbox:
    """The queue of one channel: a channel that hangs holds up no other."""

    def __init__(self, channel: Channel, retries: int, first_pause_seconds: float, on_failure: Callable[[str], None]):
        self._channel = channel
        self._retries = retries
        self._first_pause_seconds = first_pause_seconds
        self._on_failure = on_failure
        self._queue: queue.Queue[_Parcel | None] = queue.Queue(MOST_WAITING)
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name=channel.name)
        self._thread.start()

    def put(self, parcel: _Parcel) -> None:
        try:
            self._queue.put_nowait(parcel)
        except queue.Full:
            self._on_failure(f"{self._channel.name} is too slow: the notice {parcel.notice.kind!r} is dropped")
            parcel.is_through()

    def end(self) -> None:
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            self._given_up.set()

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._given_up.set()
            self._on_failure(f"{self._channel.name} did not take the last notices in time; they are given up")

    def _work(self) -> None:
        while not self._given_up.is_set() and (parcel := self._queue.get()) is not None:
            self._deliver(parcel.notice)
            if not self._given_up.is_set():
                parcel.is_through()

    def _deliver(self, notice: Notice) -> None:
        pause = self._first_pause_seconds
        for attempt in range(self._retries + 1):
            try:
                self._channel.send(notice)
            except SendError as error:
                if error.is_final or attempt == self._retries or self._given_up.wait(max(pause, error.after_seconds)):
                    self._on_failure(f"the notice {notice.kind!r} could not be sent by {self._channel.name}: {error}")
                    return
                pause *= BACKOFF_FACTOR
            except Exception as error:  # noqa: BLE001 - its text and traceback may hold a secret: only its type is told
                self._on_failure(f"{self._channel.name} failed with {type(error).__name__}; a notice is lost")
                return
            else:
                log.info("sent the notice %r by %s", notice.kind, self._channel.name)
                return


def open_notifier(notify: NotifyConfig) -> Notifier:
    """The notifier of a configuration; one without channels sends nothing.

    Raises:
        ConfigError: a program, a variable or a file is missing, or holds no URL.
    """
    return Notifier(notify, build_channels(notify))
