"""What may change between two attempts, who may write a run, and what a resume leaves of the files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from chomp.record.events import RunEnded, RunStarted, Step, Warned
from chomp.record.manifest import list_checkpoints
from tests.engine import (
    Engine,
    assert_same_run,
    command,
    dummy_config,
    events_of,
    exact_rows,
    rows,
    saved_arrays,
    write_config,
    write_corpus,
)
from tests.engine import run as run_process
from tests.in_process import run
from tests.references import References

pytestmark = pytest.mark.compile


@pytest.fixture
def base(references: References) -> Path:
    """A folder with `config.yaml`, and its `run` that was never stopped."""
    return references.run(run, references.config).parent


@pytest.fixture
def half(references: References, tmp_path: Path) -> Path:
    """A run stopped after 10 of the 20 steps."""
    return references.copy(
        tmp_path / "run", run, references.config, "-o", "train.steps=10", "-o", "optim.decay_steps=18"
    )


SAME = ("-o", "train.steps=20", "-o", "optim.decay_steps=18")


def resume(run_dir: Path, *args: object) -> subprocess.CompletedProcess[str]:
    return run("train", "--run-dir", run_dir, "--resume", "latest", *args)


def warnings(run_dir: Path) -> list[str]:
    return [event.message for event in events_of(run_dir, Warned)]


def test_every_difference_in_one_table(half: Path) -> None:
    changes = ("model.model_dim=24", "optim.lr=0.01", "train.batch_size=4", "data.packing_mode=sequential")
    done = resume(half, *(word for change in changes for word in ("-o", change)))
    assert done.returncode == 5
    first, header, *table = done.stderr.splitlines()
    assert first == (
        "error: the checkpoint was made with other settings; start a new run for the settings that cannot change:"
    )
    assert header.split() == ["setting", "checkpoint", "now", "verdict"]
    found = {line.split()[0]: line for line in table}
    assert {name for name, line in found.items() if "cannot change" in line} == {"model.model_dim", "data.packing_mode"}
    assert {name for name, line in found.items() if f"needs --accept {name}" in line} == {
        "optim.lr",
        "train.batch_size",
    }
    assert "16" in found["model.model_dim"]
    assert "24" in found["model.model_dim"]
    assert list_checkpoints(half / "checkpoints")[-1].step == 10
    ended = events_of(half, RunEnded)[-1]
    assert ended.exit_code == 5
    assert run("runs", half.parent).stdout.startswith("run  completed  step 10/10"), "a refused resume changes no run"


def test_a_judged_setting_is_taken_when_it_is_named_and_recorded(half: Path) -> None:
    changes = ("-o", "train.steps=15", "-o", "optim.lr=0.01", "-o", "optim.grad_clip_norm=0.5")
    one = resume(half, *changes, "--accept", "optim.lr")
    assert one.returncode == 5
    assert "optim.grad_clip_norm" in one.stderr
    assert "optim.lr " not in one.stderr, "an accepted difference blocks nothing"
    both = resume(half, *changes, "--accept", "optim")
    assert both.returncode == 0, both.stderr
    assert "accepted: optim.lr was 0.003, is now 0.01" in warnings(half)
    started = events_of(half, RunStarted)[-1]
    assert started.accepted == ["optim"]
    meta = list_checkpoints(half / "checkpoints")[-1].meta
    assert (meta["step"], meta["accepted"], meta["identity"]["optim"]["lr"]) == (15, ["optim"], 0.01)


def test_a_fixed_setting_is_refused_even_when_it_is_accepted(half: Path) -> None:
    done = resume(half, "-o", "model.model_dim=24", "--accept", "model.model_dim")
    assert done.returncode == 5
    assert "cannot change" in done.stderr


def test_extending_a_finished_run_twice_keeps_its_schedule(base: Path, tmp_path: Path) -> None:
    run_dir = Path(shutil.copytree(base / "run", tmp_path / "run"))
    for steps in (25, 30):
        done = resume(run_dir, "-o", f"train.steps={steps}")
        assert done.returncode == 0, done.stderr
        assert f"completed at step {steps}: all {steps} steps done" in done.stdout
        assert any("the learning rate keeps its schedule, which ends at step 20" in line for line in warnings(run_dir))
    found = rows(run_dir)
    assert [row["step"] for row in found] == list(range(1, 31))
    assert exact_rows(run_dir)[:20] == exact_rows(base / "run")
    assert {row["lr"] for row in found[20:]} == {found[20]["lr"]}, "the rate stays at its last value"
    assert int(saved_arrays(run_dir, 30)["state/updates"]) == 30


def test_a_run_made_shorter(half: Path) -> None:
    done = resume(half, "-o", "train.steps=8")
    assert done.returncode == 5
    assert done.stderr == (
        "error: train.steps is 8, but the checkpoint is of step 10; raise train.steps, or continue from an earlier one "
        "with --resume STEP\n"
    )
    earlier = run("train", "--run-dir", half, "--resume", 5, "-o", "train.steps=8")
    assert earlier.returncode == 0, earlier.stderr
    assert [row["step"] for row in rows(half)] == list(range(1, 9))


def test_a_finished_run_resumed_is_finished(half: Path) -> None:
    before = (half / "metrics.jsonl").read_bytes()
    done = resume(half)
    assert done.returncode == 0
    assert "completed at step 10: all 10 steps done" in done.stdout
    assert (half / "metrics.jsonl").read_bytes() == before


@pytest.mark.process
def test_latest_before_the_first_checkpoint_starts_again_in_the_same_directory(base: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    config = yaml.safe_load((base / "config.yaml").read_text())
    config["train"]["steps"] = 100_000
    config["checkpoint"]["save_every"] = 0
    engine = Engine(run_dir, "train", write_config(tmp_path / "long.yaml", config), "--run-dir", run_dir)
    assert engine.wait_for(lambda event: isinstance(event, Step) and event.row["step"] >= 7) is not None
    engine.signal(signal.SIGKILL)
    engine.finish()
    newest = rows(run_dir)[-1]["t"]
    done = run("train", base / "config.yaml", "--run-dir", run_dir, "--resume", "latest")
    assert done.returncode == 0, done.stderr
    assert warnings(run_dir) == [f"{run_dir} has no checkpoint yet: starting again at step 0 in the same directory"]
    assert_same_run(base / "run", run_dir, 20)
    first, started = events_of(run_dir, RunStarted)
    assert isinstance(started, RunStarted)
    assert (started.attempt, started.resumed_from) == (2, None)
    budget = events_of(run_dir, RunEnded)[-1]
    assert budget.time_budget_seconds["lost"] == pytest.approx(newest - first.t, abs=0.1), "up to the newest row"


def test_an_occupied_directory_is_never_overwritten(base: Path, half: Path) -> None:
    before = {path: path.read_bytes() for path in half.rglob("*") if path.is_file()}
    done = run("train", base / "config.yaml", "--run-dir", half)
    assert done.returncode == 5
    assert done.stderr == (
        f"error: {half} already holds a run (checkpoints up to step 10); continue it with --resume latest, "
        "or choose another --run-dir: it is never overwritten\n"
    )
    assert {path: path.read_bytes() for path in half.rglob("*") if path.is_file()} == before


def test_a_mistake_before_the_run_begins_leaves_room_for_the_next_try(base: Path, tmp_path: Path) -> None:
    """Text that is not there, then a vocabulary that cannot be: the corrected command trips over neither."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "thesis.txt").write_text("years of work")
    missing = run("train", base / "config.yaml", "--run-dir", run_dir, "-o", f"data.files=[{tmp_path}/nothing/*.txt]")
    assert missing.returncode == 3, missing.stderr
    assert [path.name for path in run_dir.iterdir()] == ["thesis.txt"]
    clash = run("train", base / "config.yaml", "--run-dir", run_dir, "-o", "model.vocab_size=17")
    assert clash.returncode == 2, clash.stderr
    assert "17" in clash.stderr
    assert (run_dir / "thesis.txt").read_text() == "years of work", "what is not ours stays"
    done = run("train", base / "config.yaml", "--run-dir", run_dir, "-o", "train.steps=3")
    assert done.returncode == 0, done.stderr
    gone = tmp_path / "other"
    assert run("train", base / "config.yaml", "--run-dir", gone, "-o", "model.vocab_size=17").returncode == 2
    assert not gone.exists()


