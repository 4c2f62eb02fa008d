"""`chomp-tui` before any screen: what it imports, what it refuses and how it says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chomp.errors import command_name
from tests.contracts.test_imports import JAX_WORLD, loaded
from tests.engine import dummy_config, write_config, write_corpus

ROOT = Path(__file__).parents[2]


def console(*args: object, folder: Path = ROOT, **kwargs: object) -> subprocess.CompletedProcess[str]:
    """Run `chomp-tui ARGS` without a terminal, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "chomp_tui", *map(str, args)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
        capture_output=True,
        text=True,
        timeout=240,
        stdin=subprocess.DEVNULL,
        check=False,
        **kwargs,  # type: ignore[call-overload]
    )


def complaint(*args: object, code: int, folder: Path = ROOT) -> str:
    """The one sentence with which a command fails."""
    done = console(*args, folder=folder)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("error: ").strip()


NEEDS = "chomp-tui needs a terminal: standard input is not a terminal; "


def test_no_terminal(tmp_path: Path) -> None:
    assert complaint(code=2) == NEEDS + "python -m chomp runs lists runs without it"
    assert (
        complaint("launch", code=2)
        == NEEDS + "to train without screens: python -m chomp_tui launch --no-ui configs/quickstart.yaml"
    )
    assert (
        complaint("launch", code=2, folder=tmp_path)
        == NEEDS + "to train without screens: python -m chomp_tui launch --no-ui"
    )
    assert complaint("launch", "configs/quickstart.yaml", "--start", code=2).startswith(NEEDS)


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    assert complaint("launch", tmp_path / "x.yaml", code=2) == (
        f"{tmp_path / 'x.yaml'} does not exist; name a YAML file, e.g. configs/quickstart.yaml"
    )
    assert complaint("launch", tmp_path, code=2) == (
        f"{tmp_path} is a folder; name a YAML file, e.g. configs/quickstart.yaml"
    )


def test_a_run_that_is_not_there(tmp_path: Path) -> None:
    assert complaint("attach", tmp_path / "x", code=5) == f"there is no run directory at {tmp_path / 'x'}"
    assert (
        complaint("attach", tmp_path, code=5)
        == f"{tmp_path} holds no run: it has neither events.jsonl nor checkpoints/"
    )


def test_a_run_whose_engine_has_just_been_started_can_be_attached_to(tmp_path: Path) -> None:
    (tmp_path / "train.log").touch()
    assert complaint("attach", tmp_path, code=2).startswith(NEEDS)


def test_resumes_that_cannot_be(tmp_path: Path) -> None:
    assert complaint("launch", "--resume", "newest", code=2) == (
        "--resume newest: expected none, latest or a step number"
    )
    assert complaint("launch", "--resume", "latest", code=2) == (
        "--resume latest needs the run to resume: pass --run-dir RUN"
    )
    assert complaint("launch", "--resume", "5", "--run-dir", tmp_path / "x", code=5) == (
        f"there is no run directory at {tmp_path / 'x'}"
    )


def test_an_option_that_does_not_exist() -> None:
    done = console("launch", "--no-such-option")
    assert done.returncode == 2
    assert "--no-such-option" in done.stderr


@pytest.mark.parametrize("args", [("--help",), ("launch", "-h"), ("attach", "--help"), ("--version",)], ids=" ".join)
def test_help(args: tuple[str, ...]) -> None:
    done = console(*args)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("chomp-tui, version" if args == ("--version",) else "Usage: python -m chomp_tui ")


# Imports ---------------------------------------------------------------------------------


def command(*args: object) -> str:
    """Python code that runs `chomp-tui ARGS` as the installed script does."""
    return (
        f"import sys; sys.argv = ['chomp-tui', *{list(map(str, args))!r}]; from chomp_tui.__main__ import main; main()"
    )


