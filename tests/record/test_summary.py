"""A summary read from parts of a log says what the whole log says."""

from __future__ import annotations

import json
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chomp.record.codec import decode, encode, json_line
from chomp.record.event_log import read_events
from chomp.record.events import Evaluated, Event, Phase, RunStarted, Sampled, Step, Warned
from chomp.record.fold import fold
from chomp.record.lock import RunLock
from chomp.record.manifest import seal
from chomp.record.run_view import RunView
from chomp.record.rundir import RunDir
from chomp.record.status import COPIED, Liveness, status
from chomp.record.summary import SummaryReader, summarize
from chomp.record.tail import read_tail, thinned_losses
from tests import fakeruns
from tests.fakeruns import ended


def started(total: int, resumed_from: int | None, attempt: int = 1) -> RunStarted:
    plain = fakeruns.started(resumed_from, attempt=attempt, total_steps=total)
    return replace(plain, device={"platform": "gpu", "name": "Card", "count": 2})


def story(seed: int) -> tuple[list[Event], int]:
    """Some attempts of a run as an engine tells them, with kills, refused resumes and evaluations; the total steps."""
    rng = random.Random(seed)
    events: list[Event] = []
    reached, total = 0, rng.choice([50, 200])
    for attempt in range(1, rng.randint(1, 4) + 1):
        events.append(Phase(name="data", step=0))
        if attempt > 1 and rng.random() < 0.3:
            events += [Warned(topic="resume", message="no"), ended("crashed", 0, "other settings")]
            continue
        start = rng.randint(0, reached) if attempt > 1 else 0
        total += rng.choice([0, 10])
        events += [started(total, start if attempt > 1 else None, attempt), Phase(name="compile", step=start)]
        reached = start + rng.choice([0, 1, 7, 120])
        for step in range(start + 1, reached + 1):
            loss = None if rng.random() < 0.05 else round(rng.random() * 5, 4)
            events.append(Step(row={"step": step, "loss": loss, "pad": "x" * rng.randint(0, 60)}))
            if rng.random() < 0.05:
                events.append(Evaluated(step=step, loss=rng.random(), perplexity=1.0, bpb=1.0, tokens=1, seconds=1.0))
            if rng.random() < 0.02:
                events.append(Sampled(step=step, prompt='"kind":"run_started"', text="\n", tokens=1, seconds=1.0))
        if rng.random() < 0.6:
            status = rng.choice(["completed", "stopped", "crashed"])
            events.append(ended(status, reached, f"because {seed}"))
    return events, total


def write(run: Path, events: list[Event], total: int) -> None:
    run.mkdir(parents=True)
    lines = [encode(event, 1_700_000_000.0 + number) for number, event in enumerate(events)]
    (run / "events.jsonl").write_bytes(b"".join(lines))
    (run / "config_resolved.json").write_text(json.dumps({"train": {"steps": total}}))


def told(path: Path) -> dict[str, Any]:
    """The same by folding everything, rows and samples included."""
    events = read_events(path / "events.jsonl")
    view = fold(RunView(), events)
    losses = [event.row["loss"] for event in events if isinstance(event, Step) and event.row["loss"] is not None]
    found = status(view, Liveness(), 0.0)
    return {
        "status": found, "total_steps": view.total_steps, "step": view.step, "loss": losses[-1] if losses else None,
        "eval_loss": view.evals.last("loss"), "last_t": view.last_t, "attempts": view.attempts,
    }  # fmt: skip


def said(reader: SummaryReader) -> dict[str, Any]:
    summary = reader.read()
    names = ["status", "total_steps", "step", "loss", "eval_loss", "last_t", "attempts"]
    return {name: getattr(summary, name) for name in names}


@pytest.mark.parametrize("seed", range(60))
def test_a_log_with_rows_says_what_the_whole_fold_says(seed: int, tmp_path: Path) -> None:
    run = tmp_path / "run"
    write(run, *story(seed))
    assert said(SummaryReader(run)) == told(run)


