"""How a program ends: a sentence for everybody, a file for a fault, and standard streams that may be closed or full."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

from chomp.cli import main
from chomp.cli.endings import report
from chomp.errors import CheckpointError, ConfigError
from tests.engine import dummy_config, write_config, write_corpus
from tests.in_process import restored_state, run

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("train.steps: no"), 2, "error: train.steps: no\n"),
        (CheckpointError("a\x1b[2J"), 5, "error: a�[2J\n"),
        (click.UsageError("give one"), 2, "error: give one\n"),
        *(
            (kind("x" * 9000 + ": no"), 2, f"error: {'x' * 1993}…{'x' * 496}: no\n")
            for kind in (ConfigError, click.UsageError)
        ),
        (click.Abort(), 130, ""),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(1), 1, ""),
        (FileNotFoundError(2, "No such file or directory", "a.txt"), 1, "error: a.txt: No such file or directory\n"),
    ],
)
def test_what_ends_a_command_is_one_sentence(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(error) == code
    assert capsys.readouterr().err == said


class PanicError(BaseException):
    """Like that of a library in Rust, no `Exception`."""


@pytest.mark.parametrize("kind", [ValueError, PanicError])
def test_of_a_fault_the_traceback_is_in_a_file_that_is_there(
    kind: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with pytest.raises(kind) as caught:
        raise kind("one\ntwo")
    assert report(caught.value) == 1
    said = capsys.readouterr().err
    found = re.fullmatch(
        rf"error: {kind.__name__}: one; this is a fault of chomp, and the traceback is in (.*)\n", said
    )
    assert found is not None, said
    assert "Traceback (most recent call last)" in Path(found[1]).read_text()


def test_the_traceback_of_a_dry_run_outlives_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise ValueError("broken")

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("chomp.train.loop.open_session", fail)
    done = run("train", ROOT / "configs" / "debug_smoke.yaml", "--dry-run")
    assert (done.returncode, "error: ValueError: broken" in done.stderr) == (1, True)
    [path] = re.findall(r"the traceback is in (.*)", done.stderr)
    assert "ValueError: broken" in Path(path).read_text()


def test_a_logged_traceback_is_not_printed_beside_the_sentence(tmp_path: Path) -> None:
    code = (
        "import logging\n"
        "from chomp.cli.endings import show_warnings\n"
        "show_warnings()\n"
        "logging.getLogger('chomp').warning('the id is replaced')\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    logging.getLogger('chomp').exception('reading failed')\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stderr == "the id is replaced\n"


# Closed and full streams ---------------------------------------------------------------------


def without(closed: Sequence[int], *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`chomp WORDS` with standard streams closed; the others are pipes."""
    redirections = " ".join(f"{fd}>&-" for fd in closed)
    return subprocess.run(
        ["bash", "-c", f'exec "$@" {redirections}', "chomp", sys.executable, "-m", "chomp", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        stdin=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.process
@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (1, 2), (0, 1, 2)], ids=str)
def test_a_command_runs_with_closed_streams(closed: tuple[int, ...], tmp_path: Path) -> None:
    done = without(closed, "runs", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("no runs in runs" in done.stdout) == (1 not in closed)


@pytest.mark.process
@pytest.mark.parametrize("option", [("--interactive",), ("--interactive", "--json"), ("--prompt-file", "-")], ids=str)
def test_a_command_that_needs_standard_input_says_that_it_is_closed(option: tuple[str, ...], tmp_path: Path) -> None:
    done = without((0,), "generate", "run", *option, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("standard input is closed")


@pytest.mark.process
def test_a_file_does_not_take_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "import os; os.close(1); os.close(2)\n"
        "from chomp.cli.endings import open_standard_streams\n"
        "open_standard_streams()\n"
        "file = open('x', 'w'); os.write(1, b'lost'); os.write(2, b'lost'); print(file.fileno(), file=file)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    assert int((tmp_path / "x").read_text()) > 2


@pytest.mark.process
@pytest.mark.parametrize("words", [("config", "schema"), ("runs",)], ids=str)
def test_a_full_device_is_named(words: tuple[str, ...], tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "chomp", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "error: standard output: No space left on device\n")


@pytest.mark.compile
def test_a_run_does_not_miss_its_standard_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_config(tmp_path / "c.yaml", dummy_config(write_corpus(tmp_path / "texts"), train={"steps": 4}))
    said = io.StringIO()
    with monkeypatch.context() as patch, contextlib.redirect_stderr(said):
        patch.setattr(sys, "stdout", None)
        with restored_state(), pytest.raises(SystemExit) as leaving:
            main.run(main.cli, ["train", str(config), "--run-dir", str(tmp_path / "run")])
    assert (leaving.value.code, said.getvalue()) == (0, "")
    assert (tmp_path / "run" / "metrics.jsonl").exists()
