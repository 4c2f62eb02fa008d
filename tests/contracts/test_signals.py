"""SIGTERM and Ctrl+C in every phase: what was learnt is saved, and the resumed run is as if never stopped."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from chomp.record.commands import Command, send_command
from chomp.record.events import Checkpoint, Compiled, RunEnded, RunStarted, Warned
from chomp.record.manifest import list_checkpoints, verify
from tests.engine import (
    Engine,
    Instant,
    assert_same_run,
    at_phase,
    at_step,
    command,
    dummy_config,
    events_of,
    rows,
    run,
    wait_until,
    while_saving,
    write_config,
    write_corpus,
)
from tests.references import References

pytestmark = pytest.mark.process

STEPS = 60
SIGNALS = {signal.SIGTERM: 143, signal.SIGINT: 130}


# In the order in which one run meets them.
INSTANTS: dict[str, Instant] = {
    "data": at_phase("data"),
    "compile": at_phase("compile"),
    "training": at_step(7),
    "evaluation": at_phase("eval", 20),
    "sampling": at_phase("sample", 20),
    "saving": while_saving(30),
    "paused": at_phase("paused"),
}


@pytest.fixture
def reference(references: References) -> Path:
    """A run with every kind of work between its steps, which nothing interrupted."""
    config = dummy_config(
        references.corpus,
        model={"model_dim": 96},
        data={"max_eval_samples": 150},
        train={
            "steps": STEPS,
            "batch_size": 8,
            "seq_len": 256,
            "grad_accum": 2,
            "eval_every": 20,
            "generate_every": 20,
            "generate_max_tokens": 64,
            "generate_prompts": ["def ", "class "],
        },
        checkpoint={"save_every": 10, "max_to_keep": 3},
    )
    return references.run(run, config)


@pytest.fixture
def config(reference: Path) -> Path:
    """The configuration of that run."""
    return reference.parent / "config.yaml"


def strike(config: Path, run_dir: Path, name: str, number: int) -> None:
    """Start or resume the run, send it a signal in the phase of that name, and look at what it leaves behind."""
    resume = ("--resume", "latest") if run_dir.exists() else ()
    engine = Engine(run_dir, "train", config, "--run-dir", run_dir, *resume)
    if name == "paused":
        assert engine.wait_for(at_step(33)) is not None, engine.text()
        send_command(run_dir / "commands.jsonl", Command("pause"))
    assert engine.wait_for(INSTANTS[name]) is not None, f"{name}: {engine.text()}"
    engine.signal(number)
    code = engine.finish(60)
    assert code == SIGNALS[signal.Signals(number)], f"{name}: {code} {engine.text()}"
    assert "Traceback" not in engine.text()
    ended = events_of(run_dir, RunEnded)[-1]
    assert (ended.status, ended.exit_code) == ("stopped", code)
    saved = list_checkpoints(run_dir / "checkpoints")
    began = [event.resumed_from for event in engine.seen if isinstance(event, RunStarted)]
    # A resumed attempt does at once what the one before was stopped in: it may be struck before a step of its own.
    nothing_new = name == "data" or began == [ended.step]
    said = " before the first step: there was nothing new to save" if nothing_new else f"; step {ended.step} is saved"
    assert ended.reason == f"{signal.Signals(number).name} received{said}", name
    if name != "data":
        assert saved[-1].step == ended.step, name
        assert verify(saved[-1].path) == []
    if name in ("evaluation", "sampling"):
        assert {"evaluation": "eval", "sampling": "sample"}[name] in saved[-1].meta["owed"]


@pytest.mark.parametrize("first", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.soak)])
def test_stopped_in_every_phase_and_resumed(
    first: signal.Signals, config: Path, reference: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / f"struck-{first.name}"
    both = [first, *(number for number in SIGNALS if number != first)]
    for index, name in enumerate(INSTANTS):
        strike(config, run_dir, name, both[index % 2])
    done = run("train", config, "--run-dir", run_dir, "--resume", "latest")
    assert done.returncode == 0, done.stderr
    assert_same_run(reference, run_dir, STEPS)
    assert [row["step"] for row in rows(run_dir)] == list(range(1, STEPS + 1))
    assert [row["step"] for row in rows(run_dir) if "eval_loss" in row] == [20, 40, 60]
    assert (run_dir / "samples.jsonl").read_bytes() == (reference / "samples.jsonl").read_bytes()


def test_a_signal_during_a_long_compilation_saves_step_0_and_leaves_at_once(tmp_path: Path) -> None:
    config = dummy_config(
        write_corpus(tmp_path / "corpus"),
        data={"shuffle": True},
        train={"steps": 6, "eval_every": 3},
        optim={"name": "muon", "muon": {"lr_scale": 10.0}},
    )
    path = write_config(tmp_path / "config.yaml", config)
    run_dir = tmp_path / "run"

    def struck(number: int, *resume: str) -> RunEnded:
        """How an attempt ended that was struck while it compiled what no cache holds."""
        cold = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / f"cache-{number}")}
        engine = Engine(run_dir, "train", path, "--run-dir", run_dir, *resume, env=cold)
        assert engine.wait_for(at_phase("compile")) is not None, engine.text()
        engine.signal(number)
        assert engine.finish(60) == SIGNALS[signal.Signals(number)], engine.text()
        assert not events_of(run_dir, Compiled), "the engine waited for the compilation"
        ended = events_of(run_dir, RunEnded)[-1]
        assert f"stopped at step 0: {ended.reason}" in engine.text()
        (only,) = list_checkpoints(run_dir / "checkpoints")
        assert (only.step, verify(only.path)) == (0, [])
        return ended

    ended = struck(signal.SIGINT)
    assert (ended.status, ended.step, ended.reason) == ("stopped", 0, "SIGINT received; step 0 is saved")
    again = struck(signal.SIGTERM, "--resume", "latest")
    assert again.reason == "SIGTERM received before the first step: there was nothing new to save"
    saved = [event.state for event in events_of(run_dir, Checkpoint)]
    assert saved == ["saving", "committed"], "the state of step 0 is saved once"
    done = run("train", path, "--run-dir", run_dir, "--resume", "latest")
    assert done.returncode == 0, done.stderr
    assert "resumed from step 0" in done.stdout
    unbroken = run("train", path, "--run-dir", tmp_path / "reference")
    assert unbroken.returncode == 0, unbroken.stderr
    assert_same_run(tmp_path / "reference", run_dir, 6)
    assert [row["step"] for row in rows(run_dir)] == [1, 2, 3, 4, 5, 6]


def test_a_signal_during_compilation_where_nothing_is_to_be_saved(tmp_path: Path) -> None:
    config = dummy_config(write_corpus(tmp_path / "corpus", documents=5), checkpoint={"enabled": False})
    run_dir = tmp_path / "run"
    cold = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    path = write_config(tmp_path / "config.yaml", config)
    engine = Engine(run_dir, "train", path, "--run-dir", run_dir, env=cold)
    assert engine.wait_for(at_phase("compile")) is not None, engine.text()
    engine.signal(signal.SIGTERM)
    assert engine.finish(60) == 143, engine.text()
    ended = events_of(run_dir, RunEnded)[-1]
    assert ended.reason == "SIGTERM received; nothing was saved: checkpoint.enabled is false"
    assert list_checkpoints(run_dir / "checkpoints") == []


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_before_anything_is_built(number: signal.Signals, tmp_path: Path) -> None:
    """While libraries are still imported nothing can be lost: the exit code alone says what happened."""
    path = write_config(tmp_path / "config.yaml", dummy_config(write_corpus(tmp_path / "corpus", documents=5)))
    engine = Engine(tmp_path / "run", "train", path, "--run-dir", tmp_path / "run", cold=True)
    until_caught(engine.process.pid, signal.SIGTERM)
    engine.signal(number)
    assert engine.finish(30) == SIGNALS[number], engine.text()
    assert "Traceback" not in engine.text()


def until_caught(pid: int, number: signal.Signals) -> None:
    """Wait until a process has a handler of its own for a signal, as the kernel's table says."""

    def is_caught() -> int:
        status = Path(f"/proc/{pid}/status").read_text()
        (mask,) = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:")]
        return mask >> (number - 1) & 1

    wait_until(is_caught)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.soak)])
