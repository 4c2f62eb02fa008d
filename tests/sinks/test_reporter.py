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
from chomp.sinks.rows import keep_rows_up_to


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


def test_a_failed_close_does_not_end_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
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
    row = json.loads(run.metrics.read_text())
    assert abs(row.pop("t") - time.time()) < 60
    assert row == {"step": 1, "loss": None}
    assert run.metrics.read_bytes().endswith(b"}\n")
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


def test_rows_go_to_their_file_alone(tmp_path: Path) -> None:
    run, seen = RunDir(tmp_path), Recorder()
    reporter = report(tmp_path, RowFiles(run), seen)
    for event in (phase(0), Step(row={"step": 1, "loss": 2.5}), phase(1)):
        reporter.publish(event)
    reporter.close()
    assert [event.kind for event in seen.events] == ["phase", "step", "phase"]
    assert [event.kind for event in read_events(run.events)] == ["phase", "phase"]
    assert b'"kind":"step"' not in run.events.read_bytes()
    assert [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()] == [1]


def test_rows_wait_for_a_file_that_cannot_be_opened_yet(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "gone")
    sink = RowFiles(run)
    sink.handle(Step(row={"step": 1}))
    run.path.mkdir()
    sink.handle(Step(row={"step": 2}))
    sink.close()
    assert [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()] == [1, 2]


def test_a_torn_row_of_a_killed_engine_spoils_no_later_one(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.metrics.write_bytes(b'{"step":1,"t":1.0}\n{"step":2,"lo')
    sink = RowFiles(run)
    sink.handle(Step(row={"step": 3}))
    sink.close()
    lines = run.metrics.read_bytes().splitlines()
    assert lines[1] == b'{"step":2,"lo'
    assert json.loads(lines[2])["step"] == 3


def test_rows_at_the_end_are_cut_in_place_and_others_by_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = [b'{"step":%d}\n' % step for step in range(1, 6)]
    path.write_bytes(b"".join(rows) + b'{"step":')
    before = path.stat().st_ino
    assert keep_rows_up_to(path, 3) == 3
    assert (path.read_bytes(), path.stat().st_ino) == (b"".join(rows[:3]), before)
    path.write_bytes(rows[0] + rows[4] + rows[1])
    assert keep_rows_up_to(path, 3) == 1
    assert path.read_bytes() == rows[0] + rows[1]
    assert path.stat().st_ino != before


def test_rows_that_a_rollback_cannot_cut_do_not_end_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path, step: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("chomp.sinks.rows.keep_rows_up_to", refuse)
    run = RunDir(tmp_path)
    sink = RowFiles(run)
    sink.handle(Step(row={"step": 3}))
    sink.handle(RolledBack(2, 5, 0.5, 105, 1, 1, "went back"))
    sink.handle(Step(row={"step": 3}))
    sink.close()
    assert [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()] == [3, 3]
    assert "rows beyond step 2 stay" in caplog.text
