"""Events reach every sink, and a sink that fails or hangs reaches nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chomp.record.event_log import EventWriter, read_events
from chomp.record.events import Event, Phase, RolledBack, Sampled, Step, Warned
from chomp.record.rundir import RunDir
from chomp.sinks import Reporter, RowFiles, Sink
from chomp.sinks.base import QueuedSink


class Recorder(Sink):
    """Keeps what it is told."""

    name = "recorder"

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed = 0

    def handle(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        self.closed += 1


class Failing(Recorder):
    """Raises at the second event."""

    name = "failing tracker"

    def handle(self, event: Event) -> None:
        super().handle(event)
        if len(self.events) > 1:
            raise ValueError("no quota left")


class Hanging(Recorder):
    """Never returns."""

    name = "hanging tracker"

    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Event()

    def handle(self, event: Event) -> None:
        super().handle(event)
        self.release.wait()


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    sink = Hanging()
    yield sink
    sink.release.set()


def phase(step: int) -> Phase:
    return Phase(name="train", step=step)


def report(path: Path, *sinks: Sink) -> Reporter:
    return Reporter(EventWriter(path / "events.jsonl"), list(sinks))


def test_a_sink_that_raises_is_named_once_and_dropped(tmp_path: Path) -> None:
    bad, good = Failing(), Recorder()
    reporter = report(tmp_path, bad, good)
    for step in range(5):
        reporter.publish(phase(step))
    reporter.close()
    assert len(bad.events) == 2
    assert bad.closed == 0
    warning = Warned(topic="sink", message="failing tracker failed and is switched off for this run: no quota left")
    assert good.events == [phase(0), phase(1), warning, phase(2), phase(3), phase(4)]
    assert good.closed == 1
    said = [event for event in read_events(tmp_path / "events.jsonl") if isinstance(event, Warned)]
    assert [event.message for event in said] == [warning.message]


def test_all_sinks_failing_at_once(tmp_path: Path) -> None:
    reporter = report(tmp_path, Failing(), Failing(), Failing())
    for step in range(4):
        reporter.publish(phase(step))
    reporter.close()
    events = read_events(tmp_path / "events.jsonl")
    assert sum(isinstance(event, Warned) for event in events) == 3
    assert sum(isinstance(event, Phase) for event in events) == 4


def test_a_queued_sink_that_raises_is_reported_by_the_next_event(tmp_path: Path) -> None:
    reporter = report(tmp_path, QueuedSink(Failing()))
    deadline = time.monotonic() + 10
    while not any(isinstance(event, Warned) for event in read_events(tmp_path / "events.jsonl")):
        reporter.publish(phase(1))
        assert time.monotonic() < deadline
        time.sleep(0.01)
    started = time.monotonic()
    reporter.close()
    assert time.monotonic() - started < 5


def test_a_sink_that_hangs_stalls_neither_training_nor_the_end(
    tmp_path: Path, hanging: Hanging, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(QueuedSink, "MAX_EVENTS", 10)
    monkeypatch.setattr(QueuedSink, "CLOSE_TIMEOUT_SECONDS", 0.3)
    queued = QueuedSink(hanging)
    reporter = report(tmp_path, queued)
    started = time.monotonic()
    for step in range(500):
        reporter.publish(phase(step))
    assert time.monotonic() - started < 5, "publishing waited for the tracker"
    assert queued.dropped >= 500 - 10 - 1
    started = time.monotonic()
    reporter.close()
    assert time.monotonic() - started < 3, "twice the timeout at most"
    assert "hanging tracker did not finish in 0 s and is left behind" in caplog.text
    assert "hanging tracker lost" in caplog.text
    assert len(read_events(tmp_path / "events.jsonl")) == 500


def test_a_queued_sink_hands_on_everything_in_order_and_is_closed() -> None:
    inner = Recorder()
    queued = QueuedSink(inner)
    for step in range(300):
        queued.handle(phase(step))
    queued.close()
    assert inner.events == [phase(step) for step in range(300)]
    assert inner.closed == 1


def test_closing_that_fails_is_nobody_s_loss(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Sour(Recorder):
        name = "sour"

        def close(self) -> None:
            raise RuntimeError("network")

    good = Recorder()
    reporter = report(tmp_path, Sour(), QueuedSink(Sour()), good)
    reporter.publish(phase(1))
    reporter.close()
    assert good.closed == 1
    assert caplog.text.count("closing sour failed") == 2


def test_rows_and_samples_are_flat_files(tmp_path: Path) -> None:
    run = RunDir(tmp_path, metrics_name="rows.jsonl")
    sink = RowFiles(run)
    sink.handle(phase(1))
    assert not list(tmp_path.iterdir()), "no file before its first row: a resume may still rewrite it"
    sink.handle(Step(row={"step": 1, "loss": float("nan")}))
    sink.handle(Sampled(step=1, prompt="a", text="b\n\x1b[2J\u2028", tokens=3, seconds=0.5))
    sink.close()
    assert run.metrics.read_text() == '{"step":1,"loss":null}\n'
    assert run.samples.read_bytes() == b'{"step":1,"prompt":"a","text":"b\\n\\u001b[2J\\u2028","tokens":3}\n'


def test_rows_beyond_a_rollback_go(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    sink = RowFiles(run)
    for step in (1, 2, 3, 4):
        sink.handle(Step(row={"step": step, "loss": 1.0}))
    sink.handle(Sampled(step=4, prompt="a", text="b", tokens=1, seconds=0.1))
    sink.handle(RolledBack(2, 5, 0.5, 105, 1, 1, "went back"))
    for step in (3, 4):
        sink.handle(Step(row={"step": step, "loss": 2.0}))
    sink.close()
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0)]
    assert run.samples.read_text() == ""
