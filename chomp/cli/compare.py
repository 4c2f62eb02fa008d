"""`chomp compare`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from chomp.cli.options import PATH
from chomp.cli.runs import row_of
from chomp.record.codec import jsonable
from chomp.record.comparison import Comparison, Window, binned_losses, common_edges, compare, left_out, setting_text
from chomp.record.formatting import decimal, duration
from chomp.record.run_record import X_AXES, RunRecord, load_record, load_records
from chomp.record.same_batches import origin_of

PARTS = 8
CELLS = 40
LEAST_RUNS = 2


@click.command("compare")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=PATH)
@click.option("--x", "axis", type=click.Choice(X_AXES), default="step", show_default=True, help="Losses at equal x.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(runs: tuple[Path, ...], axis: str, as_json: bool) -> None:
    """Compare two or more runs: the settings that differ, the results, and the losses at equal steps.

    Of two runs that read the same batches, such as a fork and its parent, also the difference of their losses step by
    step, with a noise band. One RUN that is a fork is compared with its parent.

    A RUN that cannot be read is named on standard error and left out; fewer than two that can are an error.
    """
    records, unread = load_records(runs)
    for path, why in unread.items():
        click.echo(left_out(path, why), err=True)
    if len(runs) == 1:
        records = _with_origin(records[0])
    found = compare(records)
    curves = _curves(records, axis)
    if as_json:
        others = [{"run": str(path), "why": str(error)} for path, error in unread.items()]
        click.echo(json.dumps(jsonable({**_as_json(found, axis, curves), "left_out": others}), indent=1))
    else:
        click.echo(_text(found, axis, curves))
    if len(records) < LEAST_RUNS:
        click.get_current_context().exit(next(iter(unread.values())).exit_code)


def _with_origin(record: RunRecord) -> list[RunRecord]:
    origin = origin_of(record.run)
    if origin is None:
        raise click.UsageError(f"{record.name} has no parent to compare with; name two runs or more")
    return [load_record(origin), record]


def _curves(records: Sequence[RunRecord], axis: str) -> tuple[np.ndarray, list[np.ndarray]] | None:
    """Ends of equal parts of x, and the mean loss of each run in each part."""
    edges = common_edges(records, axis, PARTS)
    return None if edges is None else (edges[1:], [binned_losses(one, axis, edges) for one in records])


def _as_json(found: Comparison, axis: str, curves: tuple[np.ndarray, list[np.ndarray]] | None) -> dict[str, Any]:
    paired = found.paired
    return {
        "runs": [row_of(one.summary) for one in found.runs],
        "differences": [{"setting": one.path, "values": list(one.values)} for one in found.differences],
        "results": [{"name": one.name, "values": list(one.values), "best": one.best} for one in found.results],
        "curves": curves and {"x": axis, "at": curves[0].tolist(), "loss": [losses.tolist() for losses in curves[1]]},
        "batches": found.batches
        and {
            "same": found.batches.holds,
            "why": found.batches.why,
            "after_step": found.batches.after,
            "until_step": found.batches.until,
        },
        "paired": paired
        and {
            "verdict": paired.verdict,
            "rows": len(paired.steps),
            "newest": paired.newest and _window(paired.newest),
            "windows": [_window(one) for one in paired.windows],
        },
    }


def _window(window: Window) -> dict[str, Any]:
    mean = window.mean
    return {"first_step": window.first, "last_step": window.last, "mean": mean.value, "half_width": mean.half_width}


def _text(found: Comparison, axis: str, curves: tuple[np.ndarray, list[np.ndarray]] | None) -> str:
    settings = [[one.path, *map(setting_text, one.values)] for one in found.differences]
    results = [[one.name, *one.texts] for one in found.results]
    blocks = [_table("setting", found, settings) if settings else "no setting differs"]
    blocks.append(_table("result", found, results))
    if curves is None:
        blocks.append(f"there are no losses at equal {axis}: a run does not say its {axis}")
    else:
        losses = [
            [_x_text(axis, at), *("–" if np.isnan(one[place]) else decimal(one[place]) for one in curves[1])]
            for place, at in enumerate(curves[0])
        ]
        blocks.append(_table(f"mean train loss up to {axis}", found, losses))
    if found.batches is not None:
        blocks += [found.batches.why, *([found.paired.verdict] if found.paired else [])]
    return "\n\n".join(blocks)


def _x_text(axis: str, at: float) -> str:
    if axis == "time":
        return duration(at)
    return f"{at:.3g}" if axis == "flops" else f"{at:,.0f}"


def _table(title: str, found: Comparison, rows: Sequence[Sequence[str]]) -> str:
    """Lines with a column for each run; a long value loses its end."""
    lines = [[title, *(one.name for one in found.runs)], *rows]
    cut = [[text if len(text) <= CELLS else f"{text[: CELLS - 1]}…" for text in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*cut, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cut)
