"""The newest numbers of a run, as a column or as one line."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from textual.content import Content
from textual.widgets import Static

from chomp.record.columns import Columns
from chomp.record.formatting import count, decimal, elapsed, hosts_of, one_line
from chomp.record.scores import main_number
from chomp_tui.live.snapshot import MISSING, RunSnapshot, said
from chomp_tui.screens.run.panel import TextPanel
from chomp_tui.widgets.update_if_changed import set_text

# The cell at which the numbers of the column end.
NUMBER_ENDS = 25
# More sets and tasks are in the charts alone.
MOST_SCORES = 6
_OF_EVAL = "bold $chart-eval"


@dataclass(frozen=True)
class Readout:
    """One number; `short` is its label in the line."""

    label: str
    value: str
    note: str = ""
    short: str = ""
    style: str = "bold"


def readouts(snapshot: RunSnapshot) -> list[Readout]:
    """All numbers, the most important first."""
    view, newest = snapshot.view, snapshot.shown
    eval_loss, bpb = snapshot.shown_eval("loss"), snapshot.shown_eval("bpb")
    tokens_seen = newest("tokens_seen") or view.tokens_seen
    best_step, best = best_eval(view.evals)
    lr_muon = newest("lr_muon")
    smoothed = [_smoothed(snapshot)] if snapshot.smoothing else []
    return [
        Readout("loss", said(newest("loss"), decimal), "", "loss", f"bold $chart-{'raw' if smoothed else 'smooth'}"),
        *smoothed,
        Readout("eval loss", said(eval_loss, decimal), _eval_note(snapshot), "eval", _OF_EVAL),
        Readout("bits per byte", said(bpb, decimal), "", "bits/byte", _OF_EVAL),
        Readout("best eval", said(best, decimal), f"at step {best_step:,}" if best_step else ""),
        *_scores(snapshot),
        Readout("tokens/s", said(newest("tokens_per_sec"), lambda value: count(round(value))), "", "tokens/s"),
        Readout("grad norm", said(newest("grad_norm"), "{:.3g}".format), "", "grad"),
        Readout("learning rate", said(newest("lr"), "{:.2e}".format), f"muon {lr_muon:.2e}" if lr_muon else "", "lr"),
        Readout("step time", said(newest("step_time_s"), elapsed), ""),
        Readout("MFU", said(newest("mfu"), "{:.1%}".format), "", "MFU"),
        Readout("packing efficiency", said(newest("packing_utilization"), "{:.1%}".format)),
        Readout("tokens seen", count(tokens_seen) if tokens_seen else MISSING, "", "tokens"),
        Readout("parameters", count(view.started.parameters) if view.started else MISSING, ""),
        Readout("compile", said(view.compiled.seconds if view.compiled else None, elapsed), _cached(snapshot)),
        *_slowest(snapshot),
    ]


def _scores(snapshot: RunSnapshot) -> list[Readout]:
    """Of each evaluation set its loss, of each task its accuracy, in runs that have such."""
    found = snapshot.shown_scores()
    more = len(found) - MOST_SCORES
    shown = [
        Readout(_cut(one_line(name), NUMBER_ENDS - len(number) - 1), number, f"at step {one.step:,}", "", _OF_EVAL)
        for name, one in list(found.items())[: MOST_SCORES if more > 0 else None]
        for number in [main_number(one)]
    ]
    return [*shown, *([Readout(f"and {more:,} more", "", "in the charts")] if more > 0 else [])]


def _cut(name: str, cells: int) -> str:
    return name if len(name) <= cells else f"{name[: cells - 1]}…"


def _slowest(snapshot: RunSnapshot) -> list[Readout]:
    """Of several processes the one that makes the others wait, and how long it takes for what a host does in a step."""
    index, started = snapshot.shown("slowest_process"), snapshot.view.started
    if index is None or not np.isfinite(index):
        return []
    hosts = hosts_of(started.device) if started is not None else []
    host = f" on {one_line(hosts[int(index)])}" if int(index) < len(hosts) else ""
    return [
        Readout("slowest process", said(snapshot.shown("host_s_max"), elapsed), f"process {int(index)}{host}"),
        Readout("median process", said(snapshot.shown("host_s_median"), elapsed)),
    ]


def _smoothed(snapshot: RunSnapshot) -> Readout:
    values, row = snapshot.smoothed, -1 if snapshot.pointed is None else snapshot.pointed
    value = float(values[row]) if len(values) else None
    return Readout("smoothed loss", said(value, decimal), f"{snapshot.smoothing} steps", "", "bold $chart-smooth")


def best_eval(evals: Columns) -> tuple[int, float | None]:
    """Step and loss of the lowest evaluation."""
    losses = evals["loss"]
    if not np.isfinite(losses).any():
        return 0, None
    index = int(np.nanargmin(np.where(np.isfinite(losses), losses, np.nan)))
    return int(evals["step"][index]), float(losses[index])


def _place(snapshot: RunSnapshot) -> str:
    """`At step 1,230` while there is a crosshair, else nothing."""
    return "" if snapshot.pointed is None else f"At step {snapshot.view.rows['step'][snapshot.pointed]:,.0f}"


def _eval_note(snapshot: RunSnapshot) -> str:
    step = snapshot.shown_eval("step")
    return f"at step {int(step):,}" if step is not None else ""


def _cached(snapshot: RunSnapshot) -> str:
    compiled = snapshot.view.compiled
    return compiled.source if compiled is not None else ""


class Tiles(TextPanel):
    """The column: the newest numbers, or those at the crosshair of the charts."""

    def draw(self, snapshot: RunSnapshot) -> None:
        title = _place(snapshot) or "Now"
        if self.border_title != title:
            self.border_title = title
        super().draw(snapshot)

    def text(self, snapshot: RunSnapshot, width: int) -> Content:
        lines = []
        for one in readouts(snapshot):
            # The longest label and the longest value meet in no line.
            value = Content.assemble((one.label, "$muted"), (f"{one.value:>{NUMBER_ENDS - len(one.label)}}", one.style))
            note = f"  {one.note}" if one.note and width >= NUMBER_ENDS + 2 + len(one.note) else ""
            lines.append(value + Content.styled(note, "$muted"))
        return Content("\n").join(lines)


class TileStrip(Static):
    """The line."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, markup=False)

    def draw(self, snapshot: RunSnapshot) -> None:
        """Show as many numbers as fit."""
        line = Content.styled(_place(snapshot).lower(), "bold $accent")
        for one in readouts(snapshot):
            if not one.short:
                continue
            part = Content.assemble((one.short, "$muted"), " ", (one.value, one.style))
            gap = 2 if line.plain else 0
            if line.cell_length + gap + part.cell_length <= self.size.width - 2:
                line = line + " " * gap + part
        has_numbers = len(snapshot.view.rows) or len(snapshot.view.evals)
        set_text(self, line if has_numbers else Content.styled("no numbers yet", "$muted"))
