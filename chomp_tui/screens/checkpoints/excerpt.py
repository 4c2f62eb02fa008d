"""What a run says about one of its checkpoints: the losses before and after it, and the samples of its step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from textual.content import Content

from chomp.errors import ChompError
from chomp.record.json_text import number
from chomp.record.line_files import parse_line
from chomp.record.manifest import read_info
from chomp.record.rundir import RunDir
from chomp.record.samples import read_samples
from chomp.record.tail import last_row, thinned_losses
from chomp_tui.live.checkpoint_list import CheckpointRow
from chomp_tui.widgets.looks import facts
from chomp_tui.widgets.run_detail import curve_lines, loss_picture, setting_facts
from chomp_tui.widgets.samples import written

CURVE_POINTS = 96
# Samples in the panel, and characters of each; the screen's own key shows all of them.
MOST_SAMPLES, MOST_CHARACTERS = 3, 2_000
MARK = "▲"


@dataclass(frozen=True)
class Excerpt:
    """Of the run of a checkpoint.

    Attributes:
        losses: training losses from the first row to the last, thinned out.
        place: of the checkpoint's step between them, 0 to 1; None where the rows do not say.
        samples: prompt and text of the first samples of the step, in order, long ones cut.
        settings: those that the checkpoint was saved with, by dotted path.
    """

    losses: tuple[float, ...] = ()
    place: float | None = None
    samples: tuple[tuple[str, str], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


def read_excerpt(row: CheckpointRow) -> Excerpt:
    """Read the run's files; what cannot be read is left out."""
    from chomp.config.spec import flatten

    run = RunDir(row.run)
    try:
        identity = read_info(row.path).meta.get("identity")
    except ChompError:
        identity = None
    try:
        samples = read_samples(run.samples, [row.step])[row.step]
    except OSError:
        samples = []
    return Excerpt(
        thinned_losses(run.metrics, CURVE_POINTS),
        _place(run, row.step),
        tuple((one["prompt"][:MOST_CHARACTERS], one["text"][:MOST_CHARACTERS]) for one in samples[:MOST_SAMPLES]),
        flatten(identity) if isinstance(identity, dict) else {},
    )


def _place(run: RunDir, step: int) -> float | None:
    try:
        with run.metrics.open("rb") as rows:
            first = number((parse_line(rows.readline()) or {}).get("step"))
    except OSError:
        return None
    last = number((last_row(run.metrics) or {}).get("step"))
    return (step - first) / (last - first) if first <= step <= last and first < last else None


def excerpt_text(excerpt: Excerpt, width: int, height: int) -> Content:
    """The losses with a mark below the step, settings and samples, for a panel of `height` lines of `width` cells."""
    lines = loss_picture(excerpt.losses, width, curve_lines(height))
    if lines and excerpt.place is not None:
        mark = " " * round(excerpt.place * (width - 1)) + MARK
        lines.insert(1, Content.styled(mark, "$accent"))
    lines += [facts(setting_facts(excerpt.settings), width)]
    lines += [Content("\n") + written("sample", prompt, text) for prompt, text in excerpt.samples]
    return Content("\n").join(lines)
