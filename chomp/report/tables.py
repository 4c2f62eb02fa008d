"""The numbers of runs as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from chomp.record.run_record import RunRecord

# A spreadsheet takes a cell that begins so for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def metrics_csv(runs: Sequence[RunRecord]) -> str:
    """One line for each step with a metrics row or an evaluation: run, step, then every number that some run has.

    Evaluations are in `eval_loss` and `eval_bpb`, those on command too. A value that is missing or not finite is empty.
    """
    merged = [(run.name, _merged(run)) for run in runs]
    names = list(dict.fromkeys(name for _, rows in merged for row in rows for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", *names])
    for run, rows in merged:
        name = f"'{run}" if run.startswith(FORMULA) else run
        writer.writerows([name, *(row.get(column, "") for column in names)] for row in rows)
    return text.getvalue()


def _merged(run: RunRecord) -> list[dict[str, str]]:
    """Rows and evaluations of a run by step, as texts."""
    rows, evals = run.view.rows, run.view.evals
    columns = {name: rows[name] for name in rows.names if name != "step"}
    found = {
        int(step): {"step": _text(step), **{name: _text(values[place]) for name, values in columns.items()}}
        for place, step in enumerate(rows["step"])
    }
    for place, step in enumerate(evals["step"]):
        row = found.setdefault(int(step), {"step": _text(step), "t": _text(evals["t"][place])})
        row |= {"eval_loss": _text(evals["loss"][place]), "eval_bpb": _text(evals["bpb"][place])}
    return [found[step] for step in sorted(found)]


def _text(value: float) -> str:
    """Whole numbers whole; others with the digits that their type has."""
    if not math.isfinite(value):
        return ""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else str(value)