def test_resume_where_no_run_is(base: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run("train", base / "config.yaml", "--run-dir", tmp_path / "empty", "--resume", "latest")
    assert done.returncode == 5
    assert (
        done.stderr
        == f"error: --resume latest: {tmp_path / 'empty'} holds no run; leave --resume out to start one there\n"
    )
    nowhere = run("train", base / "config.yaml", "--resume", "latest")
    assert nowhere.returncode == 5
    assert nowhere.stderr == (
        "error: --resume latest needs the run to resume: pass --run-dir RUN (`chomp runs` lists them)\n"
    )
    bare = run("train", "--resume", "latest")
    assert bare.returncode == 2
    assert bare.stderr.startswith("error: no configuration given")
    wrong = run("train", base / "config.yaml", "--run-dir", tmp_path / "x", "--resume", "newest")
    assert (wrong.returncode, wrong.stderr) == (2, "error: --resume newest: expected none, latest or a step number\n")


def test_a_step_that_was_never_saved(half: Path) -> None:
    done = run("train", "--run-dir", half, "--resume", 7)
    assert done.returncode == 5
    assert done.stderr == "error: --resume 7: there is no checkpoint of that step (there is: 5, 10)\n"


@pytest.mark.process
def test_a_live_engine_is_named(base: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    engine = Engine(run_dir, "train", base / "config.yaml", "--run-dir", run_dir, "-o", "train.steps=1000000")
    assert engine.wait_for(lambda event: isinstance(event, Step)) is not None, engine.text()
    try:
        second = resume(run_dir)
        assert second.returncode == 5
        assert second.stderr == (
            f"error: {run_dir} is in use by pid {engine.process.pid} on {socket.gethostname()}; wait for it, "
            f"stop it with `chomp ctl {run_dir} stop`, or choose another --run-dir\n"
        )
        assert engine.process.poll() is None
    finally:
        engine.signal(signal.SIGKILL)
        engine.finish()
    assert json.loads((run_dir / "lock").read_text())["pid"] == engine.process.pid, "a lock text without a holder"
    after = resume(run_dir, "-o", f"train.steps={rows(run_dir)[-1]['step'] + 1}")
    assert after.returncode == 0, after.stderr


@pytest.mark.parametrize(
    "text",
    [
        '{"pid": 1, "host": "another-machine", "started": 1.0}',
        f'{{"pid": {os.getpid()}, "host": "{socket.gethostname()}", "started": 1.0}}',
        '{"pid": 1e999}',
        "\x00\x00",
    ],
    ids=["other host", "reused pid", "nonsense", "zeros"],
)
def test_a_stale_lock_text_stops_no_engine(text: str, half: Path) -> None:
    (half / "lock").write_text(text)
    done = resume(half)
    assert done.returncode == 0, done.stderr
    assert (half / "lock").read_text() == ""


def test_without_a_config_the_run_s_own_is_taken_from_any_folder(base: Path, half: Path, tmp_path: Path) -> None:
    original = (half / "config_original.yaml").read_bytes()
    assert original == (base / "config.yaml").read_bytes()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = run("train", "--run-dir", half, "--resume", "latest", *SAME, cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert (half / "config_original.yaml").read_bytes() == original, "the user's file, byte for byte"
    assert [row["step"] for row in rows(half)] == list(range(1, 21))
    whole, found = saved_arrays(base / "run", 20), saved_arrays(half, 20)
    assert {name for name in whole if whole[name].tobytes() != found[name].tobytes()} == set()
    assert list(elsewhere.iterdir()) == []


def test_a_relative_run_directory(base: Path, tmp_path: Path) -> None:
    done = run("train", base / "config.yaml", "--run-dir", "here/run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_run(base / "run", tmp_path / "here" / "run", 20)
    again = run("train", "--run-dir", "here/run", "--resume", "5", cwd=tmp_path)
    assert again.returncode == 5, "step 5 is no longer kept"
    assert "(there is: 10, 15, 20)" in again.stderr
    default = run("train", base / "config.yaml", "-o", "train.steps=3", cwd=tmp_path)
    assert default.returncode == 0, default.stderr
    (made,) = (tmp_path / "runs").iterdir()
    assert [info.step for info in list_checkpoints(made / "checkpoints")] == [3]


def test_changed_text_is_judged(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    path = write_config(tmp_path / "config.yaml", dummy_config(corpus, train={"steps": 5}, optim={"decay_steps": 8}))
    run_dir = tmp_path / "run"
    assert run("train", path, "--run-dir", run_dir).returncode == 0
    (corpus / "010.txt").write_text("something else entirely, and longer than it was before\n")
    again = ("train", path, "--run-dir", run_dir, "--resume", "latest", "-o", "train.steps=10")
    done = run(*again)
    assert done.returncode == 5
    assert "data_fingerprint" in done.stderr
    assert "the text is not the text the checkpoint was trained on" in done.stderr
    taken = run(*again, "--accept", "data_fingerprint")
    assert taken.returncode == 0, taken.stderr
    moved = corpus.rename(tmp_path / "moved")
    config = yaml.safe_load(path.read_text())
    config["data"]["files"] = [str(moved / "*.txt")]
    config["train"]["steps"] = 12
    other = run("train", write_config(path, config), "--run-dir", run_dir, "--resume", "latest")
    assert other.returncode == 0, "a folder that was moved is no difference: " + other.stderr


def test_a_changed_tokenizer_is_named(half: Path) -> None:
    done = resume(half, *SAME, "-o", "data.tokenizer.add_bos=true")
    assert done.returncode == 5
    assert "data.tokenizer.add_bos" in done.stderr
    assert "tokenizer_digest" in done.stderr


def append(path: Path, *records: dict[str, Any], torn: bytes = b"") -> None:
    with path.open("ab") as file:
        for record in records:
            file.write(json.dumps(record).encode() + b"\n")
        file.write(torn)


def test_rows_beyond_the_restored_step_and_torn_lines_go(half: Path, base: Path) -> None:
    """What a killed engine wrote after its last checkpoint, and half a line of it."""
    append(half / "metrics.jsonl", {"step": 11, "loss": 1.0}, {"step": 12, "loss": 2.0}, torn=b'{"step": 13, "lo')
    append(half / "samples.jsonl", {"step": 11, "prompt": "", "text": "x"}, torn=b'{"step"')
    append(half / "events.jsonl", torn=b'{"v":1,"t":17')
    done = resume(half, *SAME)
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in rows(half)] == list(range(1, 21))
    samples = [json.loads(line)["step"] for line in (half / "samples.jsonl").read_text().splitlines()]
    assert samples == [5, 10, 15, 20]
    whole = [line for line in (half / "events.jsonl").read_bytes().splitlines() if line.endswith(b"}")]
    assert len(whole) == (half / "events.jsonl").read_bytes().count(b"\n") - 1, (
        "one torn line, ended, and no other spoilt"
    )


@pytest.mark.process
def test_two_engines_started_at_the_same_instant(references: References, tmp_path: Path) -> None:
    """One trains; the other says why it does not, and the directory holds one run."""
    alone = references.run(run_process, references.config)
    args = command("train", alone.parent / "config.yaml", "--run-dir", tmp_path / "run", module="tests.compiling")
    both = [subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 5]
    loser = said[0] if both[0].returncode == 5 else said[1]
    assert "is in use by" in loser or "already holds a run" in loser
    assert_same_run(alone, tmp_path / "run", 20)
