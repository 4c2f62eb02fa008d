"""Writes a report of the run where the user wants it."""

from __future__ import annotations

from pathlib import Path

from chomp.errors import ChompError
from chomp_tui.live.snapshot import RunSnapshot
from chomp_tui.platform.background import in_thread
from chomp_tui.screens.base import ConsoleScreen
from chomp_tui.state import Console
from chomp_tui.widgets.dialogs import Ask

FILE = "report.html"


def ask_for_report(screen: ConsoleScreen, snapshot: RunSnapshot | None) -> None:
    """Ask where to write a report of the run, then write it."""
    if snapshot is None:
        screen.chomp.notify("no run selected", severity="warning")
        return
    if screen.chomp.refuse_read_only():
        return
    run, smoothing = snapshot.update.run, snapshot.smoothing
    question = Ask(
        f"Write a report of {run.name}",
        value=str(run.path / FILE),
        text="One HTML page with curves, samples and settings. It replaces only an earlier report.",
        check=lambda text: None if text.strip() else "type the path of a file",
    )

    def write(place: str | None) -> None:
        if place is not None:
            screen.app.run_worker(_write(screen.chomp, run.path, Path(place.strip()).expanduser(), smoothing))

    screen.app.push_screen(question, write)


async def _write(chomp: Console, run: Path, place: Path, smoothing: int) -> None:
    """Write the report in a thread, and tell the user where it is."""
    try:
        written = await in_thread(lambda: _report(run, place, smoothing, chomp.state.queue))
    except (ChompError, OSError) as error:
        chomp.notify(f"no report was written: {error}", severity="error")
        return
    chomp.notify(f"wrote {written}")


def _report(run: Path, place: Path, smoothing: int, queue: Path) -> Path:
    # Imported here: the console's first frame does not wait for it.
    from chomp.queue.folder import QueueFolder
    from chomp.queue.table import jobs_of_runs
    from chomp.record.run_record import load_record
    from chomp.report.write import write_report

    record = load_record(run)
    jobs = jobs_of_runs(QueueFolder(queue), [record.run.path])
    return write_report([record], place, smoothing=smoothing, jobs=jobs)
