"""The layout of the run view's panels for a terminal size: pure geometry."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from textual.geometry import Region

from chomp_tui.screens.run.charts import SMALL_CHARTS, SOURCE_CHARTS

# Tabs that are several charts side by side.
GROUPS = {
    "charts": tuple(chart.name for chart in SMALL_CHARTS),
    "sources": tuple(chart.name for chart in SOURCE_CHARTS),
}
# Panels beside the loss, in the order of the tabs.
TITLES = {
    "charts": "Charts",
    "sets": "Sets",
    "tasks": "Tasks",
    "taskbits": "Task bits",
    "terms": "Terms",
    "sources": "Sources",
    "samples": "Samples",
    "log": "Log",
    "checkpoints": "Checkpoints",
    "memory": "Memory",
    "time": "Time",
    "facts": "Facts",
    "alerts": "Alerts",
}
# Charts that only some runs have numbers for.
EXTRA = ("sets", "tasks", "taskbits", "terms", "sources")
TILES_ROWS = 16
MEMORY_ROWS = 8
TIME_ROWS = 11
# A panel with fewer rows than it wants scrolls; with fewer than these it is left out.
LEAST_ROWS = 6


@dataclass(frozen=True)
class PanelPlan:
    """A layout.

    Attributes:
        regions: the part of the board that each shown panel takes; `tabs`, `notice` and `strip` are not panels.
        tabs: the panels that take turns in one place.
        chosen: the one of them that is there.
    """

    regions: Mapping[str, Region]
    tabs: tuple[str, ...] = ()
    chosen: str = ""


def panels(*, extra: Collection[str]) -> tuple[str, ...]:
    """The panels that can be shown alone, in order; `extra` as for `plan`."""
    return ("loss", *panels_of(_titles(extra)), "tiles")


def panels_of(tabs: Iterable[str]) -> tuple[str, ...]:
    """The panels below these tabs, in order."""
    return tuple(name for tab in tabs for name in GROUPS.get(tab, (tab,)))


def _titles(extra: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in TITLES if name in extra or name not in EXTRA)


def plan(
    width: int,
    height: int,
    *,
    chosen: str,
    zoomed: str | None = None,
    notice: bool = False,
    extra: Collection[str] = (),
) -> PanelPlan:
    """The layout of a board of `width` by `height` cells.

    Args:
        chosen: the panel to show where panels take turns.
        zoomed: the panel that is shown alone.
        notice: whether a notice takes the place of the loss chart.
        extra: the charts of `EXTRA` that the run has numbers for, and `samples` if it has any.
    """
    board = Region(0, 0, max(1, width), max(1, height))
    titles = _titles(extra)
    if zoomed is not None and (zoomed not in panels_of(EXTRA) or zoomed in panels_of(extra)):
        return PanelPlan({zoomed: board}, titles, chosen)
    if width >= 150 and height >= 38:
        made = _wide(board, titles, chosen, has_samples="samples" in extra)
    elif width >= 100:
        made = _medium(board, titles, chosen)
    else:
        made = _narrow(board, titles, chosen)
    if not notice:
        return made
    return PanelPlan(
        {("notice" if name == "loss" else name): r for name, r in made.regions.items()}, made.tabs, made.chosen
    )


def _narrow(board: Region, titles: tuple[str, ...], chosen: str) -> PanelPlan:
    """Readouts in a line, the loss, tabs, one panel."""
    strip, rest = board.split_horizontal(min(1, board.height - 1))
    loss, below = rest.split_horizontal(max(1, -(-rest.height * 11 // 20)))
    return _with_slot({"strip": strip, "loss": loss}, below, titles, chosen)


def _medium(board: Region, titles: tuple[str, ...], chosen: str) -> PanelPlan:
    """The loss and one panel, beside them a column of readouts."""
    side_width = 34 if board.width < 130 else 38
    main, side = board.split_vertical(board.width - side_width)
    stacked, left_out = _stack(side, (("tiles", TILES_ROWS), ("memory", MEMORY_ROWS), ("time", TIME_ROWS)))
    loss, below = main.split_horizontal(-(-main.height * 11 // 20))
    tabs = tuple(name for name in titles if name not in stacked or name in left_out)
    return _with_slot({**stacked, "loss": loss}, below, tabs, chosen)


def _wide(board: Region, titles: tuple[str, ...], chosen: str, *, has_samples: bool) -> PanelPlan:
    """Everything at once; only log, facts, alerts and the like take turns, and samples as long as there are none."""
    main, side = board.split_vertical(board.width - 44)
    parts = (("tiles", TILES_ROWS), ("memory", MEMORY_ROWS), ("time", TIME_ROWS), ("checkpoints", 6))
    stacked, left_out = _stack(side, parts)
    loss, rest = main.split_horizontal(main.height * 42 // 100)
    charts, below = rest.split_horizontal(max(8, main.height * 22 // 100))
    regions = {**stacked, "loss": loss, **_charts(charts, GROUPS["charts"])}
    turns: tuple[str, ...] = (*EXTRA, "log", "samples", "checkpoints", "facts", "alerts")
    if has_samples:
        regions["samples"], below = below.split_vertical(below.width // 2)
        turns = tuple(name for name in turns if name != "samples")
    tabs = tuple(name for name in turns if name in titles and (name not in stacked or name in left_out))
    return _with_slot(regions, below, tabs, chosen)


def _with_slot(regions: dict[str, Region], slot: Region, tabs: tuple[str, ...], chosen: str) -> PanelPlan:
    """Add the line of tabs and the chosen panel."""
    chosen = chosen if chosen in tabs else tabs[0]
    if slot.height < 3:
        return PanelPlan(regions, tabs, chosen)
    bar, panel = slot.split_horizontal(1)
    regions["tabs"] = bar
    if chosen in GROUPS:
        regions.update(_charts(panel, GROUPS[chosen]))
    elif chosen == "memory" and panel.width >= 76:
        regions["memory"], regions["device"] = panel.split_vertical(38)
    else:
        regions[chosen] = panel
    return PanelPlan(regions, tabs, chosen)


def _charts(area: Region, names: Sequence[str]) -> dict[str, Region]:
    """Small charts: side by side, or in two lines where they would be narrow and there is height for it."""
    if area.width >= len(names) * 24 or area.height < 14:
        return _side_by_side(area, names)
    upper, lower = area.split_horizontal(area.height // 2)
    half = -(-len(names) // 2)
    return _side_by_side(upper, names[:half]) | _side_by_side(lower, names[half:])


def _side_by_side(area: Region, names: Sequence[str]) -> dict[str, Region]:
    cuts = [area.x + area.width * i // len(names) for i in range(len(names) + 1)]
    return {name: Region(cuts[i], area.y, cuts[i + 1] - cuts[i], area.height) for i, name in enumerate(names)}


def _stack(area: Region, parts: tuple[tuple[str, int], ...]) -> tuple[dict[str, Region], list[str]]:
    """Panels of fixed heights from top to bottom, as many as fit; the last takes the rest. And those without room."""
    regions: dict[str, Region] = {}
    y, bottom = area.y, area.bottom
    left_out = [name for name, _ in parts]
    for name, rows in parts:
        if regions and y + min(rows, LEAST_ROWS) > bottom:
            break
        rows = min(rows, bottom - y)
        regions[name] = Region(area.x, y, area.width, rows)
        left_out.remove(name)
        y += rows
    last = list(regions)[-1]
    regions[last] = Region.from_corners(area.x, regions[last].y, area.right, bottom)
    return regions, left_out
