"""Rows are read from their own file: whatever became of it meanwhile, what is shown is what the files say."""

from __future__ import annotations

import dataclasses
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chomp.record.codec import json_line
from chomp.record.columns import Columns
from chomp.record.events import Checkpoint, Evaluated, Event, RolledBack, Step
from chomp.record.fold import fold
from chomp.record.row_blocks import plain_block, table_block
from chomp.record.run_view import RunView
from chomp.record.rundir import RunDir
from chomp.sinks.rows import RowFiles, keep_rows_up_to
from chomp_tui.live import line_tail, row_tail
from chomp_tui.live.feed import Follower
from chomp_tui.live.row_tail import RowTail
from chomp_tui.live.x_axes import tokens_at
from tests.fakeruns import T0, ended, lines, phase, row, row_lines, started, write


def read_all(tail: RowTail) -> Columns:
    while True:
        tail.advance(60.0)
        if tail.caught_up:
            return tail.rows


def shown(follower: Follower) -> RunView:
    """What the follower shows once it has caught up."""
    follower.look()
    while follower.has_more:
        follower.look()
    update = follower.given_up(OSError())
    return update.view


# The parsers ---------------------------------------------------------------------------

NUMBERS = st.one_of(st.none(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False), st.booleans())
VALUES = st.one_of(NUMBERS, NUMBERS, st.text(max_size=6), st.lists(st.integers(), max_size=2))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["loss", "lr", "mine", "é"]), VALUES, max_size=4), max_size=12))
def test_a_table_holds_what_single_lines_hold(rows: list[dict[str, Any]]) -> None:
    made = b"".join(json_line({"step": step, "t": T0 + step, **values}) for step, values in enumerate(rows, 1))
    table = table_block(made)
    plain, malformed = plain_block(made)
    assert malformed == 0
    if table is not None and rows:
        left, right = Columns.empty().append(table), Columns.empty().append(plain)
        for name in {*left.names, *right.names}:
            np.testing.assert_allclose(left[name], right[name], rtol=1.3e-7, atol=1e-44, err_msg=name)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 5))
def test_a_damaged_byte_costs_its_own_line(seed: int, wounds: int) -> None:
    rng = random.Random(seed)
    whole = [row_lines([row(step, mfu=step / 64)]) for step in range(1, 40)]
    for _ in range(wounds):
        place = rng.randrange(len(whole))
        at = rng.randrange(len(whole[place]) - 1)
        wound = rng.choice([b"", b"0", b".", b"}", b'"', b"\xff", b"{"])
        whole[place] = whole[place][:at] + wound + whole[place][at + 1 :]
    data = b"".join(whole)
    table, (plain, malformed) = table_block(data), plain_block(data)
    assert len(plain["step"]) + malformed == 39
    assert len(plain["step"]) >= 39 - wounds
    if table is not None:
        assert Columns.empty().append(table) == Columns.empty().append(plain)


