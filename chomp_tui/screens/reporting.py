"""Writes a report about one run or several, where the user wants it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chomp.errors import ChompError
from chomp_tui.platform.background import in_thread
from chomp_tui.screens.base import ConsoleScreen
from chomp_tui.state import ConsoleState
from chomp_tui.widgets.dialogs import Ask

FILE = "report.html"
# Letters of a run's name in the name of the proposed file.
NAME_LETTERS = 60


def ask_for_report(screen: ConsoleScreen, runs: Sequence[Path], *, axis: str = "step") -> None:
    """Ask where to write a report about these runs, the baseline first, then write it; a fork alone with its parent."""
    if not runs:
        screen.chomp.notify("no run selected", severity="warning")
        return
    if screen.chomp.refuse_read_only():
        return
    paths = list(runs)
    what = paths[0].name if len(paths) == 1 else f"{len(paths):,} runs"
    parent = "Beside a fork it shows the fork's parent. " if len(paths) == 1 else ""
    question = Ask(
        f"Write a report of {what}",
        value=str(proposed(paths)),
        text=f"One HTML page with curves, samples and settings. {parent}It replaces only an earlier report.",
        check=lambda text: None if text.strip() else "type the path of a file",
    )

    def write(place: str | None) -> None:
        if place is not None:
            screen.app.run_worker(_write(screen, paths, Path(place.strip()).expanduser(), axis))

    screen.app.push_screen(question, write)


def proposed(runs: Sequence[Path]) -> Path:
    """Where a report goes by default: of one run into its directory, of several beside the first, named after them."""
    if len(runs) == 1:
        return runs[0] / FILE
    first, second = (run.name[:NAME_LETTERS] for run in runs[:2])
    others = second if len(runs) == 2 else f"and-{len(runs) - 1}-more"
    return runs[0].parent / f"report-{first}-{others}.html"


async def _write(screen: ConsoleScreen, runs: Sequence[Path], place: Path, axis: str) -> None:
    """Write the report in a thread, and tell the user where it is and what is not in it."""
    chomp = screen.chomp
    try:
        written, missing = await in_thread(lambda: _report(runs, place, axis, chomp.state))
    except (ChompError, OSError) as error:
        chomp.notify(f"no report was written: {error}", severity="error")
        return
    for one in missing:
        chomp.notify(one, severity="warning")
    chomp.notify(f"wrote {written}")


def _report(runs: Sequence[Path], place: Path, axis: str, state: ConsoleState) -> tuple[Path, list[str]]:
    """The file, and a sentence for each run that is not in it."""
    # Imported here: the console's first frame does not wait for it.
    from chomp.queue.folder import QueueFolder
    from chomp.queue.table import jobs_of_runs
    from chomp.record.comparison import left_out
    from chomp.record.run_record import load_records
    from chomp.record.rundir import RunDir
    from chomp.record.same_batches import origin_of
    from chomp.report.write import write_report

    paths = list(runs)
    if len(paths) == 1 and (origin := origin_of(RunDir(paths[0]))) is not None:
        paths.append(origin)
    records, failed = load_records(paths)
    jobs = jobs_of_runs(QueueFolder(state.queue), [record.run.path for record in records])
    written = write_report(records, place, axis=axis, smoothing=state.settings.smoothing, jobs=jobs)
    return written, [left_out(path, error) for path, error in failed.items()]
