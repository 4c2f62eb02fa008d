"""`chomp eval` says what it scores, and scores the whole of the files that it is given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.in_process import run
from tests.references import References

pytestmark = pytest.mark.compile


@pytest.fixture
def finished(references: References) -> Path:
    return references.run(run, references.config)


def scored(finished: Path, *options: object) -> dict[str, Any]:
    done = run("eval", finished, "--json", *options)
    assert done.returncode == 0, done.stderr
    row: dict[str, Any] = json.loads(done.stdout)
    return row


def test_whole_files_are_scored(finished: Path, tmp_path: Path) -> None:
    one, table = tmp_path / "one.txt", tmp_path / "rows.jsonl"
    one.write_text("A line of text.\n" * 100)
    table.write_text('{"text": "first row"}\n{"text": "second row"}\n')
    row = scored(finished, "--text", one)
    assert row["scored"] == {"text": "whole", "documents": 1, "of_documents": 1, "of_bytes": 1600}
    # The first byte has nothing before it; the end-of-text id is no byte.
    assert (row["bytes"], row["tokens"]) == (1599, 1600)
    both = scored(finished, "--text", one, table, "-o", "data.max_eval_samples=1", "-o", "data.max_doc_tokens=8")
    assert both["scored"] == {"text": "whole", "documents": 3, "of_documents": 3, "of_bytes": 1619}
    assert both["bytes"] == 1616
    assert scored(finished, "--text", one, "--text", table)["bytes"] == 1616
    said = run("eval", finished, "--text", one).stdout
    assert "scored: 1 document, whole: 1,599 of 1,600 bytes" in said


def test_held_out_text_is_a_share_of_all(finished: Path, tmp_path: Path) -> None:
    row = scored(finished)
    assert row["scored"] == {"text": "held-out", "documents": 3, "of_documents": 200, "of_bytes": None}
    said = run("eval", finished).stdout
    assert "scored: 3 of 200 documents, held out; --text FILE scores whole files" in said
    only = tmp_path / "only.txt"
    only.write_text("x" * 1700)
    row = scored(finished, "-o", f"data.files=[{only}]")
    assert row["scored"] == {"text": "held-out", "documents": 1, "of_documents": 1, "of_bytes": 1700}
    assert row["bytes"] < 200
    said = run("eval", finished, "-o", f"data.files=[{only}]").stdout
    assert f"scored: the held-out end of the only document, {row['bytes']} of 1,700 bytes; --text FILE scores" in said


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (["more.txt"], 2, "unexpected argument"),
        (["--text", "nowhere.txt"], 2, "nowhere.txt"),
        (["--text", "empty.txt"], 3, "empty"),
        (["--text", "short.jsonl"], 3, "too little text to score"),
    ],
)
def test_files_that_cannot_be_scored(finished: Path, tmp_path: Path, words: list[str], code: int, problem: str) -> None:
    for name, content in (("more.txt", "text"), ("empty.txt", ""), ("short.jsonl", '{"text": ""}\n')):
        (tmp_path / name).write_text(content)
    refused = run("eval", finished, *words, cwd=tmp_path)
    assert refused.returncode == code
    assert problem in refused.stderr
