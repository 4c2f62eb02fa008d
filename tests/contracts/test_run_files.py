"""What a run leaves on disk and on the terminal, whole runs of an engine."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from chomp.record.event_log import read_events
from chomp.record.events import Checkpoint, Evaluated, Phase, RunEnded, RunStarted, Sampled, Step
from chomp.record.lock import read_holder
from chomp.record.manifest import list_checkpoints, verify
from tests.engine import (
    dummy_config,
    events_of,
    rows,
    saved_arrays,
    saved_position,
    steps_of,
    write_config,
    write_corpus,
)
from tests.engine import run as run_process
from tests.in_process import run

pytestmark = pytest.mark.compile

HOSTILE = "\x1b]0;owned\x07\x1b[31m"
CONTROL = re.compile("[^\n\t\x20-\x7e\xa0-\uffff]|[\u202a-\u202e]")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, below a folder and with text and prompts that try to steer a terminal."""
    folder = tmp_path_factory.mktemp("files")
    corpus = write_corpus(folder / f"corpus{HOSTILE}")
    for number in range(10):
        (corpus / f"hostile-{number}.txt").write_text(f"{HOSTILE} \x9b2J \u202e " * 20)
    config = dummy_config(
        corpus,
        data={"files": [str(corpus) + "/*.txt"]},
        train={
            "eval_every": 8,
            "generate_every": 10,
            "generate_prompts": [HOSTILE, "def"],
            "generate_max_tokens": 24,
            "log_every": 4,
        },
    )
    path = write_config(folder / "config.yaml", config)
    before = os.umask(0o002)
    try:
        ran = run("train", path, "--run-dir", folder / "run")
    finally:
        os.umask(before)
    assert ran.returncode == 0, ran.stderr
    (folder / "out").write_text(ran.stdout)
    (folder / "err").write_text(ran.stderr)
    return folder


def test_no_control_character_reaches_a_pipe(done: Path) -> None:
    for name in ("out", "err"):
        assert CONTROL.findall((done / name).read_text()) == []
    out = (done / "out").read_text()
    assert "── sample at step 10 ──" in out
    assert "�]0;owned" in out, "shown as what it is"


def test_errors_name_hostile_paths_harmlessly(done: Path, tmp_path: Path) -> None:
    hostile = tmp_path / f"nothing{HOSTILE}"
    for args in (("train", hostile), ("runs", hostile), ("ctl", hostile, "stop"), ("checkpoints", hostile)):
        ran = run(*args)
        assert CONTROL.findall(ran.stdout + ran.stderr) == [], args


def test_files_of_a_run(done: Path) -> None:
    run_dir = done / "run"
    assert sorted(path.name for path in run_dir.iterdir()) == [
        "checkpoints",
        "config_original.yaml",
        "config_resolved.json",
        "events.jsonl",
        "lock",
        "metrics.jsonl",
        "samples.jsonl",
        "tokenizer",
        "train.log",
    ]
    assert (run_dir / "config_original.yaml").read_bytes() == (done / "config.yaml").read_bytes()
    resolved = json.loads((run_dir / "config_resolved.json").read_text())
    assert resolved["derived"]["optim"]["decay_steps_effective"] == 18
    assert resolved["train"]["steps"] == 20
    assert resolved["model"]["vocab_size"] >= 256, "the tokenizer's size is filled in"
    assert read_holder(run_dir / "lock") is None


def test_files_have_the_permissions_that_the_umask_leaves(done: Path) -> None:
    run_dir = done / "run"
    modes = {path: path.stat().st_mode & 0o777 for path in [run_dir, *run_dir.rglob("*")]}
    assert {path: oct(mode) for path, mode in modes.items() if mode != (0o775 if path.is_dir() else 0o664)} == {}


def test_a_run_directory_whose_name_is_not_utf_8(done: Path) -> None:
    run_dir = done / os.fsdecode(b"r\xe9")
    steps = "train.steps=5", "train.steps=6"
    for number, resume in enumerate(((), ("--resume", "latest"))):
        ran = run("train", done / "config.yaml", "--run-dir", run_dir, *resume, "-o", steps[number])
        assert ran.returncode == 0, ran.stderr
    assert [info.step for info in list_checkpoints(run_dir / "checkpoints")] == [5, 6]
    assert run("checkpoints", run_dir, "--verify").returncode == 0


def test_the_order_of_events(done: Path) -> None:
    events = read_events(done / "run" / "events.jsonl")
    phases = [event.name for event in events if isinstance(event, Phase)]
    assert phases[:3] == ["data", "compile", "train"]
    assert isinstance(events[-1], RunEnded)
    assert (events[-1].status, events[-1].exit_code, events[-1].step) == ("completed", 0, 20)
    assert [event.t for event in events] == sorted(event.t for event in events)
    started = [event for event in events if isinstance(event, RunStarted)]
    assert [(event.attempt, event.resumed_from, event.total_steps) for event in started] == [(1, None, 20)]
    told = [*events, *steps_of(done / "run")]
    # Within the same millisecond a row comes after its evaluation and before its samples.
    told.sort(key=lambda event: (event.t, not isinstance(event, Evaluated), not isinstance(event, Step)))
    order = [
        type(event) for event in told if isinstance(event, (Evaluated, Sampled, Step)) and not is_before(event, 16)
    ]
    assert order == [Evaluated, Step, Evaluated, Step, Sampled, Sampled], "evaluated, row, samples"
    committed = [event.step for event in events if isinstance(event, Checkpoint) and event.state == "committed"]
    assert committed == [5, 10, 15, 20]