@pytest.mark.parametrize(
    "odd",
    [
        b'{"step":450,"loss":"high","t":1.0}',
        b'{"step":450.5,"t":1.0}',
        b'{"step":-2,"t":1.0}',
        b'{"step":99999999999999999999,"t":1.0}',
        b'{"step":null,"t":1.0}',
        b'{"loss":2.5}',
        b'{"step":450,"loss":1e999,"t":1.0}',
        b"[1]",
        b"",
        b"\xff\xfe",
        b'{"\xff":1}',
        b"[" * 5000,
        b'{"step":2,"step":450,"t":1.0}',
    ],
)
def test_an_odd_line_does_not_cost_the_rows_around_it(odd: bytes, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    before, after = range(1, 400), range(500, 900)
    path.write_bytes(row_lines(map(row, before)) + odd + b"\n" + row_lines(map(row, after)))
    rows = read_all(RowTail(path))
    others = rows["step"] != 450
    assert rows["step"][others].tolist() == [*before, *after]
    np.testing.assert_array_equal(rows["loss"][others], np.float32([4.0 - step / 1000 for step in (*before, *after)]))


def test_plain_rows_are_read_as_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(lines: bytes) -> None:
        raise AssertionError("line by line")

    path = tmp_path / "metrics.jsonl"
    path.write_bytes(row_lines(row(step, mfu=None if step % 3 else 0.4) for step in range(1, 2001)))
    monkeypatch.setattr(row_tail, "plain_block", refuse)
    rows = read_all(RowTail(path))
    assert rows["step"].tolist() == list(range(1, 2001))
    assert np.isnan(rows["mfu"]).sum() == 1334


def test_rows_without_a_time_are_of_older_versions_and_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step":1,"loss":2.0}\n' * 3 + row_lines([row(2)]))
    tail = RowTail(path)
    assert read_all(tail)["step"].tolist() == [2]
    assert tail.malformed == 0


# A file that is cut --------------------------------------------------------------------


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_whatever_happens_to_the_file_its_rows_are_shown(data: st.DataObject) -> None:
    """Rows come, torn at times; the file is cut in place or rewritten, looked at or not, and put back as it was."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.jsonl"
        path.write_bytes(b"")
        tail, clock, step, copy = RowTail(path), T0, 0, b""
        for _ in range(data.draw(st.integers(1, 12))):
            match data.draw(st.sampled_from(["rows", "rows", "torn", "cut", "rewrite", "look", "copy", "gone"])):
                case "rows":
                    for _ in range(data.draw(st.integers(1, 40))):
                        step, clock = step + 1, clock + 1
                        with path.open("ab") as file:
                            file.write(row_lines([row(step, t=clock)]))
                case "torn":
                    with path.open("ab") as file:
                        file.write(row_lines([row(step + 1, t=clock)])[:50] + b"\n" * data.draw(st.integers(0, 1)))
                case "cut":
                    step = min(step, data.draw(st.integers(0, 60)))
                    keep_rows_up_to(path, step)
                case "rewrite":
                    path.with_suffix(".new").write_bytes(path.read_bytes())
                    path.with_suffix(".new").replace(path)
                case "look":
                    tail.advance(60.0)
                case "copy":
                    copy, before = path.read_bytes(), copy
                    path.write_bytes(before)
                case "gone":
                    path.unlink()
                    tail.advance(60.0)
                    path.write_bytes(b"")
        assert read_all(tail) == read_all(RowTail(path))


def test_the_rows_that_stay_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(row_lines(map(row, range(1, 5001))))
    tail = RowTail(path)
    read_all(tail)
    keep_rows_up_to(path, 4000)
    with path.open("ab") as file:
        file.write(row_lines(row(step, t=T0 + 10_000 + step) for step in range(4001, 6001)))
    taken: list[int] = []
    take = tail.take
    monkeypatch.setattr(tail, "take", lambda lines: (taken.append(lines.count(b"\n")), take(lines))[1])
    rows = read_all(tail)
    assert sum(taken) == 2000
    assert rows == read_all(RowTail(path))
    assert rows["t"][4000] == T0 + 14_001


def test_a_huge_line_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_tail, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(line_tail, "LONGEST_LINE_BYTES", 8000)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(row_lines([row(1)]) + b"x" * 50_000 + b"\n" + row_lines([row(2)]))
    tail = RowTail(path)
    assert read_all(tail)["step"].tolist() == [1, 2]
    assert tail.malformed == 1


# Both files ----------------------------------------------------------------------------


def told(seed: int) -> list[Event]:
    """Some attempts of a run in the order in which they happen, with kills, resumes, rollbacks and evaluations."""
    rng = random.Random(seed)
    events: list[Event] = []
    t, reached, saved = T0, 0, 0
    newest: float | None = None
    for attempt in range(1, rng.randint(2, 4)):
        t += rng.uniform(10, 500)
        events += [
            dataclasses.replace(phase("data", t=t), last_row_t=newest),
            started(saved if attempt > 1 else None, attempt=attempt, t=t + 1),
            phase("train", t=t + 2),
        ]
        t, reached = t + 2, saved
        for _ in range(rng.randint(0, 60)):
            reached, t = reached + 1, round(t + 1, 3)
            newest = t
            events.append(row(reached, t=t))
            if rng.random() < 0.1:
                saved = reached
                events.append(Checkpoint("committed", saved, 10, 0.5, 0.1, t=t + 0.1))
            if rng.random() < 0.1:
                events.append(Evaluated(reached, 3.0, 20.0, 1.0, 10, 1.0, t=t + 0.2))
            if rng.random() < 0.05:
                t += 0.5
                events.append(RolledBack(saved, reached, 0.5, 100, 1, 1, "went back", t=t))
                reached = saved
        if rng.random() < 0.5:
            events.append(ended("stopped", reached, t=t + 0.5, time_budget_seconds={"train": 5.0}))
    return [dataclasses.replace(event, t=round(event.t, 3)) for event in events]


def engine_writes(run: RunDir, event: Event) -> list[Callable[[], None]]:
    """What an engine does to the files for an event, one step after the other."""
    log = run.events
    tell = [lambda: append(log, lines([event]))]
    if isinstance(event, Step):
        return [lambda: append(run.metrics, row_lines([event]))]
    if isinstance(event, RolledBack):
        return [*tell, lambda: RowFiles(run).handle(event)]
    if event.kind == "run_started":
        kept = event.resumed_from or 0  # type: ignore[attr-defined]
        return [lambda: None if not run.metrics.exists() else keep_rows_up_to(run.metrics, kept) and None, *tell]
    return tell


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


@pytest.mark.parametrize("seed", range(40))
def test_followed_at_any_instants_a_run_is_shown_as_opened_afterwards(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    run = RunDir(tmp_path)
    follower = Follower(tmp_path)
    events = told(seed)
    for event in events:
        for do in engine_writes(run, event):
            if rng.random() < 0.15:
                shown(follower)
            do()
    view, fresh = shown(follower), shown(Follower(tmp_path))
    assert view == fresh
    # The same that a log of version 1, which holds rows and events in order, has been shown as.
    old = fold(RunView(), events)
    assert view.rows == old.rows
    for name in ("step", "tokens_seen", "last_t", "phase", "started", "attempts", "ended", "checkpoints", "rollbacks"):
        assert getattr(view, name) == getattr(old, name), name
    assert view.evals["step"].tolist() == old.evals["step"].tolist()
    steps = view.evals["step"]
    np.testing.assert_array_equal(tokens_at(steps, view), tokens_at(steps, old))
    assert sum(view.budget.values()) == pytest.approx(sum(old.budget.values()))


@pytest.mark.parametrize("seed", range(10))
def test_logs_of_version_1_show_the_same_figures(seed: int, tmp_path: Path) -> None:
    events = told(seed)
    run = write(tmp_path, events, version=1)
    # Their row files hold no times.
    (run / "metrics.jsonl").write_bytes(b'{"step":1,"loss":2.0}\n')
    assert shown(Follower(run)) == fold(RunView(), events)


def test_a_run_of_version_1_that_is_resumed_goes_on_in_its_row_file(tmp_path: Path) -> None:
    old = [phase("data"), started(), phase("train"), *map(row, range(1, 31))]
    run = write(tmp_path, old, version=1)
    (run / "metrics.jsonl").write_bytes(b"".join(json_line({"step": step, "loss": 1.0}) for step in range(1, 21)))
    again = [started(20, attempt=2, t=T0 + 100), *(row(step, t=T0 + 100 + step) for step in range(21, 41))]
    write(run, again)
    view = shown(Follower(run))
    whole = fold(RunView(), [*old, *again])
    assert view.rows == whole.rows
    assert (view.step, view.tokens_seen, view.last_t) == (whole.step, whole.tokens_seen, whole.last_t)


def test_a_fork_shows_its_own_rows(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    append(run.metrics, row_lines(map(row, range(1, 21))))
    follower = Follower(tmp_path)
    assert len(shown(follower).rows) == 0, "it has not begun"
    write(tmp_path, [started(20, t=T0 + 500), *(row(step, t=T0 + 500 + step) for step in range(21, 25))])
    assert shown(follower).rows["step"].tolist() == [21, 22, 23, 24]
    update = Follower(tmp_path).look()
    assert update is not None
    assert update.parent_rows["step"].tolist() == list(range(1, 21))
    assert shown(follower) == shown(Follower(tmp_path))


def test_rows_beyond_a_rollback_are_gone_before_the_engine_has_cut_them(tmp_path: Path) -> None:
    back = RolledBack(10, 20, 0.5, 100, 1, 1, "went back", t=T0 + 21)
    run = write(tmp_path, [started(), *map(row, range(1, 21)), back])
    view = shown(Follower(run))
    assert (view.step, view.rows["step"][-1], view.tokens_seen) == (10, 10, 2500)


def test_the_row_file_may_have_another_name(tmp_path: Path) -> None:
    run = write(tmp_path, [started(), row(1)])
    follower = Follower(run)
    assert shown(follower).step == 1
    (run / "rows.jsonl").write_bytes(row_lines([row(1), row(2)]))
    (run / "config_resolved.json").write_text(json.dumps({"logging": {"metrics_file": "rows.jsonl"}}))
    assert shown(follower).step == 2


def test_a_row_file_that_is_none_is_said(tmp_path: Path) -> None:
    run = write(tmp_path, [started()])
    (run / "metrics.jsonl").write_bytes(b"garbage\n")
    update = Follower(run).look()
    assert update is not None
    assert "metrics.jsonl holds no rows" in str(update.problem)
    (run / "metrics.jsonl").unlink()
    os.mkfifo(run / "metrics.jsonl")
    update = Follower(run).look()
    assert update is not None
    assert "no plain file" in str(update.problem)