def test_the_second_signal_leaves_at_once(number: signal.Signals, tmp_path: Path) -> None:
    """A state of 150 MB takes a second to save and hash: enough to lose patience in."""
    corpus = write_corpus(tmp_path / "corpus", documents=10)
    config = dummy_config(corpus, model={"model_dim": 25_000}, checkpoint={"save_every": 2, "async_save": False})
    path = write_config(tmp_path / "config.yaml", config)
    run_dir = tmp_path / "run"
    engine = Engine(run_dir, "train", path, "--run-dir", run_dir)
    assert engine.wait_for(while_saving(4)) is not None, engine.text()
    engine.signal(number)
    # Two signals within a tenth of a second count as one.
    time.sleep(0.2)
    struck = time.monotonic()
    engine.signal(number)
    assert engine.finish(20) == SIGNALS[number], engine.text()
    assert time.monotonic() - struck < 10, "a hang"
    assert "exited at once; nothing more was saved" in engine.text()
    assert "Traceback" not in engine.text()
    ended = events_of(run_dir, RunEnded)[-1]
    assert ended.status == "stopped"
    assert ended.reason == "a second signal: exited at once without saving"
    whole = list_checkpoints(run_dir / "checkpoints")
    assert [info.step for info in whole] == [2]
    assert verify(whole[0].path) == []
    resumed = Engine(run_dir, "train", path, "--run-dir", run_dir, "--resume", "latest")
    assert resumed.wait_for(lambda event: isinstance(event, Checkpoint) and event.state == "committed") is not None
    resumed.signal(signal.SIGKILL)
    resumed.finish()
    assert "resumed from step 2" in resumed.text()