def is_before(event: Any, step: int) -> bool:
    number: int = event.row["step"] if isinstance(event, Step) else event.step
    return number < step


def test_rows_are_flat_and_in_one_file(done: Path) -> None:
    found = rows(done / "run")
    assert [row["step"] for row in found] == [1, 4, 8, 12, 16, 20]
    assert [row["step"] for row in found if "eval_loss" in row] == [8, 16, 20]
    required = {
        "step",
        "loss",
        "grad_norm",
        "lr",
        "tokens_seen",
        "tokens_per_sec",
        "step_time_s",
        "packing_mode",
        "packing_utilization",
        "host_memory_gb",
        "t",
    }
    assert all(required <= row.keys() for row in found)
    assert not any("mfu" in row for row in found), "the peak of a CPU is not known"
    assert ["first_step_compile_time_s" in row for row in found] == [True] + [False] * 5
    assert all(isinstance(value, (int, float, str)) for row in found for value in row.values())
    assert [row["t"] for row in found] == sorted(row["t"] for row in found)
    assert not events_of(done / "run", Step)
    samples = [json.loads(line) for line in (done / "run" / "samples.jsonl").read_text().splitlines()]
    assert [sample["step"] for sample in samples] == [10, 10, 20, 20]
    assert samples[0]["prompt"] == HOSTILE


def test_the_time_budget_survives_a_resume_and_counts_what_was_lost(done: Path, tmp_path: Path) -> None:
    run_dir = Path(shutil.copytree(done / "run", tmp_path / "run"))
    ran = run("train", "--run-dir", run_dir, "--resume", "10", "-o", "logging.level=WARNING")
    assert ran.returncode == 0, ran.stderr
    first, second = (event.time_budget_seconds for event in events_of(run_dir, RunEnded))
    at_ten = list_checkpoints(done / "run" / "checkpoints")[0].meta["time_budget_seconds"]
    assert first["lost"] == 0
    assert second["lost"] > 0
    assert second["compile"] > at_ten["compile"] > 0
    assert set(first) == set(second)
    assert all(value >= 0 for value in second.values())


@pytest.mark.process
def test_a_terminal_that_knows_no_unicode(done: Path, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = run_process("train", done / "config.yaml", "--run-dir", tmp_path / "run", "-o", "train.steps=3", env=env)
    assert ran.returncode == 0, ran.stderr
    assert "switched off" not in ran.stdout
    assert "completed at step 3" in ran.stdout


@pytest.mark.process
def test_a_reader_that_leaves_does_not_stop_the_run(done: Path, tmp_path: Path) -> None:
    """`chomp train … | head -1`."""
    import subprocess

    from tests.engine import command

    args = command("train", done / "config.yaml", "--run-dir", tmp_path / "run")
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as engine:
        assert engine.stdout is not None
        assert engine.stdout.readline()
        engine.stdout.close()
        assert engine.wait(120) == 0
    assert rows(tmp_path / "run")[-1]["step"] == 20
    messages = [event for event in read_events(tmp_path / "run" / "events.jsonl") if event.kind == "warning"]
    assert ["console failed and is switched off" in event.message for event in messages] == [True]  # type: ignore[attr-defined]


def test_an_error_in_the_data_leaves_a_state_that_belongs_together(tmp_path: Path) -> None:
    """The step before the bad batch is still on the device when the text fails; it is saved under its own number."""
    (tmp_path / "stream").mkdir()
    texts = [{"text": f"document {number} with some words in it"} for number in range(1100)]
    lines = [json.dumps(record) for record in [*texts, {"text": 5}]]
    (tmp_path / "stream" / "train.jsonl").write_text("\n".join(lines) + "\n")
    stream = {
        "backend": "hf",
        "files": [],
        "hf_dataset": str(tmp_path / "stream"),
        "hf_streaming": True,
        "text_key": "text",
    }
    config = dummy_config(
        tmp_path,
        data={**stream, "max_eval_samples": 1, "prefetch": 0, "shuffle": False},
        checkpoint={"save_every": 0},
    )
    ran = run(
        "train", write_config(tmp_path / "config.yaml", config), "--run-dir", tmp_path / "run", "-o", "train.steps=2000"
    )
    assert ran.returncode == 3, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stderr.startswith("error: at step ")
    ended = events_of(tmp_path / "run", RunEnded)[-1]
    assert (ended.status, ended.exit_code) == ("crashed", 3)
    (info,) = list_checkpoints(tmp_path / "run" / "checkpoints")
    assert verify(info.path) == []
    step = int(saved_arrays(tmp_path / "run", info.step)["state/step"])
    assert info.step == step == ended.step == rows(tmp_path / "run")[-1]["step"] > 2
    assert info.meta["tokens_seen"] == rows(tmp_path / "run")[-1]["tokens_seen"]
    assert saved_position(tmp_path / "run", info.step)
