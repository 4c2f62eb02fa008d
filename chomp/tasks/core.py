"""The CORE bundle of nanochat: tasks as a table in YAML, their examples as JSON lines.

The layout, the order of examples and the choice of those that are shown first are those of nanochat's
`scripts/base_eval.py` and `nanochat/core_eval.py`; the metric is that of Li et al. 2024 (DataComp-LM,
arXiv 2406.11794).
"""

import csv
import io
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from chomp.data.sources.formats import reading
from chomp.errors import DataError
from chomp.tasks.lines import Place, example, label_of, read_rows, shown, text_of, texts_of
from chomp.tasks.task import Choice, Example, Task

TABLE = "core.yaml"
CHANCES = "eval_meta_data.csv"
DATA = "eval_data"
ORDER_SEED = 1337
SHOTS_SEED = 1234

Row = tuple[str, dict[str, Any]]
"""File and line, and the object there."""


def read_core(folder: Place, name: str) -> Iterator[Task]:
    """The tasks of a bundle, named `name/LABEL`.

    Raises:
        DataError: a file is missing, or an entry or a line is not of the layout.
    """
    where = shown(folder / TABLE)
    try:
        table = yaml.safe_load(_text(folder / TABLE))
    except yaml.YAMLError:
        raise DataError(f"{where} is not valid YAML") from None
    tasks = table.get("icl_tasks") if isinstance(table, dict) else None
    if not isinstance(tasks, list) or not tasks:
        raise DataError(f"{where}: `icl_tasks` must be a list of tasks")
    chances = _chances(folder / CHANCES)
    for number, entry in enumerate(tasks, 1):
        at = f"{where}: task {number}"
        if not isinstance(entry, dict):
            raise DataError(f"{at} must be an object")
        label = text_of(entry, "label", at)
        rows = list(read_rows(folder / DATA / text_of(entry, "dataset_uri", at)))
        random.Random(ORDER_SEED).shuffle(rows)
        if not rows:
            raise DataError(f"{at} ({label}) has no examples")
        examples = tuple(_examples(rows, entry, at))
        yield Task(f"{name}/{label}", examples, chances.get(label), norm="token")


def _examples(rows: list[Row], entry: Mapping[str, Any], at: str) -> Iterator[Example]:
    kind, delimiter = text_of(dict(entry), "icl_task_type", at), entry.get("continuation_delimiter", " ")
    if kind not in KINDS:
        raise DataError(f"{at}: `icl_task_type` must be one of {', '.join(KINDS)}, got {kind!a}")
    shots = entry.get("num_fewshot")
    shots = shots[0] if isinstance(shots, list) and shots else shots
    if not isinstance(shots, int) or not 0 <= shots < len(rows) or not isinstance(delimiter, str):
        raise DataError(f"{at}: `num_fewshot` must be a list of one number below that of the examples, {len(rows)}")
    made = [KINDS[kind](row, where, delimiter) for where, row in rows]
    for number, one in enumerate(made):
        others = [other for other in range(len(made)) if other != number]
        chosen = random.Random(SHOTS_SEED + number).sample(others, shots)
        before = "".join(f"{_answered(made[other])}\n\n" for other in chosen)
        yield Example(
            tuple(Choice(before + choice.context, choice.continuation) for choice in one.choices), one.label, one.place
        )


def _answered(shown_first: Example) -> str:
    right = shown_first.choices[shown_first.label]
    return right.context + right.continuation


def _multiple_choice(row: dict[str, Any], where: str, delimiter: str) -> Example:
    query, answers = text_of(row, "query", where), texts_of(row, "choices", where)
    return example(tuple(Choice(query, delimiter + answer) for answer in answers), label_of(row, "gold", where), where)


def _schema(row: dict[str, Any], where: str, delimiter: str) -> Example:
    """One continuation, for which the right one of several contexts is looked for."""
    contexts, answer = texts_of(row, "context_options", where), delimiter + text_of(row, "continuation", where)
    return example(tuple(Choice(context, answer) for context in contexts), label_of(row, "gold", where), where)


def _language_modeling(row: dict[str, Any], where: str, delimiter: str) -> Example:
    context, answer = text_of(row, "context", where).strip(), text_of(row, "continuation", where)
    return example((Choice(context, delimiter + answer),), 0, where)


KINDS: Mapping[str, Callable[[dict[str, Any], str, str], Example]] = {
    "multiple_choice": _multiple_choice,
    "schema": _schema,
    "language_modeling": _language_modeling,
}


def _chances(place: Place) -> dict[str, float]:
    """The accuracy of a guess by task, which the file gives in percent."""
    if not place.exists():
        return {}
    found = {}
    for row in csv.DictReader(io.StringIO(_text(place))):
        try:
            found[str(row.get("Eval Task"))] = float(row.get("Random baseline") or "nan") / 100
        except ValueError:
            raise DataError(f"{shown(place)}: `Random baseline` must be a number of percent") from None
    return {name: chance for name, chance in found.items() if 0 <= chance < 1}


def _text(place: Place) -> str:
    with reading(Path(shown(place))):
        content = place.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{shown(place)} is not UTF-8") from None
