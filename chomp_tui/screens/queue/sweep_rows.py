"""Sweeps and their trials as cells of lists, and a sweep's settings side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

from textual.content import Content

from chomp.queue.table import JobRow
from chomp.record.formatting import one_line, sanitize
from chomp.sweep.folder import Trial
from chomp.sweep.report import SweepReport, prefix_line, value_text
from chomp.sweep.spec import Axis
from chomp_tui.screens.queue.job_rows import job_detail
from chomp_tui.widgets.listing import Column, Row, cell
from chomp_tui.widgets.looks import fact, look, loss_cell, loss_text, reason_cell

SWEEP_COLUMNS = (
    Column("name", "sweep", 20, middle=True, whole=True),
    Column("state", "state", 24, grow=1, rank=1),
    Column("best", "best", 30, grow=1, rank=2),
)
# The best trials have their places in the view by setting; the others are dots.
PLACES = 9


def sweep_row(report: SweepReport) -> Row:
    """A sweep as a line of the list."""
    best = report.ranking[0] if report.ranking and report.ranking[0].state == "complete" else None
    words = "" if best is None else f"{report.spec.metric} {loss_text(best.score)} · {values_text(best)}"
    return Row(
        report.name,
        {"name": cell(report.name), "state": cell(report.headline, look(report.state).tone), "best": cell(words)},
    )


def broken_row(name: str, problem: str) -> Row:
    """A sweep that cannot be read."""
    return Row(name, {"name": cell(name), "state": cell(problem, "bad")})


def values_text(trial: Trial) -> str:
    """The values of a trial in a line."""
    return "  ".join(f"{_short(key)}={value_text(value)}" for key, value in trial.values.items())


def trial_columns(report: SweepReport) -> tuple[Column, ...]:
    """Columns of the ranking: place, score, and each setting of the space."""
    settings = tuple(
        Column(key, _short(key), max(9, len(_short(key))), rank=3 + place, right=True)
        for place, key in enumerate(report.spec.space)
    )
    return (
        Column("place", "", 3, right=True),
        Column("score", report.spec.metric, 13, right=True),
        Column("step", "step", 8, rank=2, right=True),
        Column("state", "state", 9, rank=1),
        *settings,
        Column("reason", "why", 12, grow=1, rank=20),
    )


def _short(key: str) -> str:
    return one_line(key.rpartition(".")[2])


def trial_row(trial: Trial, place: int) -> Row:
    """A trial as a line of the ranking; `place` counts from 1."""
    cells = {
        "place": cell(str(place), "accent" if place <= PLACES and trial.state == "complete" else "muted"),
        "score": loss_cell(trial.score, "strong" if place == 1 else ""),
        "step": cell(f"{trial.step:,}", "muted"),
        "state": cell(trial.state, look(trial.state).tone),
        "reason": reason_cell(look(trial.state, trial.reason)),
    }
    cells |= {key: cell(value_text(value)) for key, value in trial.values.items()}
    return Row(str(trial.number), cells)


def sweep_detail(
    report: SweepReport,
    selected: Trial | None,
    width: int,
    *,
    compact: bool,
    job: JobRow | None = None,
    height: int = 0,
) -> Content:
    """Where the best trials lie in each setting, how much each setting matters, and the selected trial.

    Args:
        compact: one line for a setting.
        job: of the selected trial, where there is room for what its run has come to.
        height: lines of the panel.
    """
    if compact:
        names = max(len(_short(key)) for key in report.spec.space)
        lines = [
            Content.assemble((f"{_short(key):<{names}} ", "bold"), strip(key, axis, report.ranking, width - names - 6))
            + Content.styled(f" {report.importance[key]:4.0%}" if key in report.importance else "", "$muted")
            for key, axis in report.spec.space.items()
        ]
    else:
        marked = ", ▲ the selected one" if selected is not None else ""
        lines = [Content.styled(f"1 is the best trial{marked}", "$muted")]
        for key, axis in report.spec.space.items():
            matters = f"   importance {report.importance[key]:.0%}" if key in report.importance else ""
            head = Content.styled(sanitize(key), "bold") + Content.styled(matters, "$accent")
            lines += [head, strip(key, axis, report.ranking, width)]
            if selected is not None:
                lines.append(_pointer(key, axis, selected, width))
        lines.append(Content(""))
    if report.prefix is not None:
        tone = "$error" if report.prefix.state == "failed" else "$muted"
        lines.append(Content.styled(prefix_line(report.prefix), tone))
    lines.append(Content.styled(f"importance: {report.importance_note}", "$muted"))
    if selected is not None and job is not None:
        lines += [Content(""), Content.styled(f"trial {selected.number}: job {job.job.title}", "bold")]
        if selected.reason not in ("", job.when):
            lines.append(fact("why", selected.reason, width))
        lines.append(job_detail(job, width, height))
    elif selected is not None and selected.reason:
        lines += [Content(""), fact(f"trial {selected.number}", selected.reason, width)]
    return Content("\n").join(lines)


def strip(key: str, axis: Axis, ranking: Sequence[Trial], width: int) -> Content:
    """One setting as a line on which each trial has a mark at its value, the best ones by their places."""
    low, high = _ends(axis)
    room = _room(axis, width)
    cells, tones = ["─"] * room, ["$muted"] * room
    for place, trial in reversed(list(enumerate(ranking, 1))):
        at = round(_share(axis, trial.values.get(key)) * (room - 1))
        is_best = trial.state == "complete" and place <= PLACES
        cells[at], tones[at] = (str(place), "bold $accent") if is_best else ("·", "$foreground")
    marks = [Content.styled(one, tone) for one, tone in zip(cells, tones, strict=True)]
    return Content("").join([Content.styled(f"{low} ", "$muted"), *marks, Content.styled(f" {high}", "$muted")])


def _pointer(key: str, axis: Axis, trial: Trial, width: int) -> Content:
    """Below the strip of a setting, where a trial is."""
    at = round(_share(axis, trial.values.get(key)) * (_room(axis, width) - 1)) + len(_ends(axis)[0]) + 1
    text = value_text(trial.values.get(key))
    # To the left of the mark where there is no room at its right.
    return Content(" " * at + f"▲ {text}" if at + len(text) + 2 <= width else f"{text} ▲".rjust(at + 1))


def _room(axis: Axis, width: int) -> int:
    low, high = _ends(axis)
    return max(10, width - len(low) - len(high) - 2)


def _ends(axis: Axis) -> tuple[str, str]:
    if axis.choice is not None:
        return value_text(axis.choice[0]), value_text(axis.choice[-1])
    low, high = axis.limits or (0.0, 1.0)
    return value_text(low), value_text(high)


def _share(axis: Axis, value: object) -> float:
    """Where a value lies between the ends of its setting, from 0 to 1."""
    if axis.choice is not None:
        place = axis.choice.index(value) if value in axis.choice else 0
        return place / max(1, len(axis.choice) - 1)
    low, high = axis.limits or (0.0, 1.0)
    if not isinstance(value, (int, float)):
        return 0.0
    number = float(value)
    if axis.log is not None:
        low, high, number = math.log(low), math.log(high), math.log(max(number, low))
    return min(1.0, max(0.0, (number - low) / (high - low)))
