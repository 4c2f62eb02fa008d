"""Runs and configurations as cells of a list."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from textual.content import Content

from chomp.record.formatting import since, size, when
from chomp.record.selection import cell_text
from chomp.record.summary import RunSummary
from chomp_tui.chart.sparkline import sparkline
from chomp_tui.live.run_list import ConfigEntry
from chomp_tui.widgets.listing import Cell, Column, Row, cell
from chomp_tui.widgets.looks import (
    BAR_CELLS,
    facts,
    loss_cell,
    progress_bar,
    reason_cell,
    status_cell,
)

CURVE_CELLS = 13
# Of a column for a setting or a metric.
LEAST_CELLS, MOST_CELLS = 6, 14
NAME_WIDTH = 20

# By key, see `chomp.record.selection`; `bar` and `curve` are pictures. Evaluations have room at every width.
COLUMNS: Mapping[str, Column] = {
    column.key: column
    for column in (
        Column("state", "state", 13, rank=1),
        Column("name", "run", NAME_WIDTH, grow=2, middle=True, whole=True, comfort=36),
        Column("step", "step", 11, rank=2, right=True, whole=True),
        Column("eval", "eval", 7, right=True),
        Column("bpb", "bpb", 6, rank=1, right=True),
        Column("eval_step", "at step", 7, rank=8, right=True),
        Column("loss", "loss", 7, rank=4, right=True),
        Column("time", "when", 6, rank=3, right=True),
        Column("curve", "loss curve", CURVE_CELLS, rank=5),
        Column("size", "size", 8, rank=7, right=True),
        Column("bar", "", BAR_CELLS, rank=9),
        Column("reason", "why", 19, grow=1, rank=6),
    )
}
STANDARD = tuple(COLUMNS)
PICTURES = ("bar", "curve")
CONFIG_COLUMNS = (
    Column("name", "file", 25, middle=True, whole=True),
    Column("purpose", "purpose", 12, grow=1, rank=1),
)


def run_columns(keys: Sequence[str], sort: str = "", *, descends: bool = False) -> tuple[Column, ...]:
    """The columns of these keys, the standard ones without any; an arrow marks the one that orders the rows.

    A column that the user has added has room after name, evaluation and state, before all others.
    """
    made = [COLUMNS[key] if key in COLUMNS else _added(key) for key in keys or STANDARD]
    arrow = "↓" if descends else "↑"
    return tuple(replace(one, title=f"{one.title} {arrow}") if one.key == sort else one for one in made)


def _added(key: str) -> Column:
    title = key if len(key) <= MOST_CELLS - 2 else key.rpartition(".")[2][: MOST_CELLS - 2]
    return Column(key, title, max(LEAST_CELLS, len(title) + 2), rank=1, right=True, whole=True)


@dataclass(frozen=True)
class Place:
    """How a run is shown in the list.

    Attributes:
        depth: forks between it and the first run of its tree, in the tree of forks.
        is_marked: whether the user has marked it.
        is_best: whether no other run in the list has a better evaluation.
    """

    depth: int = 0
    is_marked: bool = False
    is_best: bool = False


def run_row(run: RunSummary, keys: Sequence[str], place: Place, now: float) -> Row:
    """A run as a line of the list; `now` is Unix time."""
    cells = {key: _CELLS[key](run) if key in _CELLS else _value_cell(run, key) for key in keys or STANDARD}
    return Row(str(run.path), {**cells, "name": _name(run, place), "time": _when(run, now), "eval": _eval(run, place)})


def _value_cell(run: RunSummary, key: str) -> Cell:
    text = cell_text(run, key)
    return cell(text or "-", "" if text else "muted")


_CELLS: Mapping[str, Callable[[RunSummary], Cell]] = {
    "state": lambda run: status_cell(run.status),
    "step": lambda run: cell(steps_text(run)),
    "bar": lambda run: progress_bar(run.step, run.total_steps),
    "loss": lambda run: loss_cell(run.loss),
    "curve": lambda run: cell(curve(run), "curve"),
    "size": lambda run: cell(size(run.bytes) if run.bytes is not None else "…", "muted"),
    "reason": lambda run: reason_cell(run.status),
}


def _name(run: RunSummary, place: Place) -> Cell:
    """Mark, place in the tree, names and tags."""
    parts = [(f"{'  ' * (place.depth - 1)}└ ", "muted")] if place.depth else []
    if place.is_marked:
        parts.append(("◆ ", "accent"))
    parts += cell(run.name, "strong" if run.is_live else "")
    if run.notes.name:
        parts += cell(f"  {run.notes.name}", "muted")
    if run.notes.problem:
        parts += cell("  notes unreadable", "bad")
    return (*parts, *((f" #{tag}", "curve") for tag in run.notes.tags))


def _eval(run: RunSummary, place: Place) -> Cell:
    if run.best is None:
        return loss_cell(None, "muted")
    return loss_cell(run.best.loss, "good" if place.is_best else "accent")


def _when(run: RunSummary, now: float) -> Cell:
    """The age of a live run's newest event; of any other run the time or date of it, which does not change."""
    if run.is_live or not run.last_t:
        return cell(since(run.age_seconds(now)) if run.last_t else "-", "muted")
    return cell(when(run.last_t, now), "muted")


def config_row(entry: ConfigEntry) -> Row:
    """A configuration as a line of the list."""
    return Row(str(entry.path), {"name": cell(entry.path.name), "purpose": cell(entry.purpose, "muted")})


def steps_text(run: RunSummary) -> str:
    """`800/1,000`, `800/?` or `-`."""
    total = f"{run.total_steps:,}" if run.total_steps is not None else "?"
    return f"{run.step:,}/{total}" if run.status.state != "new" else "-"


def curve(run: RunSummary) -> str:
    """The losses from the first step to the last in miniature; empty for fewer than two."""
    return sparkline(run.losses, CURVE_CELLS, "block") if len(run.losses) > 1 else ""


def config_detail(entry: ConfigEntry, width: int) -> Content:
    """The facts in the header of a configuration, in lines of `width` cells."""
    return facts([("purpose", entry.purpose), ("needs", entry.hardware), ("takes", entry.wall_time)], width)
