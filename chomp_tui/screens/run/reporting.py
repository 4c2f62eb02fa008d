"""Writes a report of the run where the user wants it."""

from __future__ import annotations

from pathlib import Path

from chomp.errors import ChompError
from chomp_tui.live.snapshot import RunSnapshot
from chomp_tui.platform.background import in_thread
from chomp_tui.screens.base import ConsoleScreen
from chomp_tui.widgets.dialogs import Ask

FILE = "report.html"


class ReportingScreen(ConsoleScreen):
    """A screen that shows a run, with the action that writes a report of it."""

    def snapshot(self) -> RunSnapshot | None:
        """The run at this moment; None before anything was read."""
        raise NotImplementedError

    def action_report(self) -> None:
        """Ask where to write a report, then write it."""
        snapshot = self.snapshot()
        if snapshot is None:
            self.chomp.notify("no run selected", severity="warning")
            return
        if self.chomp.refuse_read_only():
            return
        run = snapshot.update.run.path
        question = Ask(
            f"Write a report of {snapshot.update.run.name}",
            value=str(run / FILE),
            text="One HTML page with curves, samples and settings. It replaces only an earlier report.",
            check=lambda text: None if text.strip() else "type the path of a file",
        )

        def write(place: str | None) -> None:
            if place is not None:
                self.app.run_worker(_write(self, run, Path(place.strip()).expanduser(), snapshot.smoothing))

        self.app.push_screen(question, write)


async def _write(screen: ConsoleScreen, run: Path, place: Path, smoothing: int) -> None:
    """Write the report in a thread, and tell the user where it is."""
    try:
        written = await in_thread(lambda: _report(run, place, smoothing))
    except (ChompError, OSError) as error:
        screen.chomp.notify(f"no report was written: {error}", severity="error")
        return
    screen.chomp.notify(f"wrote {written}")


def _report(run: Path, place: Path, smoothing: int) -> Path:
    # Imported here: the console's first frame does not wait for it.
    from chomp.record.run_record import load_record
    from chomp.report.write import write_report

    return write_report([load_record(run)], place, smoothing=smoothing)
