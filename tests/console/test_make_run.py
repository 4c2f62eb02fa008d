"""`make run`: the console where there is a terminal, plain training where there is none. Nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
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
