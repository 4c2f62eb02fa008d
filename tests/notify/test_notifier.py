"""Sending in the background: retries, the rate limit, a receiver that hangs, and the bounded end."""

from __future__ import annotations

import threading
import time

import pytest

from chomp.config.notify import NotifyConfig
from chomp.notify.channels import Channel, SendError
from chomp.notify.notice import Notice
from chomp.notify.notifier import MOST_WAITING, Notifier
from tests.notify.servers import serving
from tests.notify.test_channels import SECRET, webhook


class Recorder(Channel):
    """Fails as often as it is told, then takes everything."""

    name = "recorder"

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.taken: list[str] = []
        self.attempts = 0

    def send(self, notice: Notice) -> None:
        self.attempts += 1
        if self._errors:
            raise self._errors.pop(0)
        self.taken.append(notice.kind)


def notifier(channel: Channel, now: float = 0.0, **settings: object) -> Notifier:
    return Notifier(NotifyConfig(**settings), [channel], first_pause_seconds=0.01, now=lambda: now)  # type: ignore[arg-type]


def test_a_failing_receiver_is_tried_again() -> None:
    with serving(503, "close", 200) as (address, received):
        sender = notifier(webhook(address))
        assert sender.send(Notice("crashed", "demo", "out of memory"))
        sender.close(5)
    assert len(received.requests) == 3
    assert len({body for _, _, body in received.requests}) == 1, "the same notice, with the same id"
    assert sender.take_failures() == []


@pytest.mark.parametrize(
    ("errors", "attempts", "failure"),
    [
        ([SendError("HTTP 500")] * 9, 3, "the notice 'crashed' could not be sent by recorder: HTTP 500"),
        ([SendError("HTTP 404", is_final=True)], 1, "the notice 'crashed' could not be sent by recorder: HTTP 404"),
        ([RuntimeError(SECRET)], 1, "recorder failed with RuntimeError; a notice is lost"),
    ],
)
def test_a_notice_is_given_up_with_a_sentence(
    errors: list[Exception], attempts: int, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    channel = Recorder(*errors)
    sender = notifier(channel, retries=2)
    sender.send(Notice("crashed", "demo", "out of memory"))
    sender.close(5)
    assert channel.attempts == attempts
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [failure]
    assert SECRET not in caplog.text


def test_repeated_notices_of_a_kind_are_held_back_but_ends_never() -> None:
    channel, clock = Recorder(), [0.0]
    sender = Notifier(NotifyConfig(min_interval_seconds=100), [channel], now=lambda: clock[0])
    sent = []
    for clock[0] in (0.0, 50.0, 99.0, 100.0, 150.0):
        sent.append((sender.send(Notice("spike", "demo", "up")), sender.send(Notice("crashed", "demo", "again"))))
    assert sent == [(True, True), (False, True), (False, True), (True, True), (False, True)]
    assert sender.send(Notice("stalled", "demo", "another kind"))
    assert sender.send(Notice("spike", "other", "another run"))
    sender.close(5)
    assert channel.taken.count("spike") == 3


def test_only_wanted_kinds_are_sent() -> None:
    channel = Recorder()
    sender = notifier(channel, kinds=["killed"])
    assert not sender.send(Notice("finished", "demo", "done"))
    assert sender.send(Notice("killed", "demo", "gone"))
    sender.close(5)
    assert channel.taken == ["killed"]


def test_a_hanging_receiver_holds_up_neither_the_caller_nor_others_nor_the_end() -> None:
    class Hanging(Channel):
        name = "hanging"
        released = threading.Event()

        def send(self, notice: Notice) -> None:
            self.released.wait()

    other = Recorder()
    sender = Notifier(NotifyConfig(), [Hanging(), other])
    for number in range(2 * MOST_WAITING):
        sender.send(Notice("crashed", f"run {number}", "x"))
        while len(other.taken) < number - MOST_WAITING // 2:
            time.sleep(0.001)
    failures = sender.take_failures()
    sender.close(0.1)
    assert "hanging is too slow: the notice 'crashed' is dropped" in failures
    assert len(other.taken) > MOST_WAITING
    Hanging.released.set()


def test_the_end_waits_for_what_is_queued() -> None:
    with serving("slow") as (address, received):
        sender = notifier(webhook(address))
        for kind in ("nonfinite", "crashed"):
            sender.send(Notice(kind, "demo", "x"))  # type: ignore[arg-type]
        sender.close(10)
    assert len(received.requests) == 2