@pytest.mark.parametrize("seed", range(20))
def test_a_log_that_grows_is_followed(seed: int, tmp_path: Path) -> None:
    """Whatever instant a log is looked at, torn last line included, the next look says what the whole says."""
    run = tmp_path / "run"
    events, total = story(seed)
    write(run, events, total)
    whole = (run / "events.jsonl").read_bytes()
    rng = random.Random(seed)
    cuts = sorted(rng.sample(range(len(whole)), min(5, len(whole) - 1)))
    reader = SummaryReader(run)
    for cut in [*cuts, len(whole)]:
        (run / "events.jsonl").write_bytes(whole[:cut])
        found = said(reader)
    assert found == told(run)


def test_a_log_that_is_replaced_by_a_shorter_one_is_read_anew(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write(run, [started(100, None), *(Step(row={"step": step, "loss": 1.0}) for step in range(50))], 100)
    reader = SummaryReader(run)
    assert reader.read().step == 49
    (run / "events.jsonl").write_bytes(encode(started(7, None), 5.0))
    assert (reader.read().step, reader.read().total_steps) == (0, 7)


def test_rows_and_samples_in_a_log_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    steps = [Step(row={"step": step, "loss": 9.0 - step / 1000}) for step in range(1, 5001)]
    scored = Evaluated(step=1, loss=3.0, perplexity=1.0, bpb=1.0, tokens=1, seconds=1.0)
    sample = Sampled(step=5, prompt="a", text="b", tokens=1, seconds=1.0)
    write(run, [started(9000, None), scored, *steps[:2000], sample, *steps[2000:]], 9000)
    decoded: list[bytes] = []

    def counting(line: bytes) -> Event | None:
        decoded.append(line)
        return decode(line)

    monkeypatch.setattr("chomp.record.summary.decode", counting)
    summary = SummaryReader(run).read()
    assert (summary.status.state, summary.step, summary.total_steps) == ("crashed", 5000, 9000)
    assert (summary.loss, summary.eval_loss) == (4.0, 3.0)
    assert len(decoded) == 3, "the start, the evaluation, the newest row"


def test_what_stands_beside_the_log(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write(run, [started(100, None, attempt=3), Phase(name="paused", step=7)], 100)
    for step in (5, 10):
        (run / "checkpoints" / str(step)).mkdir(parents=True)
        seal(run / "checkpoints" / str(step), {"step": step})
    (run / "checkpoints" / "15").mkdir()
    (run / "metrics.jsonl").write_bytes(b"".join(json_line({"step": s, "loss": 10.0 - s}) for s in range(1, 8)))
    (run / "samples.jsonl").write_bytes(json_line({"step": 5, "prompt": "def ", "text": "main", "tokens": 4}))
    lock = RunLock(run / "lock")
    lock.acquire()
    summary = summarize(run)
    lock.release()
    assert summary.checkpoints == (5, 10)
    assert summary.losses == (9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0)
    assert (summary.sample, summary.device, summary.attempts) == ("def main", "2 × Card", 3)
    assert summary.status.word == "starting", "the engine is younger than the newest event"
    assert (summary.pid, summary.status.state, summary.is_live) == (os.getpid(), "running", True)
    assert summarize(run).status.state == "crashed"


def test_a_lock_of_another_machine_is_told(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write(run, [started(100, None)], 100)
    (run / "lock").write_text(json.dumps({"pid": 7, "host": "elsewhere", "started": 1.0}))
    summary = summarize(run)
    assert (summary.status.state, summary.pid) == ("running", None)
    assert summary.status.reason == "on elsewhere; this machine cannot tell whether it still runs"


def test_the_copy_of_a_live_run_is_no_live_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write(run, [started(100, None)], 100)
    lock = RunLock(run / "lock")
    lock.acquire()
    shutil.copytree(run, tmp_path / "copy")
    assert summarize(run).is_live
    copied = summarize(tmp_path / "copy")
    assert (copied.is_live, copied.pid, copied.status.state, copied.status.reason) == (False, None, "stopped", COPIED)
    # The engine was killed, then the run was copied: the copy is what the original is.
    for folder in (run, tmp_path / "copy"):
        named = json.loads((tmp_path / "copy" / "lock").read_text())
        (folder / "lock").write_text(json.dumps({**named, "started": 1.0}))
    assert summarize(tmp_path / "copy").status.state == summarize(run).status.state == "crashed"
    assert summarize(tmp_path / "copy").status.reason == summarize(run).status.reason
    lock.release()


@pytest.mark.parametrize("points", [2, 10, 48])
@pytest.mark.parametrize("count", [0, 1, 5, 100, 20_000])
def test_a_thinned_curve_runs_from_the_first_row_to_the_last(points: int, count: int, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    row = {"grad_norm": 1.0, "pad": "x" * 100}
    path.write_bytes(b"".join(json_line({"step": s, "loss": float(s), **row}) for s in range(1, count + 1)))
    found = thinned_losses(path, points)
    assert len(found) <= points + 1
    assert list(found) == sorted(found)
    if count:
        assert found[0] == pytest.approx(1, abs=1)
        assert found[-1] == count
    assert thinned_losses(tmp_path / "nothing", points) == ()


def test_the_tail_begins_and_ends_with_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"aaa\nbbb\nccc\ntorn")
    for limit in range(1, 20):
        start, data = read_tail(path, limit)
        assert b"aaa\nbbb\nccc\n"[start:] == data or not data, limit
        assert not data or data.endswith(b"\n")


def test_a_hidden_folder_is_no_run(tmp_path: Path) -> None:
    from chomp.record.rundir import list_runs

    write(tmp_path / ".half", [started(1, None)], 1)
    write(tmp_path / "whole", [started(1, None)], 1)
    assert list_runs(tmp_path) == [tmp_path / "whole"]
    assert RunDir(tmp_path / ".half").holds_run()


def write_rows(run: Path, *rows: tuple[int, float | None, float]) -> None:
    """Metrics rows: step, loss, Unix time."""
    lines = [json_line({"step": step, "loss": loss, "t": t}) for step, loss, t in rows]
    (run / "metrics.jsonl").write_bytes(b"".join(lines))


def test_the_newest_row_is_read_from_its_own_file(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write(run, [started(100, None)], 100)
    began = 1_700_000_000.0
    write_rows(run, (1, 5.0, began + 1), (2, 4.0, began + 2), (3, None, began + 3))
    reader = SummaryReader(run)
    summary = reader.read()
    assert (summary.step, summary.loss, summary.last_t) == (3, 4.0, began + 3)
    # The engine resumes from step 2; for an instant its event is there and the rows are not cut yet.
    with (run / "events.jsonl").open("ab") as file:
        file.write(encode(started(100, 2, attempt=2), began + 10))
    assert (reader.read().step, reader.read().last_t) == (2, began + 10)
    write_rows(run, (1, 5.0, began + 1), (2, 4.0, began + 2))
    assert (reader.read().step, reader.read().loss) == (2, 4.0)
    write_rows(run, (1, 5.0, began + 1), (2, 4.0, began + 2), (3, 3.5, began + 11))
    summary = reader.read()
    assert (summary.step, summary.loss, summary.last_t) == (3, 3.5, began + 11)


def test_the_rows_may_have_another_name(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write(run, [started(100, None)], 100)
    (run / "config_resolved.json").write_text(json.dumps({"logging": {"metrics_file": "rows.jsonl"}}))
    write_rows(run, (7, 5.0, 1_700_000_001.0))
    (run / "metrics.jsonl").rename(run / "rows.jsonl")
    assert (summarize(run).step, summarize(run).loss) == (7, 5.0)
