"""The pre-flight panel: size, length, memory, learning rate and hints of a run with this configuration."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from chomp.record.formatting import count, duration, elapsed, moment, one_line, plural, sanitize, size
from chomp_tui.config.preflight import FULL, TIGHT, Report, fit
from chomp_tui.screens.configure.card_panel import card_text, estimate_text

BAR_CELLS = 10
# Of a name and its value, which is on the right.
ROW_CELLS = 36
MAX_PARTS = 6
OUTDATED_OPACITY = 0.6
# Share of the device's peak that the estimate of time assumes.
UTILISATION = 0.4
_TONES = {
    "fits": ("✓", "$success"),
    "tight": ("!", "$warning"),
    "does not fit": ("✗", "$error"),
    "unknown": ("?", "$muted"),
}
_STATES = {
    "waiting": ("…", "$muted"),
    "computing": ("…", "$muted"),
    "done": ("✓", "$success"),
    "failed": ("✗", "$error"),
}
_PARTS = ("parameters", "optimizer", "gradients", "activations", "gathered")


class PreflightPanel(VerticalScroll, can_focus=True):
    """Draws a pre-flight report."""

    BORDER_TITLE = "Pre-flight"

    def __init__(self) -> None:
        super().__init__(id="preflight", classes="panel")
        self._schedule: object = None
        self._hints: tuple[str, ...] = ()
        self._notes: tuple[str, ...] = ()
        self._problems: tuple[str, ...] = ()

    def compose(self) -> ComposeResult:
        yield Static("", id="pf-state")
        # Above the figures: what keeps a run from starting must not be scrolled away.
        yield Static("", id="pf-hints")
        with Vertical(id="pf-body"):
            yield Static("", id="pf-figures")
            with Vertical(id="pf-right"):
                yield Static("", id="pf-memory")

    def show(self, report: Report) -> None:
        """Draw a report."""
        self.query_one("#pf-state", Static).update(state_line(report))
        figures = report.figures
        body = self.query_one("#pf-body")
        # Not a class: that would style all that is in the panel anew twice for each change of a setting.
        body.styles.opacity = OUTDATED_OPACITY if report.is_outdated else 1.0
        body.display = bool(figures)
        if figures:
            self.query_one("#pf-figures", Static).update(figures_text(figures))
            self.query_one("#pf-memory", Static).update(memory_text(figures, report.limit))
            self._show_schedule(figures.get("schedule") or [], figures.get("continues_from"))
        warnings = (figures.get("start") or {}).get("warnings") or ()
        self._notes = tuple(map(str, (*(figures.get("notes") or ()), *warnings)))
        self._problems = () if report.state == "failed" else report.problems
        self._say_hints()

    def show_hints(self, notes: Sequence[str]) -> None:
        """Draw the hints of the validation."""
        self._hints = tuple(notes)
        self._say_hints()

    def _say_hints(self) -> None:
        rows = [Content.styled(f"✗ {sanitize(problem)}", "$error") for problem in self._problems]
        rows += [Content.assemble(("! ", "$warning"), sanitize(note)) for note in (*self._notes, *self._hints)]
        self.query_one("#pf-hints", Static).update(Content("\n").join(rows))
        self.query_one("#pf-hints").display = bool(rows)

    def _show_schedule(self, points: Sequence[Sequence[float]], origin: int | None) -> None:
        """Draw the learning rate; the part before the checkpoint that a run continues from is dim."""
        if (points, origin) == self._schedule:
            return
        self._schedule = points, origin
        # Imported with the first figures, so that the screen opens sooner.
        import numpy as np

        from chomp_tui.chart.series import Series
        from chomp_tui.widgets.chart import LineChart

        table = np.asarray(points, dtype=float).reshape(-1, 2)
        chart = next(iter(self.query(LineChart)), None)
        if chart is None:
            chart = LineChart("learning rate", shown="all", id="pf-schedule")
            self.query_one("#pf-right").mount(chart)
        steps, rates = table[:, 0], table[:, 1]
        lines = [Series("last", steps[steps > (origin or 0)], rates[steps > (origin or 0)], "smooth")]
        if origin:
            lines.insert(0, Series(f"to step {origin:,}", steps[steps <= origin], rates[steps <= origin], "dim"))
        chart.show(lines, title=f"learning rate, peak {rates.max(initial=0):.3g}")


def state_line(report: Report) -> Content:
    """One line: whether the figures are up to date, and if not, why."""
    glyph, tone = _STATES[report.state]
    if report.state == "computing":
        words = "compiling the step; this may take minutes" if report.is_compiling else "estimating…"
        words += "  (figures of an earlier version)" if report.is_outdated else ""
    elif report.state == "waiting":
        words = report.message or "no estimate yet"
        words += "  (figures of an earlier version)" if report.is_outdated else ""
    elif report.state == "failed":
        words = f"no estimate: {report.message}"
    else:
        words = "up to date"
    return Content.assemble((f"{glyph} ", tone), (sanitize(words), tone if report.state == "failed" else "$muted"))


def failure(report: Report) -> Content:
    """Why a run cannot start, or why the engine could not estimate the configuration."""
    if report.state == "failed":
        return Content.styled(f"✗ {one_line(report.message)}", "$error")
    return Content.styled(f"✗ cannot start: {one_line(report.problems[0])}" if report.problems else "", "$error")


def digest(report: Report) -> Content:
    """The figures that matter most, for one line."""
    figures = report.figures
    if not figures:
        return Content.styled("estimating…" if report.state == "computing" else "", "$muted")
    total = figures["memory"].get("total") or 0
    verdict = fit(total, report.limit[0] if report.limit else None)
    glyph, tone = _TONES[verdict]
    parts = Content(f"{count(figures['parameters'])} parameters · {size(total)} ")
    parts += Content.styled(f"{glyph} {verdict}" if report.limit else "", tone)
    return parts.stylize("$muted") if report.is_outdated else parts


def figures_text(figures: Mapping[str, Any]) -> Content:
    """Size and length of the run as aligned rows."""
    rows = [_row("parameters", f"{figures['parameters']:,}", strong=True)]
    parts = [(name, number) for name, number in figures.get("breakdown", {}).items() if name != "total" and number]
    parts.sort(key=lambda part: -part[1])
    rest = sum(number for _, number in parts[MAX_PARTS - 1 :])
    shown = [*parts[: MAX_PARTS - 1], ("others", rest)] if len(parts) > MAX_PARTS else parts
    rows += [_row(f"  {name.replace('_', ' ')}", f"{number:,}", dim=True) for name, number in shown]
    per = figures.get("tokens_per_parameter") or 0
    rows += [
        _row("tokens per step", f"{figures['tokens_per_step']:,}"),
        _row("tokens in total", count(figures["total_tokens"])),
        _row("tokens per parameter", f"{per:.3g}"),
        _row("FLOPs in total", f"{figures['total_flops']:.2e}"),
        *_recomputed(figures),
        *_start(figures),
        *_time(figures),
        _row("device", sanitize(str(figures["device"].get("name", "?")))),
        *_mesh(figures),
    ]
    return Content("\n").join(rows)


def _mesh(figures: Mapping[str, Any]) -> list[Content]:
    """How several devices share a step."""
    mesh = (figures.get("start") or {}).get("mesh")
    if not mesh:
        return []
    return [
        _row("devices", f"{mesh['devices']}"),
        _row("data × fsdp", f"{mesh['data']} × {mesh['fsdp']}"),
        _row("rows on each, at once", f"{mesh['grad_accum']} × {mesh['rows']}"),
    ]


def _recomputed(figures: Mapping[str, Any]) -> list[Content]:
    more = figures.get("recomputed_flops_per_token")
    return [_row("recomputed", f"{more / figures['flops_per_token']:.0%} more")] if more else []


def _start(figures: Mapping[str, Any]) -> list[Content]:
    """What a run reads and writes."""
    start = figures.get("start") or {}
    text, room, rows = start.get("text") or {}, start.get("checkpoints"), []
    if text.get("files") is not None:
        rows.append(_row("text", f"{plural(text['files'], 'file')}, {size(text['bytes'])}"))
    if text.get("tokens") is not None:
        about = "about " * bool(text.get("is_estimate"))
        rows.append(_row("tokens of the text", f"{about}{count(text['tokens'])}"))
    for source in start.get("sources") or ():
        epochs = f", {source['epochs']:.3g} epochs" if source.get("epochs") is not None else ""
        rows.append(_row(sanitize(str(source["name"])), f"{source['share']:.1%}{epochs}"))
    if start.get("epochs") is not None:
        rows.append(_row("epochs", f"{start['epochs']:.3g}"))
    if room:
        rows.append(_row("checkpoints, at most", f"{room['count']} × {size(room['each'])}"))
        rows.append(_row("disk free", size(room["free"])))
    return rows


def _time(figures: Mapping[str, Any]) -> list[Content]:
    measured = (figures.get("start") or {}).get("duration")
    if measured:
        step, run = elapsed(measured["step_seconds"]), one_line(measured["run"])
        # A time of day stays true for as long as the figures are shown.
        source = f"  {step} a step in {run},\n  measured {moment(measured['measured_at'], time.time())}"
        return [_row("time, as measured", f"about {duration(measured['seconds'])}"), Content.styled(source, "$muted")]
    peak = figures.get("peak_flops")
    if not peak:
        return []
    seconds = figures["total_flops"] / (peak * UTILISATION)
    return [_row(f"time at {UTILISATION:.0%} of peak", f"about {duration(seconds)}")]


def memory_text(figures: Mapping[str, Any], limit: tuple[float, str] | None) -> Content:
    """Memory by part as bars against what there is, and the verdict."""
    parts = figures["memory"]
    total = parts.get("total") or sum(parts.get(part) or 0 for part in _PARTS)
    scale = max(total, 1)
    each = ", each device" if _mesh(figures) else ", estimated"
    rows = [_row(f"memory{each}", size(total), strong=True)]
    rows += [_bar(part, parts.get(part) or 0, scale) for part in _PARTS if part in parts]
    compiled = parts.get("compiled")
    if compiled:
        rows.append(_row("memory, compiled (XLA)", size(compiled.get("total", sum(compiled.values()))), strong=True))
        top = max([*(number for name, number in compiled.items() if name != "total"), 1])
        rows += [_bar(name.replace("_", " "), number, top) for name, number in compiled.items() if name != "total"]
        total = compiled.get("total", total)
    rows.append(_verdict(total, limit))
    if "card" in figures and figures["card"] is not None:
        rows.append(card_text(figures["card"]))
    elif figures.get("card_estimate"):
        rows.append(estimate_text(figures["card_estimate"]))
    elif not compiled:
        rows.append(Content.styled("  F10: XLA's memory analysis", "$muted"))
    return Content("\n").join(rows)


def _verdict(total: float, limit: tuple[float, str] | None) -> Content:
    verdict = fit(total, limit[0] if limit else None)
    glyph, tone = _TONES[verdict]
    if limit is None:
        return Content.styled("? device memory unknown", tone)
    share = total / limit[0]
    return Content.assemble(
        (f"{glyph} {verdict}", f"bold {tone}"),
        f"  {share:.0%} of {size(limit[0])}",
        (f"\n  {limit[1]}\n  fits below {TIGHT:.0%}, tight below {FULL:.0%}", "$muted"),
    )


def _row(name: str, value: str, *, strong: bool = False, dim: bool = False) -> Content:
    style = "bold" if strong else "$muted" if dim else ""
    room = max(ROW_CELLS - len(name), len(value) + 1)
    return Content.assemble((name, style if strong or dim else "$muted"), (f"{value:>{room}}", style))


def _bar(name: str, number: float, scale: float) -> Content:
    cells = number / scale * BAR_CELLS
    full = int(cells)
    part = "▏▎▍▌▋▊▉"[int((cells - full) * 8) - 1] if int((cells - full) * 8) else ""
    bar = ("█" * full + part).ljust(BAR_CELLS)
    return Content.assemble((f"  {name[:13]:<14}", "$muted"), (bar, "$primary"), f"{size(number):>10}")
