"""Comparing the runs that are chosen on Home, and reporting about them."""

from __future__ import annotations

from collections.abc import Sequence

from chomp.record.summary import RunSummary
from chomp_tui.screens.base import ConsoleScreen
from chomp_tui.screens.reporting import ask_for_report
from chomp_tui.state import Console


def compare(console: Console, runs: Sequence[RunSummary]) -> None:
    """Show several runs on one chart, or a fork beside its parent; says so where there is nothing to compare."""
    if len(runs) == 1 and runs[0].origin is None:
        console.notify(f"{runs[0].name} is no fork; mark two runs or more with Space", severity="warning")
    else:
        console.compare_runs([run.path for run in runs])


def report(screen: ConsoleScreen, runs: Sequence[RunSummary]) -> None:
    """Ask where to write one report about these runs, then write it; a fork alone with its parent."""
    ask_for_report(screen, [run.path for run in runs])
