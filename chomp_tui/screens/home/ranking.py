"""Which runs Home shows, in which order, and where forks are in their tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chomp.record.formatting import plural
from chomp.record.selection import Filter, sorted_runs, value_of
from chomp.record.summary import RunSummary
from chomp_tui.live.run_list import HomeSnapshot


@dataclass(frozen=True)
class Ranked:
    """A run in the list, and how many forks are between it and the first run of its tree."""

    run: RunSummary
    depth: int = 0


def ranked(
    runs: Sequence[RunSummary], chosen: Filter, *, sort: str = "", reverse: bool = False, tree: bool = False
) -> list[Ranked]:
    """The chosen runs in order; in a tree forks follow their parents, in the same order among each other."""
    shown = [run for run in runs if chosen.holds(run)] if chosen else list(runs)
    if sort:
        shown = sorted_runs(shown, sort, reverse=reverse)
    elif reverse:
        shown.reverse()
    return _tree(shown) if tree else [Ranked(run) for run in shown]


def headline(found: HomeSnapshot, marked: int, folder: Path | None) -> str:
    """How many runs there are.

    Args:
        folder: whose runs they are; None where there is no room to say so.
    """
    total = len(found.runs)
    if found.unread:
        return f"reading {total - found.unread:,} of {total:,} runs"
    parts = [plural(total, "run")]
    if folder is not None or not marked:
        parts.append(f"{sum(run.is_live for run in found.runs)} live")
    if marked:
        parts.append(f"{marked:,} marked")
    return ", ".join(parts) + (f" · {folder}" if folder is not None else "")


def _tree(runs: Sequence[RunSummary]) -> list[Ranked]:
    by_place = {str(run.path.absolute()): run for run in runs if not run.weights}
    by_name = {run.name: run for run in runs}
    forks: dict[str, list[RunSummary]] = {}
    roots = []
    for run in runs:
        parent = None
        if run.weights:
            parent = by_place.get(str(run.path.absolute()))
        elif run.origin is not None:
            parent = by_place.get(run.origin.path) or by_name.get(run.origin.run)
        if parent is None or parent is run:
            roots.append(run)
        else:
            forks.setdefault(parent.name, []).append(run)
    found: list[Ranked] = []
    waiting = [Ranked(run) for run in reversed(roots)]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += [Ranked(fork, one.depth + 1) for fork in reversed(forks.pop(one.run.name, []))]
    # Runs that name each other as parents, which chomp does not write, are in no tree.
    placed = {one.run.name for one in found}
    return [*found, *(Ranked(run) for run in runs if run.name not in placed)]


def best_of(runs: Sequence[Ranked]) -> RunSummary | None:
    """The run with the least loss of an evaluation, if it is the only one so good."""
    scored = [one.run for one in runs if one.run.best is not None]
    if len(scored) < 2:
        return None
    first, second = sorted_runs(scored, "eval")[:2]
    return first if value_of(first, "eval") != value_of(second, "eval") else None
