"""The key that writes a report of the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from chomp.errors import ChompError
from chomp_tui.platform.background import in_thread
from chomp_tui.widgets.dialogs import Ask

if TYPE_CHECKING:
    from chomp_tui.screens.run.screen import RunScreen

FILE = "report.html"


class ReportKey:
    """An action of the run screen."""

    def action_report(self: RunScreen) -> None:
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
                self.app.run_worker(_write(self, run, Path(place.strip()).expanduser()))

        self.app.push_screen(question, write)


async def _write(screen: RunScreen, run: Path, place: Path) -> None:
    """Write the report in a thread, and tell the user where it is."""
    try:
        written = await in_thread(lambda: _report(run, place))
    except (ChompError, OSError) as error:
        screen.chomp.notify(f"no report was written: {error}", severity="error")
        return
    screen.chomp.notify(f"wrote {written}", title="Report")


def _report(run: Path, place: Path) -> Path:
    # Imported here: the console's first frame does not wait for it.
    from chomp.record.run_record import load_record
    from chomp.report.write import write_report

    return write_report([load_record(run)], place)
