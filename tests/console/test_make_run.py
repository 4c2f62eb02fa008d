"""`make run`: the console where there is a terminal, plain training where there is none. Nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.console.ptys import Terminal

ROOT = Path(__file__).parents[2]
CONSOLE = "called chomp-tui launch configs/quickstart.yaml --start"
HEADLESS = "called chomp train configs/quickstart.yaml"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The project's Makefile beside an environment whose programs only say how they were called."""
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "chomp", "chomp-tui"):
        (programs / name).write_text('#!/bin/sh\necho "called ${0##*/} $*"\n')
        (programs / name).chmod(0o755)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
        # Older than the mark of what is installed.
        os.utime(tmp_path / name, (1e9, 1e9))
    for path in (programs / "python", tmp_path / ".venv" / ".run"):
        path.touch()
    return tmp_path


def make() -> str:
    found = shutil.which("make")
    assert found is not None, "`make run` and `make test` need make"
    return found


def environ(**changes: str) -> Mapping[str, str]:
    """Without what a `make` that runs the tests says to those it starts."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | changes


@pytest.mark.parametrize(("term", "called"), [("xterm-256color", CONSOLE), ("dumb", HEADLESS)])
def test_on_a_terminal_the_console_opens_if_it_can_be_drawn(term: str, called: str, checkout: Path) -> None:
    terminal = Terminal([make(), "run"], environ=environ(TERM=term), folder=checkout)
    assert terminal.wait() == 0
    assert terminal.text.splitlines() == [called]
    terminal.close()


@pytest.mark.parametrize("lacks", [0, 1, 2])
def test_without_a_terminal_it_trains_in_plain_lines(lacks: int, checkout: Path) -> None:
    """Standard input, output and error are each needed for screens; one of them is a file here."""
    words = checkout / "words"
    words.touch()
    line = f"exec {make()} run {lacks}{'<' if lacks == 0 else '>'}{words}"
    terminal = Terminal(["/bin/sh", "-c", line], environ=environ(TERM="xterm"), folder=checkout)
    assert terminal.wait() == 0
    assert (terminal.text + words.read_text()).splitlines() == [HEADLESS]
    terminal.close()


def test_without_any_terminal_it_trains(checkout: Path) -> None:
    done = subprocess.run(
        [make(), "run"],
        cwd=checkout,
        env=environ(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [HEADLESS]


def test_what_is_not_installed_is_installed_first(checkout: Path) -> None:
    (checkout / ".venv" / ".run").unlink()
    done = subprocess.run(
        [make(), "--dry-run", "run"], cwd=checkout, env=environ(), capture_output=True, text=True, check=True
    )
    assert done.stdout.index("pip install") < done.stdout.index("chomp train configs/quickstart.yaml")


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        (("train", "CONFIG=configs/a.yaml", "ARGS=--max-steps 5"), "chomp train configs/a.yaml --max-steps 5"),
        (("eval",), "chomp eval runs/b-2"),
        (("eval", "CONFIG=configs/a.yaml"), "chomp eval runs/a-1"),
        (("eval", "CHECKPOINT=runs/x/checkpoints/5"), "chomp eval runs/x/checkpoints/5"),
        (("eval", "DATA=val.bin"), "chomp eval runs/b-2 -o data.backend=tokens -o data.tokens_eval_path=val.bin"),
        (("sample", "PROMPT=Once upon"), "chomp generate runs/b-2 --prompt Once upon"),
    ],
)
def test_other_targets_train_and_use_the_newest_run(arguments: tuple[str, ...], called: str, checkout: Path) -> None:
    for number, name in enumerate(("a-1", "b-2")):
        (checkout / "runs" / name).mkdir(parents=True)
        os.utime(checkout / "runs" / name, (1e9 + number, 1e9 + number))
    done = subprocess.run(
        [make(), "--silent", *arguments], cwd=checkout, env=environ(), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [f"called {called}"]


@pytest.mark.parametrize("target", ["train", "eval", "sample"])
def test_a_target_without_its_subject_says_how_to_name_it(target: str, checkout: Path) -> None:
    done = subprocess.run([make(), target], cwd=checkout, env=environ(), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f": make {target} C" in done.stderr


@pytest.fixture
def with_gpu(checkout: Path) -> Path:
    """The same, not installed yet, with a Python that runs and an `nvidia-smi` that lists an old driver's card."""
    (checkout / ".venv" / ".run").unlink()
    (checkout / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    chooser = checkout / "chomp" / "device" / "wheels.py"
    chooser.parent.mkdir(parents=True)
    shutil.copy(ROOT / "chomp" / "device" / "wheels.py", chooser)
    driver = checkout / "driver" / "nvidia-smi"
    driver.parent.mkdir()
    driver.write_text(f"#!/bin/sh\necho asked >> {checkout}/asked\necho '550.163.01, 8.9, NVIDIA GeForce RTX 4090'\n")
    driver.chmod(0o755)
    return checkout


def dry_run(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = f"{checkout / 'driver'}:{os.environ['PATH']}"
    command = [make(), "--dry-run", *arguments]
    return subprocess.run(command, cwd=checkout, env=environ(PATH=path), capture_output=True, text=True, check=True)


@pytest.mark.parametrize(("target", "extras"), [("run", "[cuda12]"), ("fast", "[dev,cuda12]")])
def test_the_driver_chooses_the_cuda_wheels_and_is_asked_once(target: str, extras: str, with_gpu: Path) -> None:
    done = dry_run(with_gpu, target)
    assert f"installing '.{extras}' into .venv" in done.stdout
    assert done.stderr == "CUDA 12 wheels: NVIDIA driver 550.163.01 is older than 580, which the CUDA 13 wheels need.\n"
    assert (with_gpu / "asked").read_text() == "asked\n"


@pytest.mark.parametrize(("choice", "extras"), [("cuda13", "[cuda13]"), ("", "")])
def test_the_user_s_choice_of_wheels_stands(choice: str, extras: str, with_gpu: Path) -> None:
    done = dry_run(with_gpu, "run", f"CUDA={choice}")
    assert f"installing '.{extras}' into .venv" in done.stdout
    assert not (with_gpu / "asked").exists()


def test_the_driver_is_not_asked_where_nothing_is_installed(with_gpu: Path) -> None:
    dry_run(with_gpu, "help")
    assert not (with_gpu / "asked").exists()
