"""What a person asks of a live run, from a shell or a console, and what the run is after it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from chomp.record.commands import Command, send_command
from chomp.record.events import (
    Acknowledged,
    Checkpoint,
    Compiled,
    Evaluated,
    Phase,
    RunEnded,
    RunStarted,
    Sampled,
    Warned,
)
from chomp.record.manifest import list_checkpoints, verify
from tests.engine import (
    Engine,
    Instant,
    assert_same_run,
    at_phase,
    at_step,
    dummy_config,
    events_of,
    rows,
    run,
    steps_of,
    wait_until,
    write_config,
    write_corpus,
)
from tests.in_process import run as run_here
from tests.references import References

pytestmark = pytest.mark.process

STEPS = 60


def answered(command: Command) -> Instant:
    return lambda event: isinstance(event, Acknowledged) and event.id == command.id


@pytest.fixture
def reference(references: References) -> Path:
    """A run whose 60 steps take about two seconds, which nothing interrupted."""
    config = dummy_config(
        references.corpus,
        model={"model_dim": 96},
        train={"steps": STEPS, "batch_size": 8, "seq_len": 256, "grad_accum": 2, "generate_max_tokens": 8},
        checkpoint={"save_every": 0},
    )
    return references.run(run, config)


@pytest.fixture
def config(reference: Path) -> Path:
    """The configuration of that run."""
    return reference.parent / "config.yaml"


class Console:
    """Sends commands to an engine and waits for the answers."""

    def __init__(self, engine: Engine, run_dir: Path):
        self.engine = engine
        self.path = run_dir / "commands.jsonl"

    def ask(self, name: str, **args: object) -> Acknowledged:
        command = Command(name, args=args)
        send_command(self.path, command)
        answer = self.engine.wait_for(answered(command), 60)
        assert isinstance(answer, Acknowledged), self.engine.text()
        assert answer.command == name
        return answer


def ctl(run_dir: Path, *args: object) -> subprocess.CompletedProcess[str]:
    return run_here("ctl", run_dir, *args)


def test_everything_asked_during_a_pause_is_done_and_changes_no_number(
    config: Path, reference: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "paused"
    engine = Engine(run_dir, "train", config, "--run-dir", run_dir)
    console = Console(engine, run_dir)
    assert engine.wait_for(at_step(5)) is not None, engine.text()
    pause = console.ask("pause")
    assert (pause.ok, pause.message) == (True, "paused")
    began = time.monotonic()
    assert engine.wait_for(at_phase("paused")) is not None
    step = pause.step
    assert console.ask("save").message == f"saving step {step}"
    assert engine.wait_for(lambda event: isinstance(event, Checkpoint) and event.state == "committed") is not None
    assert console.ask("save").message == f"step {step} is already saved"
    assert console.ask("eval").message.startswith(f"evaluated at step {step}: loss ")
    (saved,) = (one for one in list_checkpoints(run_dir / "checkpoints") if one.step == step)
    assert saved.eval_loss == events_of(run_dir, Evaluated)[-1].loss, "the evaluation came after the save"
    assert console.ask("sample").message == f"wrote 1 sample at step {step}"
    assert console.ask("sample", prompt="class é \x1b[31m").ok
    sampled = events_of(run_dir, Sampled)[-1]
    assert sampled.prompt == "class é \x1b[31m"
    phases = [event.name for event in events_of(run_dir, Phase)]
    assert phases[phases.index("paused") :] == [
        "paused",
        "save",
        "paused",
        "eval",
        "paused",
        "sample",
        "paused",
        "sample",
        "paused",
    ]
    hostile: list[tuple[str, dict[str, object], str]] = [
        ("sample", {"prompt": 5}, "the prompt must be text, got '5'"),
        ("profile", {"steps": "5"}, "a trace has 1 to 100 steps, got '5'"),
        ("sample", {"prompt": "\ud800"}, "the prompt must be text, got '\\ud800'"),
        ("dance", {}, "unknown command 'dance'; known: abort, eval, pause, profile, resume, sample, save, skip, stop"),
    ]
    for name, args, message in hostile:
        answer = console.ask(name, **args)
        assert (answer.ok, answer.message) == (False, message)
    with console.path.open("ab") as file:
        file.write(b"no command\n\xff\n[]\n")
    # A second console, and a shell.
    assert ctl(run_dir, "pause").stdout == f"step {step}: paused\n"
    assert steps_of(run_dir)[-1].row["step"] == step, "nothing was trained meanwhile"
    lasted = time.monotonic() - began
    assert ctl(run_dir, "resume").stdout == f"step {step}: resumed\n"
    assert engine.finish() == 0, engine.text()
    assert (run_dir / "metrics.jsonl").read_text().count('"step":') == STEPS
    found = [{k: v for k, v in row.items() if k != "eval_loss"} for row in rows(run_dir)]
    assert [row["loss"] for row in found] == [row["loss"] for row in rows(reference)]
    assert_same_run(reference, run_dir, STEPS)
    ended = events_of(run_dir, RunEnded)[-1]
    spent = ended.time_budget_seconds
    outside = sum(spent[name] for name in ("paused", "save", "eval", "sample"))
    assert outside >= lasted - 0.5
    assert sum(row["step_time_s"] for row in rows(run_dir)) < spent["train"] + spent["data_wait"] + 0.5, (
        "a pause is no step"
    )


def test_evaluation_and_samples_while_training(config: Path, reference: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "asked"
    engine = Engine(run_dir, "train", config, "--run-dir", run_dir)
    console = Console(engine, run_dir)
    assert engine.wait_for(at_step(3)) is not None, engine.text()
    for name in ("eval", "save", "sample"):
        assert console.ask(name).ok
    resumed = console.ask("resume")
    assert (resumed.ok, resumed.message) == (True, "the run was not paused")
    assert engine.finish() == 0, engine.text()
    assert_same_run(reference, run_dir, STEPS)


def test_stop_saves_and_a_resume_makes_the_same_run(config: Path, reference: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "stopped"
    engine = Engine(run_dir, "train", config, "--run-dir", run_dir)
    assert engine.wait_for(at_step(9)) is not None, engine.text()
    asked = ctl(run_dir, "stop")
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.endswith(": ending the run\n")
    assert engine.finish() == 0
    ended = events_of(run_dir, RunEnded)[-1]
    assert (ended.status, ended.reason) == ("stopped", f"stop requested; step {ended.step} is saved")
    assert list_checkpoints(run_dir / "checkpoints")[-1].step == ended.step
    # The stop that ended the last attempt is older than the next engine.
    done = run("train", "--run-dir", run_dir, "--resume", "latest")
    assert done.returncode == 0, done.stderr
    assert_same_run(reference, run_dir, STEPS)


def test_abort_leaves_without_saving(config: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "aborted"
    engine = Engine(run_dir, "train", config, "--run-dir", run_dir)
    console = Console(engine, run_dir)
    assert engine.wait_for(at_step(5)) is not None, engine.text()
    assert console.ask("save").ok
    assert engine.wait_for(lambda event: isinstance(event, Checkpoint) and event.state == "committed") is not None
    assert console.ask("abort").ok
    assert engine.finish() == 0
    ended = events_of(run_dir, RunEnded)[-1]
    assert (ended.status, ended.reason) == ("stopped", "abort requested: nothing was saved")
    (only,) = list_checkpoints(run_dir / "checkpoints")
    assert only.step < ended.step
    assert verify(only.path) == []
    idle = ctl(run_dir, "pause")
    assert (idle.returncode, idle.stderr) == (5, f"error: no engine is running in {run_dir}\n")


def test_before_the_first_step_the_end_is_obeyed_and_all_else_waits(tmp_path: Path) -> None:
    """Four attempts at one run, each compiling what no cache holds."""
    path = write_config(tmp_path / "config.yaml", dummy_config(write_corpus(tmp_path / "corpus", documents=5)))
    run_dir = tmp_path / "run"

    def attempt(number: int) -> Engine:
        cold = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / f"cache-{number}")}
        resume = ("--resume", "latest") if number else ()
        return Engine(run_dir, "train", path, "--run-dir", run_dir, *resume, env=cold)

    def told(engine: Engine, name: str, during: str) -> RunEnded:
        """How the attempt ended that was told to in a phase."""
        assert engine.wait_for(at_phase(during)) is not None, engine.text()
        answer = Console(engine, run_dir).ask(name)
        assert (answer.ok, answer.message, answer.step) == (True, "ending the run", 0)
        assert engine.finish() == 0, engine.text()
        assert not events_of(run_dir, Compiled), "the engine waited for the compilation"
        ended = events_of(run_dir, RunEnded)[-1]
        assert (ended.status, ended.step) == ("stopped", 0)
        return ended

    opening = told(attempt(0), "stop", "data")
    assert opening.reason == "stop requested before the first step: there was nothing new to save"
    assert not events_of(run_dir, RunStarted), "the engine waited for the state to be built"
    assert told(attempt(1), "abort", "compile").reason == "abort requested: nothing was saved"
    assert list_checkpoints(run_dir / "checkpoints") == []
    assert told(attempt(2), "stop", "compile").reason == "stop requested; step 0 is saved"
    assert [info.step for info in list_checkpoints(run_dir / "checkpoints")] == [0]
    patient = attempt(3)
    assert patient.wait_for(at_phase("compile")) is not None, patient.text()
    console = Console(patient, run_dir)
    send_command(console.path, Command("pause"))
    assert console.ask("save").message == "step 0 is already saved"
    order = [event for event in patient.seen if isinstance(event, Compiled | Acknowledged)]
    assert isinstance(order[0], Compiled)
    assert [event.command for event in order if isinstance(event, Acknowledged)] == ["pause", "save"]
    assert console.ask("stop").message == "ending the run"
    assert patient.finish() == 0
    ended = events_of(run_dir, RunEnded)[-1]
    assert ended.reason == "stop requested before the first step: there was nothing new to save"


def test_a_file_that_is_not_the_engine_s_own_is_refused_and_said(config: Path, tmp_path: Path) -> None:
    """Written by another user, or writable by others: not obeyed, by neither the engine nor `chomp ctl`."""
    run_dir = tmp_path / "foreign"
    engine = Engine(run_dir, "train", config, "--run-dir", run_dir, "-o", "train.steps=1000000")
    assert engine.wait_for(at_step(2)) is not None, engine.text()
    path = run_dir / "commands.jsonl"
    send_command(path, Command("pause"))
    assert engine.wait_for(at_phase("paused")) is not None
    path.chmod(0o666)
    send_command(path, Command("abort"))
    refused = engine.wait_for(lambda event: isinstance(event, Warned))
    assert isinstance(refused, Warned)
    assert (refused.topic, "is ignored: it must belong to uid" in refused.message) == ("commands", True)
    time.sleep(0.3)
    assert engine.process.poll() is None
    shell = ctl(run_dir, "stop")
    assert shell.returncode == 5
    assert shell.stderr == f"error: {refused.message}\n"
    engine.signal(signal.SIGKILL)
    engine.finish()
    # Said in the event file first: here it is a moment later.
    assert f"warning: {refused.message}" in engine.text()


def test_an_engine_that_ends_first_is_told_from_one_that_is_busy(config: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "ended-first"
    engine = Engine(run_dir, "train", config, "--run-dir", run_dir, "-o", "train.steps=1000000")
    assert engine.wait_for(at_step(2)) is not None, engine.text()
    unanswered = ctl(run_dir, "save", "--timeout", "0")
    assert unanswered.stdout.startswith("save requested (")
    engine.signal(signal.SIGSTOP)
    late = ctl(run_dir, "eval", "--timeout", "0.5")
    assert late.returncode == 5
    assert "the engine did not answer within 0 s" in late.stderr or "within 1 s" in late.stderr
    waiting = subprocess.Popen(
        [*engine_ctl(run_dir), "eval"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: (run_dir / "commands.jsonl").read_text().count('"eval"') == 2)
    engine.signal(signal.SIGKILL)
    engine.finish()
    _, said = waiting.communicate(timeout=30)
    assert (waiting.returncode, said) == (5, "error: the engine ended before it answered\n")


def engine_ctl(run_dir: Path) -> list[str]:
    from tests.engine import command

    return command("ctl", run_dir)


def test_ctl_without_a_run(tmp_path: Path) -> None:
    missing = ctl(tmp_path / "nowhere", "save")
    assert (missing.returncode, missing.stderr) == (5, f"error: there is no run directory at {tmp_path / 'nowhere'}\n")
    wrong = ctl(tmp_path, "dance")
    assert wrong.returncode == 2
    assert (
        "'dance' is not one of 'pause', 'resume', 'save', 'eval', 'sample', 'profile', 'skip', 'stop', 'abort'"
        in wrong.stderr
    )
    (tmp_path / "events.jsonl").touch()
    (tmp_path / "lock").write_text(json.dumps({"pid": 1, "host": "elsewhere", "started": 1.0}))
    other = ctl(tmp_path, "save")
    assert (other.returncode, other.stderr) == (
        5,
        f"error: the engine of {tmp_path} was started on elsewhere; run chomp ctl there\n",
    )
    prompt = ctl(tmp_path, "save", "--prompt", "x")
    assert prompt.returncode == 2
    assert "--prompt is only for sample" in prompt.stderr
    assert "--steps is only for profile" in ctl(tmp_path, "save", "--steps", "3").stderr