@pytest.mark.parametrize("args", [("--help",), ("launch", "--help"), ("attach", "-h"), ("--version",)], ids=" ".join)
def test_help_loads_neither_textual_nor_jax(args: tuple[str, ...], tmp_path: Path) -> None:
    assert loaded(command(*args), (*JAX_WORLD, "textual", "pydantic", "numpy"), tmp_path / "report") == set()


def test_all_screens_together_load_no_jax(tmp_path: Path) -> None:
    statement = (
        "import pkgutil, importlib, chomp_tui\n"
        "for module in pkgutil.walk_packages(chomp_tui.__path__, 'chomp_tui.'):\n"
        "    importlib.import_module(module.name)\n"
    )
    found = loaded(statement, (*JAX_WORLD, "textual"), tmp_path / "report")
    assert found == {"textual"}, "Textual tells that the screens were really loaded"


@pytest.mark.process
def test_no_ui_never_loads_textual(tmp_path: Path) -> None:
    """Neither before the engine takes the process over nor after."""
    config = write_config(tmp_path / "c.yaml", dummy_config(write_corpus(tmp_path / "corpus")))
    # Whatever imports Textual in this process, or in the one that it becomes, dies of it.
    trap = tmp_path / "trap" / "textual"
    trap.mkdir(parents=True)
    (trap / "__init__.py").write_text("import os; os._exit(99)\n")
    done = subprocess.run(
        [sys.executable, "-m", "chomp_tui", "launch", str(config), "--no-ui", "--run-dir", str(tmp_path / "run")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "trap")},
        capture_output=True,
        text=True,
        timeout=240,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "20/20" in done.stdout + done.stderr


# Without screens it is `chomp train` -----------------------------------------------------


@pytest.mark.process
@pytest.mark.parametrize(
    "args",
    [
        ("nowhere.yaml",),
        ("c.yaml", "-o", "train.stepz=3"),
        ("c.yaml", "-o", "data.files=[nowhere.txt]"),
        ("c.yaml", "--run-dir", "file"),
    ],
    ids=" ".join,
)
def test_no_ui_fails_as_chomp_train_does(args: tuple[str, ...], tmp_path: Path) -> None:
    write_config(tmp_path / "c.yaml", dummy_config(write_corpus(tmp_path / "corpus")))
    (tmp_path / "file").touch()
    ours = console("launch", "--no-ui", *args, folder=tmp_path)
    theirs = subprocess.run(
        [sys.executable, "-P", "-m", "chomp", "train", *args],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert theirs.returncode in (2, 3, 5)
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)


@pytest.mark.process
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=str)
def test_no_ui_takes_signals_as_chomp_train_does(number: int, code: int, tmp_path: Path) -> None:
    config = write_config(
        tmp_path / "c.yaml", dummy_config(write_corpus(tmp_path / "corpus"), train={"steps": 100_000})
    )
    run = tmp_path / "run"
    child = subprocess.Popen(
        [sys.executable, "-m", "chomp_tui", "launch", str(config), "--no-ui", "--run-dir", str(run)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 180
    while not (run / "metrics.jsonl").exists():
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(number)
    assert child.wait(180) == code


@pytest.mark.parametrize(
    ("called", "path", "command"),
    [
        (".venv/bin/chomp-tui", "/nowhere", ".venv/bin/chomp-tui"),
        (".venv/bin/chomp-tui", str(Path(sys.executable).parent), "chomp-tui"),
        ("/usr/lib/python/chomp_tui/__main__.py", "/nowhere", "python -m chomp_tui"),
        ("/usr/lib/python/chomp/__main__.py", "/nowhere", "python -m chomp_tui"),
        ("/usr/bin/pytest", "/nowhere", "chomp-tui"),
    ],
)
def test_a_command_to_copy_is_one_that_the_shell_finds(
    called: str, path: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [called, "launch"])
    monkeypatch.setenv("PATH", path)
    assert command_name("chomp-tui") == command
