"""`chomp eval` says what it scores, and scores the whole of the files that it is given."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chomp.analysis.scoring import Coverage
from chomp.cli.lm_eval import harness_errors
from chomp.data.heldout import Selection, thinned
from chomp.record.formatting import size
from tests.in_process import run
from tests.references import References

pytestmark = pytest.mark.compile


@pytest.fixture
def finished(references: References) -> Path:
    return references.run(run, references.config)


def scored(*words: object) -> dict[str, Any]:
    done = run("eval", *words, "--json")
    assert done.returncode == 0, done.stderr
    row: dict[str, Any] = json.loads(done.stdout)
    return row


def test_whole_files_are_scored(finished: Path, tmp_path: Path) -> None:
    one, table = tmp_path / "one.txt", tmp_path / "rows.jsonl"
    one.write_text("A line of text.\n" * 100)
    table.write_text('{"text": "first row"}\n{"text": "second row"}\n')
    row = scored(finished, "--text", one)
    said = {"text": "whole", "documents": 1, "of_documents": 1, "bytes": 1600, "of_bytes": 1600, "cut_after": None}
    assert row["scored"] == said
    # The first byte has nothing before it; the end-of-text id is no byte.
    assert (row["bytes"], row["tokens"]) == (1599, 1600)
    # Limits on held-out text are none on these files, and both ways to name several are the same.
    limits = ("-o", "data.max_eval_samples=1", "-o", "data.max_doc_tokens=8")
    both = scored("--checkpoint", finished, "--text", one, table, *limits)
    assert both["scored"] == {**said, "documents": 3, "of_documents": 3, "bytes": 1619, "of_bytes": 1619}
    assert (both["bytes"], scored(finished, "--text", one, "--text", table)["bytes"]) == (1616, 1616)


def test_a_set_of_training_text_is_scored_with_a_warning(finished: Path, tmp_path: Path) -> None:
    (pattern,) = json.loads((finished / "config_resolved.json").read_text())["data"]["files"]
    texts = sorted(Path(pattern).parent.glob(Path(pattern).name), key=lambda path: path.stat().st_size)
    (tmp_path / "copy.txt").write_bytes(texts[-1].read_bytes())
    (tmp_path / "other.txt").write_text("Text of another kind, which is in no file of the run. " * 20)
    for name, words in (("copy", ["is training text: 100% of its passages"]), ("other", [])):
        done = run("eval", finished, "-o", f"evaluation.sets.x.files=[{tmp_path / name}.txt]", "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["sets"]["x"]["tokens"] > 0
        warned = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
        assert [line.removeprefix("warning: ") for line in warned] == found.get("warnings", [])
        assert len(warned) == len(words)
        assert all(word in line for word, line in zip(words, warned, strict=True))


def test_held_out_text_is_a_share_of_all(finished: Path, tmp_path: Path) -> None:
    row = scored(finished, "-o", "data.max_doc_tokens=8")
    heldout = row["scored"].pop("bytes")
    assert row["scored"] == {
        "text": "held-out", "documents": 3, "of_documents": 200, "of_bytes": None, "cut_after": 8
    }  # fmt: skip
    assert row["bytes"] == 3 * 7 < heldout
    only = tmp_path / "only.txt"
    only.write_text("x" * 1700)
    said = run("eval", finished, "-o", f"data.files=[{only}]").stdout
    assert "scored: the held-out end of the only document, 85 of 1,700 bytes; --text FILE... scores whole files" in said


def test_no_number_of_documents_makes_training_text_held_out(finished: Path, tmp_path: Path) -> None:
    usual = scored(finished)
    assert usual["scored"]["documents"] == 3
    done = run("eval", finished, "-o", "data.max_eval_samples=50", "-o", "data.packing_mode=sequential", "--json")
    more = json.loads(done.stdout)
    assert (more["loss"], more["scored"]) == (usual["loss"], usual["scored"])
    warning = (
        "data.max_eval_samples is 50, but the run held out 3 documents and trained on the others: only what it held "
        "out is scored"
    )
    assert more["warnings"] == [warning]
    assert done.stderr.strip() == f"warning: {warning}"
    fewer = scored(finished, "-o", "data.max_eval_samples=1")
    assert fewer["scored"] | {"bytes": 0} == usual["scored"] | {"bytes": 0, "documents": 1}
    assert "warnings" not in fewer
    # Text that is apart has no such limit, nor has text that the run did not read.
    (tmp_path / "table.jsonl").write_text("".join(f'{{"text": "row {one} of a table"}}\n' for one in range(50)))
    for setting, documents in (("data.eval_files", 40), ("data.files", 3)):
        row = scored(finished, "-o", f"{setting}=[{tmp_path}/table.jsonl]", "-o", "data.max_eval_samples=40")
        assert row["scored"]["documents"] == documents
        assert "warnings" not in row


def test_fewer_documents_of_a_selection_are_of_the_same_source() -> None:
    source = list(range(100, 200))
    some = Selection(source, np.arange(0, 100, 10))
    assert [thinned(some, 3)[one] for one in range(3)] == [source[10], source[50], source[80]]
    assert thinned(some, 10) is some
    left = thinned(Selection(source, np.arange(50), complement=True), 2)
    assert ([left[0], left[1]], left.of) == ([162, 187], 100)
    assert thinned(source, 2) == [125, 175]


@pytest.mark.parametrize(
    ("coverage", "said"),
    [
        (
            Coverage("whole", 2, 2, 1600, 1600),
            "the whole of 2 documents, 1,600 bytes; nothing predicts the first token of each",
        ),
        (
            Coverage("held-out", 3, 200, 900, None),
            "3 of 200 documents, held out, 900 bytes; --text FILE... scores whole files",
        ),
        (
            Coverage("held-out", 1000, None, 9000, None, 8),
            "1,000 documents, held out, 9,000 bytes, each cut after 8 tokens (data.max_doc_tokens); --text FILE... "
            "scores whole files",
        ),
    ],
)
def test_the_share_in_words(coverage: Coverage, said: str) -> None:
    assert coverage.in_words() == f"scored: {said}"


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (["more.txt"], 2, "unexpected argument more.txt; name files to score with --text FILE..."),
        (["--text", "nowhere.txt"], 2, "'nowhere.txt' does not exist"),
        (["--text", "more.txt", "nowhere.txt"], 2, "Invalid value for '--text': File 'nowhere.txt' does not exist."),
        (["--checkpoint", "other"], 2, "two checkpoints given, "),
        (["--text", "empty.txt", "empty.jsonl"], 3, "the 2 files of --text are empty; add text, or change --text"),
        (["--text", "short.jsonl"], 3, "too little text to score"),
    ],
)
def test_files_that_cannot_be_scored(finished: Path, tmp_path: Path, words: list[str], code: int, problem: str) -> None:
    for name, content in (
        ("more.txt", "text"),
        ("empty.txt", ""),
        ("empty.jsonl", ""),
        ("short.jsonl", '{"text": ""}\n'),
    ):
        (tmp_path / name).write_text(content)
    refused = run("eval", finished, *words, cwd=tmp_path)
    assert refused.returncode == code
    assert problem in refused.stderr


def test_the_harness_is_an_extra(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    done = run("lm-eval", finished, "--tasks", "arc_easy")
    assert done.returncode == 2
    assert "chomp lm-eval needs lm-evaluation-harness; install it with: pip install 'chomp[evals]'" in done.stderr


@pytest.mark.parametrize(
    ("raised", "code", "sentence"),
    [
        ("ValueError('Tasks not found: x')", 2, "lm-evaluation-harness: Tasks not found: x; `lm-eval ls tasks`"),
        ("FileNotFoundError('Unable to find t.jsonl')", 3, "cannot read the data of a task: Unable to find t.jsonl"),
        ("KeyError('a')", 2, "lm-evaluation-harness: KeyError: 'a' ("),
        ("size('text')", 1, "TypeError"),
    ],
)
def test_an_error_of_the_harness_is_no_fault_of_chomp(raised: str, code: int, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "lm_eval" / "tasks.py"
    with pytest.raises(Exception) as caught, harness_errors():  # noqa: PT011 - the kind is what is tested
        exec(compile(f"raise {raised}", file, "exec"), {"size": size})
    assert getattr(caught.value, "exit_code", 1) == code
    assert sentence in f"{type(caught.value).__name__} {caught.value}"


def test_a_folder_of_tasks_must_be_there(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    for words in (["--include_path", "nowhere"], ["--include_path=nowhere"]):
        done = run("lm-eval", finished, "--tasks", "x", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert "--include_path nowhere: there is no such folder" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tasks", "gone.jsonl"], "gone.jsonl does not exist; relative paths start at"),
        (["--tasks", "run"], "the run's configuration has no evaluation.tasks; name some with --tasks [NAME=]PATH"),
        (["--tasks", "a=b", "--tasks", "a=c"], "--tasks names two tasks 'a'; give them different names"),
        (["--tasks", "a", "--text", __file__], "--tasks and --text exclude each other"),
    ],
)
def test_tasks_that_cannot_be_scored(finished: Path, options: list[str], said: str) -> None:
    done = run("eval", finished, *options)
    assert done.returncode in (2, 3)
    assert said in done.stderr
