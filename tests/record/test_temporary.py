"""Where no temporary folder can be written, a sentence names the variable to set."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from chomp.analysis.fit import ask
from chomp.errors import RunDirError
from chomp.record.temporary import temporary_folder
from chomp_tui.engine.process import EngineError, configuration_file

pytestmark = pytest.mark.pure

SENTENCE = "no temporary folder can be written .*; set TMPDIR to a folder that exists and that you may write to"


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python's own search for a folder ends."""

    def refuse(*args: Any, **options: Any) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    for name in ("TemporaryDirectory", "TemporaryFile"):
        monkeypatch.setattr(tempfile, name, refuse)


def enter_folder() -> None:
    with temporary_folder("chomp-dry-run-"):
        raise AssertionError("there is none")


def enter_configuration() -> None:
    with configuration_file("train: {}"):
        raise AssertionError("there is none")


def test_each_says_what_to_set(nowhere: None) -> None:
    with pytest.raises(RunDirError, match=SENTENCE):
        enter_folder()
    with pytest.raises(RunDirError, match=SENTENCE):
        ask({}, time.monotonic())
    with pytest.raises(EngineError, match=SENTENCE):
        enter_configuration()


def test_a_folder_is_gone_afterwards() -> None:
    with temporary_folder("chomp-test-") as folder:
        (folder / "file").touch()
    assert not folder.exists()


def test_the_engine_s_sentence_does_not_name_the_file() -> None:
    seen: list[Path] = []

    def answer() -> None:
        with configuration_file("train: é") as path:
            seen.append(path)
            assert path.read_text() == "train: é"
            raise EngineError(f"{path}:1: train: expected a table")

    with pytest.raises(EngineError, match=r"^the configuration:1: train: expected a table$"):
        answer()
    assert not seen[0].exists()
