"""`chomp runs` and `chomp checkpoints` on whatever folder they are pointed at."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chomp.cli import checkpoints, runs
from chomp.record.events import Evaluated, Event, Phase, Step
from chomp.record.formatting import short_name
from chomp.record.lock import RunLock
from chomp.record.manifest import seal, set_tags
from chomp.record.rundir import RunDir
from chomp.record.status import GONE
from tests.engine import command
from tests.fakeruns import append, ended, started
from tests.in_process import run as run_here


def invoke(cli: Any, *args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def make_run(path: Path, *events: Event) -> Path:
    path.mkdir(parents=True)
    append(RunDir(path), *events, t=time.time())
    return path


def states(folder: Path) -> dict[str, dict[str, Any]]:
    result = invoke(runs.command, folder, "--json")
    assert result.exit_code == 0, result.output
    return {row["name"]: row for row in json.loads(result.output)}


def test_nothing_there(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        result = invoke(runs.command, folder)
        assert (result.exit_code, result.output) == (
            0,
            f"no runs in {folder}; start one with: chomp train configs/quickstart.yaml\n",
        )
        assert json.loads(invoke(runs.command, folder, "--json").output) == []


def test_the_state_of_every_kind_of_run(tmp_path: Path) -> None:
    step = Step(row={"step": 5, "loss": 2.5})
    make_run(tmp_path / "done", started(), step, ended("completed", 5))
    make_run(tmp_path / "killed", started(), step)
    make_run(tmp_path / "broken", started(), step, ended("crashed", 5, "No space left on device"))
    make_run(
        tmp_path / "refused",
        started(),
        step,
        ended("completed", 5),
        Phase(name="data", step=0),
        ended("crashed", 5, "other settings"),
    )
    make_run(tmp_path / "never", Phase(name="data", step=0), ended("crashed", 0, "no such file"))
    make_run(tmp_path / "empty")
    away = make_run(tmp_path / "away", started(), step)
    (away / "lock").write_text(json.dumps({"pid": 7, "host": "elsewhere", "started": 1.0}))
    live = make_run(tmp_path / "live", started(), step)
    lock = RunLock(live / "lock")
    lock.acquire()
    found = states(tmp_path)
    lock.release()
    assert {name: row["state"] for name, row in found.items()} == {
        "done": "completed",
        "killed": "crashed",
        "broken": "crashed",
        "refused": "completed",
        "never": "crashed",
        "empty": "new",
        "away": "running",
        "live": "running",
    }
    assert found["live"]["pid"] == os.getpid()
    assert found["away"]["reason"] == "on elsewhere; this machine cannot tell whether it still runs"
    assert found["killed"]["reason"] == GONE
    assert (found["done"]["step"], found["done"]["total_steps"], found["done"]["loss"]) == (5, 1000, 2.5)
    text = invoke(runs.command, tmp_path).output
    assert "broken   crashed      step 5/1000  loss 2.5000" in text
    assert "No space left on device" in text


DAMAGED = {
    "torn": b'{"v":1,"t":1,"kind":"run_started","pid',
    "binary": bytes(range(256)) * 4,
    "wrong types": b'{"v":1,"t":"x","kind":"step","step":"five","loss":[]}\n'
    b'{"v":1,"t":1,"kind":"eval","step":null,"loss":1,"perplexity":1,"bpb":1,"tokens":1,"seconds":1}\n'
    b'{"v":1,"t":2,"kind":"step","step":3,"loss":null}\n',
    "deep": b"[" * 100_000 + b"\n",
    "foreign": b'{"kind":"invoice","total":5}\nhello\n\n',
}


@pytest.mark.parametrize("name", DAMAGED)
def test_half_written_and_foreign_event_logs(name: str, tmp_path: Path) -> None:
    make_run(tmp_path / "bad")
    (tmp_path / "bad" / "events.jsonl").write_bytes(DAMAGED[name])
    make_run(tmp_path / "good", started(), ended("completed", 5))
    (tmp_path / "bad" / "config_resolved.json").write_text("{ not json")
    (tmp_path / "bad" / "lock").write_bytes(b"\xff\xff")
    found = states(tmp_path)
    assert set(found) == {"bad", "good"}
    assert invoke(runs.command, tmp_path).exit_code == 0


def test_hostile_names_are_shown_harmlessly(tmp_path: Path) -> None:
    make_run(tmp_path / "x\x1b[31m\x07y", started(), ended("crashed", 5, "\x1b[2J"))
    result = invoke(runs.command, tmp_path)
    assert "\x1b" not in result.output
    assert "x�[31m�y" in result.output


def test_a_huge_folder(tmp_path: Path) -> None:
    """300 runs and 3,000 other things; one run has 200,000 rows."""
    for number in range(300):
        make_run(tmp_path / f"run-{number:03}", started(), ended("completed", 5))
    for number in range(3000):
        (tmp_path / f"other-{number}").mkdir()
    row = b'{"v":1,"t":1700000000.0,"kind":"step","step":%d,"loss":2.5}\n'
    with (tmp_path / "run-000" / "events.jsonl").open("ab") as file:
        file.write(b"".join(row % number for number in range(200_000)))
    began = time.monotonic()
    assert len(states(tmp_path)) == 300
    assert time.monotonic() - began < 60


def make_checkpoint(run: Path, step: int, **meta: Any) -> Path:
    folder = run / "checkpoints" / str(step)
    (folder / "params").mkdir(parents=True)
    (folder / "params" / "data").write_bytes(b"x" * 2000)
    seal(folder, {"step": step, **meta})
    return folder


def test_checkpoints_are_listed_and_verified(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", started())
    assert invoke(checkpoints.command, run).output == f"{run} has no checkpoints yet\n"
    make_checkpoint(run, 5, saved_at=time.time() - 65, train_loss=2.5, eval_loss=2.25)
    set_tags(make_checkpoint(run, 10), ["best"])
    lines = invoke(checkpoints.command, run).output.splitlines()
    assert lines[0].split() == ["step", "5", "2.0", "KiB", "1m05s", "old", "loss", "2.5000", "eval", "2.2500"]
    assert lines[1].endswith("[best]")
    checked = json.loads(invoke(checkpoints.command, run, "--verify", "--json").output)
    assert [(row["step"], row["verified"], row["problems"]) for row in checked] == [(5, True, []), (10, True, [])]
    (run / "checkpoints" / "5" / "params" / "data").write_bytes(b"y" * 2000)
    done = run_here("checkpoints", run, "--verify")
    assert done.returncode == 5
    assert "DAMAGED: params/data has changed: its SHA-256 does not match" in done.stdout
    assert done.stderr == "error: damaged: step 5; --resume latest skips them\n"
    assert run_here("checkpoints", run).returncode == 0, "only looked at"


@pytest.mark.parametrize("text", ["{", "[]", '{"step": 5}', '{"saved_at": "yesterday", "train_loss": "low"}'])
def test_a_damaged_description_is_listed_as_such(text: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", started())
    folder = make_checkpoint(run, 5)
    (folder / "meta.json").write_text(text)
    result = run_here("checkpoints", run, "--verify")
    assert result.returncode == 5, result.stderr
    assert "DAMAGED: meta.json has " in result.stdout
    assert "Traceback" not in result.stderr


def test_checkpoints_of_what_is_no_run(tmp_path: Path) -> None:
    done = run_here("checkpoints", tmp_path)
    assert (done.returncode, done.stderr) == (
        5,
        f"error: {tmp_path} holds no run: it has neither events.jsonl nor checkpoints/\n",
    )


def test_a_reader_that_leaves_early_gets_no_traceback(tmp_path: Path) -> None:
    for number in range(200):
        make_run(tmp_path / f"{'long-name-' * 20}{number}", started())
    args = command("runs", tmp_path)
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.read(10)
        listing.stdout.close()
        assert "Traceback" not in listing.stderr.read()


def test_a_file_that_may_not_be_read_is_one_sentence(tmp_path: Path) -> None:
    """Something in the file system fails under a command: named, without a traceback."""
    run = make_run(tmp_path / "run", started())
    (run / "events.jsonl").unlink()
    (run / "events.jsonl").mkdir()
    done = run_here("runs", tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"error: {run / 'events.jsonl'}: Is a directory\n"
    assert socket.gethostname() not in done.stdout
    assert "no runs" not in done.stdout
    make_run(tmp_path / "another", started())
    done = run_here("runs", tmp_path)
    assert (done.returncode, "another" in done.stdout) == (1, True)


def test_runs_chosen_ordered_and_as_a_table(tmp_path: Path) -> None:
    for name, loss, lr in (("a", 2.5, 1e-3), ("b", 1.5, 1e-2), ("c", None, 1e-4)):
        events: list[Event] = [started(), Step(row={"step": 5, "loss": 2.5, "mine": 7})]
        if loss is not None:
            events.append(Evaluated(step=5, loss=loss, perplexity=1.0, bpb=0.5, tokens=1, seconds=1.0))
        path = make_run(tmp_path / name, *events, ended("completed", 5))
        (path / "config_resolved.json").write_text(json.dumps({"optim": {"lr": lr}}))
        (path / "notes.yaml").write_text(f"name: run {name}\ntags: [base]\n" if name != "c" else "")
    table = invoke(runs.command, tmp_path, "--sort", "eval", "--columns", "name,optim.lr,eval,tag,mine,label")
    assert table.output.splitlines() == [
        "name  optim.lr  eval    tag   mine  label",
        "b     0.01      1.5000  base  7     run b",
        "a     0.001     2.5000  base  7     run a",
        "c     0.0001    -       -     7     -",
    ]
    found = json.loads(
        invoke(
            runs.command,
            tmp_path,
            "--where",
            "tag=base optim.lr<1",
            "--where",
            "eval > 2",
            "--json",
            "--columns",
            "mine",
        ).output
    )
    assert [(row["name"], row["best_eval_loss"], row["columns"]) for row in found] == [("a", 2.5, {"mine": 7})]
    assert "best eval 1.5000 (0.500 bits/byte) at step 5" in invoke(runs.command, tmp_path).output
    none = invoke(runs.command, tmp_path, "--where", "state=crashed")
    assert none.output == f"none of 3 runs in {tmp_path} is chosen by state=crashed\n"
    for args, says in (
        (["--sort", "evl"], "no run has 'evl'; did you mean eval?"),
        (["--columns", "name,nope_nope"], "no run has 'nope_nope'"),
        (["--where", "optim.lr>x"], "> compares with a number"),
    ):
        assert says in str(invoke(runs.command, tmp_path, *args).exception)


def test_odd_names_break_no_line_and_widen_no_other(tmp_path: Path) -> None:
    long = "a" * 100 + "-rate-" + "b" * 94
    make_run(tmp_path / "plain", started(), ended("completed", 5))
    make_run(tmp_path / long, started(), ended("completed", 5))
    make_run(tmp_path / "two\nlines\x1b[31m", started(), ended("completed", 5))
    lines = invoke(runs.command, tmp_path).output.splitlines()
    assert len(lines) == 3
    assert any(line.startswith("two lines�[31m ") for line in lines)
    short = short_name(long)
    assert (short[:3], short[-3:], len(short)) == ("aaa", "bbb", 40)
    # States begin in one column, behind the longest name.
    assert [line.index("completed") for line in lines] == [42, 42, 42]
    assert any(line.startswith(f"{short}  completed") for line in lines)
    table = invoke(runs.command, tmp_path, "--columns", "name,step").output.splitlines()
    assert len(table) == 4
    assert {len(line) for line in table} <= {46, 43}


def test_many_tags_move_their_own_line_only(tmp_path: Path) -> None:
    make_run(tmp_path / "a", started())
    tagged = make_run(tmp_path / "b", started())
    (tagged / "notes.yaml").write_text(f"tags: [{', '.join('t' * 30 + str(number) for number in range(4))}]\n")
    plain = next(line for line in invoke(runs.command, tmp_path).output.splitlines() if line.startswith("a "))
    assert plain[:62].strip() == "a"
    assert plain[62] != " "


def test_notes_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = make_run(tmp_path / "a", started())
    path_of_notes = path / "notes.yaml"
    path_of_notes.write_text("name: x\nnote: keep this: it is mine\n")
    says = 'cannot be read: line 2 needs quotes around the text; write note: "keep this: it is mine"'
    assert f"  notes.yaml {says}" in invoke(runs.command, tmp_path).output
    assert f"{path_of_notes} {says}" in invoke(runs.command, tmp_path, "--columns", "name").stderr
    (row,) = json.loads(invoke(runs.command, tmp_path, "--json").output)
    assert row["notes_problem"] in says
