"""Errors that no caller receives are in the log file, and not on standard error."""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path

import pytest

from chomp.record.event_log import EventWriter, read_events
from chomp.record.events import Warned
from chomp.sinks import Reporter
from chomp.train.uncaught import uncaught_to_log

pytestmark = pytest.mark.pure


class Leaving:
    def __del__(self) -> None:
        raise RuntimeError("Event loop is closed")


def fail() -> None:
    raise OSError(28, "No space left on device")


def test_they_are_logged_and_a_thread_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = Reporter(EventWriter(tmp_path / "events.jsonl"), [])
    before = threading.excepthook, sys.unraisablehook
    with caplog.at_level(logging.ERROR), uncaught_to_log(reporter):
        for target in (fail, sys.exit):
            thread = threading.Thread(target=target, name="writer")
            thread.start()
            thread.join()
        leaving = Leaving()
        del leaving
    assert (threading.excepthook, sys.unraisablehook) == before
    assert [event.message for event in read_events(tmp_path / "events.jsonl") if isinstance(event, Warned)] == [
        "the thread writer ended with OSError: [Errno 28] No space left on device (traceback in the log file)"
    ]
    thread_record, ignored = caplog.records
    assert thread_record.exc_info is not None
    assert isinstance(thread_record.exc_info[1], OSError)
    assert ignored.exc_info is not None
    assert str(ignored.exc_info[1]) == "Event loop is closed"
    assert capsys.readouterr().err == ""
