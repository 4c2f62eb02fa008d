"""A run summary as cells of a list and as lines of detail."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from functools import lru_cache

from textual.content import Content

from chomp.record.formatting import count, duration, narrow, sanitize, size
from chomp.record.summary import RunSummary
from chomp_tui.chart.sparkline import sparkline
from chomp_tui.live.run_list import ConfigEntry
from chomp_tui.widgets.listing import Cell, Column, Row, cell

BAR_CELLS = 8
CURVE_CELLS = 13
FACT_CELLS = 8

RUN_COLUMNS = (
    Column("state", "state", 13),
    Column("name", "run", 29, grow=2, middle=True, whole=True),
    Column("step", "step", 13, rank=1, right=True, whole=True),
    Column("bar", "", BAR_CELLS, rank=7),
    Column("loss", "loss", 7, rank=1, right=True),
    Column("eval", "eval", 7, rank=6, right=True),
    Column("curve", "loss curve", CURVE_CELLS, rank=3),
    Column("age", "age", 6, rank=2, right=True),
    Column("size", "size", 8, rank=4, right=True),
    Column("reason", "why", 19, grow=1, rank=5),
)
CONFIG_COLUMNS = (
    Column("name", "file", 25, middle=True, whole=True),
    Column("purpose", "purpose", 12, grow=1, rank=1),
)


def run_row(run: RunSummary, now: float) -> Row:
    """A run as a line of the list; `now` is Unix time."""
    age = cell(duration(run.age_seconds(now)), "muted")
    return Row(str(run.path), {**_lasting_cells(run), "age": age})


@lru_cache(maxsize=4096)
def _lasting_cells(run: RunSummary) -> Mapping[str, Cell]:
    """The cells that change only with the run itself."""
    status = run.status
    return {
        "state": cell(f"{status.glyph} {status.word}", status.tone),
        "name": cell(run.name, "strong" if run.is_live else ""),
        "step": cell(steps_text(run)),
        "bar": progress_bar(run.step, run.total_steps),
        "loss": cell(loss_text(run.loss)),
        "eval": cell(loss_text(run.eval_loss), "accent"),
        "curve": cell(curve(run), "curve"),
        "size": cell(size(run.bytes) if run.bytes is not None else "…", "muted"),
        "reason": cell(status.reason, "bad" if status.tone == "bad" else "muted"),
    }


def config_row(entry: ConfigEntry) -> Row:
    """A configuration as a line of the list."""
    return Row(str(entry.path), {"name": cell(entry.path.name), "purpose": cell(entry.purpose, "muted")})


def steps_text(run: RunSummary) -> str:
    """`800/1,000`, `800/?` or `-`."""
    total = f"{run.total_steps:,}" if run.total_steps is not None else "?"
    return f"{run.step:,}/{total}" if run.status.state != "new" else "-"


def loss_text(value: float | None) -> str:
    """A loss in seven cells at most; a dash where there is none."""
    return "-" if value is None else narrow(value)


def progress_bar(step: int, total: int | None, cells: int = BAR_CELLS) -> Cell:
    """Done and left as a line of two weights."""
    if not total:
        return ()
    done = min(cells, step * cells // total)
    return (("━" * done, "accent"), ("─" * (cells - done), "muted"))


def curve(run: RunSummary) -> str:
    """The losses from the first step to the last in miniature; empty for fewer than two."""
    return sparkline(run.losses, CURVE_CELLS, "block") if len(run.losses) > 1 else ""


def run_detail(run: RunSummary, now: float, width: int, chart: str = "") -> Content:
    """The facts of a run, most important first.

    Args:
        now: Unix time.
        width: cells of a line.
        chart: lines of a curve to show between progress and places.
    """
    status = run.status
    colours = {"live": "$success", "good": "$success", "warn": "$warning", "bad": "$error"}
    head = Content.styled(f"{status.glyph} {status.word}", f"bold {colours.get(status.tone, '$muted')}")
    if status.reason:
        head += Content(f"  {sanitize(status.reason)}")
    elif run.is_live:
        head += Content(f"  pid {run.pid}, last event {duration(run.age_seconds(now))} ago")
    facts = [
        ("saved", _checkpoints(run)),
        ("forked", f"from step {run.origin.step:,} of {run.origin.run} ({run.origin.path})" if run.origin else ""),
        ("where", f"{run.path}{f', {size(run.bytes)}' if run.bytes is not None else ''}"),
        ("engine", _engine(run)),
        ("sample", " ".join(run.sample.split())),
    ]
    lines = [head, *(fact(name, text, width) for name, text in facts if text)]
    if chart:
        span = f"{loss_text(run.losses[0])} → {loss_text(run.losses[-1])}"
        lines[1:1] = [Content(""), Content.styled(chart, "$chart-smooth"), fact("loss", span, width), Content("")]
    return Content("\n").join(lines)


def tall_curve(run: RunSummary, width: int, height: int) -> str:
    """The losses from the first step to the last, `height` lines of `width` cells."""
    return sparkline(run.losses, width, height=height) if len(run.losses) > 1 else ""


def config_detail(entry: ConfigEntry, width: int) -> Content:
    """The facts in the header of a configuration, in lines of `width` cells."""
    facts = [("purpose", entry.purpose), ("needs", entry.hardware), ("takes", entry.wall_time)]
    return Content("\n").join([fact(name, text, width) for name, text in facts if text])


def fact(name: str, text: str, width: int) -> Content:
    """A name and its text, wrapped to `width` cells and indented behind the name."""
    wrapped = textwrap.wrap(sanitize(text), max(20, width - FACT_CELLS), break_on_hyphens=False) or [""]
    return Content.styled(f"{name:<{FACT_CELLS}}", "$muted") + Content(f"\n{' ' * FACT_CELLS}".join(wrapped))


def _checkpoints(run: RunSummary) -> str:
    if not run.checkpoints:
        return "no checkpoint yet" if run.is_live else "no checkpoint"
    shown = ", ".join(f"{step:,}" for step in run.checkpoints[-5:])
    more = len(run.checkpoints) - 5
    return f"step {shown}" + (f" and {more} earlier" if more > 0 else "")


def _engine(run: RunSummary) -> str:
    parts = [run.device]
    if run.parameters is not None:
        parts.append(f"{count(run.parameters)} parameters")
    if run.attempts:
        parts.append(f"attempt {run.attempts}")
    return " · ".join(part for part in parts if part)
