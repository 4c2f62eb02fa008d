"""From a request to a detached engine: its command, its environment, and what is left when it cannot start."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from chomp.errors import command_name
from chomp.queue.launch import LaunchError, LaunchRequest, command, train_environment
from chomp.record.event_log import read_events
from chomp.record.events import RunEnded
from chomp.record.lock import live_holder
from chomp.record.rundir import open_run
from chomp_tui.engine import launch
from chomp_tui.engine.launch import prove_flags, start
from tests.engine import dummy_config, write_config, write_corpus

DEADLINE_SECONDS = 120


def until(holds: Callable[[], object]) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path / "tiny.yaml", dummy_config(write_corpus(tmp_path / "corpus")))


def test_the_command_names_everything(tmp_path: Path) -> None:
    request = LaunchRequest(
        tmp_path / "run", Path("c.yaml"), ("train.steps=3", "optim.lr=1e-3"), resume="20", accept=("optim.lr",)
    )
    assert command(request) == [
        *(sys.executable, "-P", "-m", "chomp", "train", "c.yaml"),
        *("-o", "train.steps=3", "-o", "optim.lr=1e-3"),
        *("--run-dir", str(tmp_path / "run"), "--resume", "20", "--accept", "optim.lr"),
    ]


def test_a_resume_needs_no_file(tmp_path: Path) -> None:
    args = command(LaunchRequest(tmp_path, resume="latest"))
    assert args[4:] == ["train", "--run-dir", str(tmp_path), "--resume", "latest"]


def test_a_file_whose_name_looks_like_an_option(tmp_path: Path) -> None:
    assert command(LaunchRequest(tmp_path, Path("-o.yaml")))[5] == "./-o.yaml"


def test_the_environment_is_the_user_s_with_the_choice_in_it() -> None:
    assert train_environment({"XLA_FLAGS": "--a", "HOME": "/h"}, {"XLA_FLAGS": "--a --b"}) == {
        "XLA_FLAGS": "--a --b",
        "CHOMP_COMMAND": command_name(),
        "HOME": "/h",
        "PYTHONUNBUFFERED": "1",
    }


def test_flags_are_proven_once_and_the_failing_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def check(environ: dict[str, str]) -> object:
        asked.append(environ["XLA_FLAGS"])
        return launch_check(environ)

    launch_check = launch.check_xla_flags
    monkeypatch.setattr(launch, "check_xla_flags", check)
    monkeypatch.setattr(launch, "_verdicts", {})
    good = LaunchRequest(Path("r"), environment={"XLA_FLAGS": "--xla_gpu_enable_triton_gemm=false"})
    bad = LaunchRequest(Path("r"), environment={"XLA_FLAGS": "--xla_no_such_flag=1"})
    why = "the installed XLA does not know the flag --xla_no_such_flag=1 in XLA_FLAGS; remove it"
    for _ in range(2):
        assert prove_flags(train_environment(os.environ, good.environment)) is None
        assert prove_flags(train_environment(os.environ, bad.environment)) == why
    assert refused(bad) == f"no engine was started for r: {why}"
    assert asked == ["--xla_gpu_enable_triton_gemm=false", "--xla_no_such_flag=1"]


def test_without_flags_there_is_nothing_to_prove() -> None:
    assert prove_flags({}) is None


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def refused(request: LaunchRequest, environ: dict[str, str] | None = None) -> str:
    """The sentence with which a start fails."""
    with pytest.raises(LaunchError) as caught:
        start(request, dict(os.environ) if environ is None else environ)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_interpreter_that_is_gone(tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    run = tmp_path / "deep" / "er" / "run"
    message = refused(LaunchRequest(run, config))
    assert message == f"no engine was started for {run}: {tmp_path / 'python'}: No such file or directory"
    assert everything(tmp_path) == before


def test_what_was_there_before_stays(tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "train.log").write_text("earlier words\n")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    refused(LaunchRequest(run, config))
    assert (run / "train.log").read_text() == "earlier words\n"


def test_a_file_where_the_folder_should_be(tmp_path: Path, config: Path) -> None:
    (tmp_path / "file").write_text("")
    assert refused(LaunchRequest(tmp_path / "file" / "run", config)).startswith("no engine was started for")
    assert refused(LaunchRequest(tmp_path / "file", config)) == (
        f"no engine was started for {tmp_path / 'file'}: {tmp_path / 'file'}: "
        "a file is where the run directory should be"
    )


def test_a_variable_that_no_process_can_have(tmp_path: Path, config: Path) -> None:
    before = everything(tmp_path)
    assert "null byte" in refused(LaunchRequest(tmp_path / "run", config, environment={"XLA_FLAGS": "a\0b"}))
    assert everything(tmp_path) == before


def test_a_wrong_configuration_starts_nothing(tmp_path: Path, config: Path) -> None:
    before = everything(tmp_path)
    assert "train.stepz" in refused(LaunchRequest(tmp_path / "run", config, ("train.stepz=3",))).splitlines()[0]
    assert everything(tmp_path) == before


@pytest.mark.process
def test_an_engine_lives_in_a_session_of_its_own_and_leaves_no_zombie(tmp_path: Path, config: Path) -> None:
    run = tmp_path / "runs" / "one"
    pid = start(LaunchRequest(run, config, ("train.steps=100000", "logging.log_file=words.txt")), os.environ)
    assert os.getsid(pid) == pid != os.getsid(0)
    assert stat.S_IMODE((run / "words.txt").stat().st_mode) == 0o644
    until((run / "metrics.jsonl").exists)
    holder = live_holder(run / "lock")
    assert holder is not None
    assert holder.pid == pid
    engine = psutil.Process(pid)
    assert {Path(f"/proc/{pid}/fd/{fd}").readlink() for fd in (0, 1, 2)} == {Path("/dev/null"), run / "words.txt"}
    assert refused(LaunchRequest(run, config)) == f"{run} is in use by pid {pid}; watch that run, or stop it first"

    os.kill(pid, signal.SIGTERM)
    until(lambda: not psutil.pid_exists(pid) or not engine.is_running())
    ended = [event for event in read_events(run / "events.jsonl") if isinstance(event, RunEnded)]
    assert [event.status for event in ended] == ["stopped"]
    assert open_run(run).log == run / "words.txt"
    assert "step 1/" in (run / "words.txt").read_text().replace("step      1", "step 1")
    assert not (run / "train.log").exists()
    assert refused(LaunchRequest(run, config)).startswith(f"{run} already holds a run")


@pytest.mark.process
def test_an_engine_that_ends_at_once_leaves_its_words_and_can_be_started_again(tmp_path: Path, config: Path) -> None:
    run = tmp_path / "run"
    (tmp_path / "corpus").rename(tmp_path / "elsewhere")
    pid = start(LaunchRequest(run, config), os.environ)
    until(lambda: not psutil.pid_exists(pid))
    words = (run / "train.log").read_text()
    assert "error: no file matches" in words
    (tmp_path / "elsewhere").rename(tmp_path / "corpus")
    pid = start(LaunchRequest(run, config, ("train.steps=4",)), os.environ)
    until(lambda: not psutil.pid_exists(pid))
    assert [e.status for e in read_events(run / "events.jsonl") if isinstance(e, RunEnded)][-1] == "completed"
    assert (run / "train.log").read_text().startswith(words)