def test_the_second_signal_while_step_0_is_saved(tmp_path: Path) -> None:
    """Half a checkpoint is none: the run begins anew."""
    corpus = write_corpus(tmp_path / "corpus", documents=10)
    path = write_config(tmp_path / "config.yaml", dummy_config(corpus, model={"model_dim": 25_000}))
    run_dir = tmp_path / "run"
    cold = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    engine = Engine(run_dir, "train", path, "--run-dir", run_dir, env=cold)
    assert engine.wait_for(at_phase("compile")) is not None, engine.text()
    engine.signal(signal.SIGTERM)
    struck = time.monotonic()
    assert engine.wait_for(while_saving(0)) is not None, engine.text()
    time.sleep(max(0.0, struck + 0.15 - time.monotonic()))
    engine.signal(signal.SIGINT)
    assert engine.finish(20) == 130, engine.text()
    assert "exited at once; nothing more was saved" in engine.text()
    assert list_checkpoints(run_dir / "checkpoints") == []
    resumed = Engine(run_dir, "train", path, "--run-dir", run_dir, "--resume", "latest")
    assert resumed.wait_for(at_phase("compile")) is not None, resumed.text()
    resumed.signal(signal.SIGKILL)
    resumed.finish()
    warned = [event.message for event in resumed.seen if isinstance(event, Warned)]
    assert warned == [f"{run_dir} has no checkpoint yet: starting again at step 0 in the same directory"]


def test_hangup_does_not_stop_a_run(config: Path, reference: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "hung-up"
    engine = Engine(run_dir, "train", config, "--run-dir", run_dir)
    assert engine.wait_for(at_step(5)) is not None, engine.text()
    engine.signal(signal.SIGHUP)
    assert engine.finish() == 0, engine.text()
    assert_same_run(reference, run_dir, STEPS)
    warned = [event for event in events_of(run_dir, Warned) if event.topic == "terminal"]
    assert [event.message for event in warned] == [
        f"the terminal was closed; the run continues; `python -m chomp ctl {run_dir} stop` stops it"
    ]


def test_a_terminal_that_is_closed_leaves_the_run_alive(config: Path, reference: Path, tmp_path: Path) -> None:
    """On a terminal of its own, whose other end goes away: a hang-up, and every later write to it fails."""
    run_dir = tmp_path / "on-a-terminal"
    terminal, other = os.openpty()
    # The leader of a new session makes the first terminal that it opens its own.
    on_terminal = ["sh", "-c", 'exec "$@" <"$0" >"$0" 2>&1', os.ttyname(other)]
    args = command("train", config, "--run-dir", run_dir, module="tests.compiling")
    engine = subprocess.Popen([*on_terminal, *args], stdin=subprocess.DEVNULL, start_new_session=True)
    drain_until(terminal, b"step ")
    os.close(other)
    os.close(terminal)
    assert engine.wait(120) == 0
    assert events_of(run_dir, Warned), "the hang-up did not arrive"
    assert_same_run(reference, run_dir, STEPS)
    ended = events_of(run_dir, RunEnded)[-1]
    assert ended.status == "completed"


def drain_until(terminal: int, wanted: bytes, timeout: float = 120) -> None:
    seen, deadline = b"", time.monotonic() + timeout
    while wanted not in seen:
        assert time.monotonic() < deadline, seen
        ready: Any = select.select([terminal], [], [], 1)[0]
        if ready:
            seen += os.read(terminal, 4096)


def test_a_pipe_without_a_reader_holds_up_nothing(config: Path, reference: Path, tmp_path: Path) -> None:
    """A laptop closed behind an SSH connection, or Ctrl+S: the run goes on to its end without its terminal."""
    run_dir = tmp_path / "blocked"
    reading, writing = os.pipe()
    # As small as a pipe can be, so that a few lines fill it.
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    streams = {"stdout": writing, "stderr": writing}
    engine = Engine(run_dir, "train", config, "--run-dir", run_dir, module="tests.impatient", **streams)
    os.close(writing)
    try:
        assert engine.finish(120) == 0
        # The pipe was full: what did not fit was lost, and only that.
        assert len(os.read(reading, 1 << 16)) >= 4000
    finally:
        os.close(reading)
    assert_same_run(reference, run_dir, STEPS)
