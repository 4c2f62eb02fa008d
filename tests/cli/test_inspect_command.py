"""`chomp inspect` at the command line: its exit code is that of a run that could not start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.engine import dummy_config, write_config, write_corpus
from tests.in_process import run

SHORT = {"backend": "local_text", "local_text": "A short text. " * 20}


@pytest.mark.parametrize(
    ("sections", "code"),
    [
        ({}, 0),
        ({"data": {"files": ["no/*.txt"]}}, 3),
        ({"train": {"allow_cpu": False}}, 4),
        # The first problem counts, as in a run.
        ({"data": {"files": ["no/*.txt"]}, "train": {"allow_cpu": False}}, 4),
        ({"data": {"mixture": {"sources": {"a": SHORT}, "exhausted": "stop"}, "backend": "stdlib", "files": []}}, 2),
    ],
)
def test_the_exit_code_is_that_of_a_dry_run_and_all_is_printed(
    sections: dict[str, Any], code: int, tmp_path: Path
) -> None:
    values = dummy_config(write_corpus(tmp_path / "corpus", documents=4), **sections)
    config = write_config(tmp_path / "c.yaml", values)
    assert run("train", config, "--dry-run", "-o", "train.steps=200").returncode == code
    done = run("inspect", config, "-o", "train.steps=200")
    assert done.returncode == code, done.stderr
    assert done.stdout.startswith("parameters ")
    assert ("cannot start: " in done.stdout) == (code != 0)
    assert done.stderr == ""
    in_json = run("inspect", config, "-o", "train.steps=200", "--json")
    assert in_json.returncode == code
    assert json.loads(in_json.stdout)["start"]["exit_code"] == code


def test_devices_that_need_not_be_here_are_no_reason(tmp_path: Path) -> None:
    values = dummy_config(write_corpus(tmp_path / "corpus", documents=4), train={"allow_cpu": False})
    done = run("inspect", write_config(tmp_path / "c.yaml", values), "--count", 2)
    assert (done.returncode, "cannot start" in done.stdout) == (0, False), done.stdout


def test_a_set_of_training_text_is_refused_as_a_run_refuses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = write_corpus(tmp_path / "corpus", documents=30)
    largest = max(corpus.iterdir(), key=lambda path: path.stat().st_size)
    (tmp_path / "copy.txt").write_bytes(largest.read_bytes())
    values = dummy_config(corpus, evaluation={"sets": {"x": {"files": [str(tmp_path / "copy.txt")], "every": 5}}})
    config = write_config(tmp_path / "c.yaml", values)
    refused = run("train", config, "--dry-run")
    assert refused.returncode == 3
    sentence = refused.stderr.splitlines()[-1].removeprefix("error: ")
    assert "of the evaluation set x is training text" in sentence
    done = run("inspect", config)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (3, f"cannot start: {sentence}")
    # A large text is compared by the engine alone.
    monkeypatch.setattr("chomp.analysis.inspection.MOST_COMPARED", 100)
    assert run("inspect", config).returncode == 0
