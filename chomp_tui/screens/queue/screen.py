"""The queue: its jobs in their order, and sweeps with their trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget

from chomp.queue.folder import QueueFolder
from chomp.queue.table import JobRow
from chomp.record.formatting import plural
from chomp.sweep.folder import Trial
from chomp.sweep.report import SweepReport
from chomp_tui import keys
from chomp_tui.live.queue_watch import QueueSnapshot, QueueWatch
from chomp_tui.platform.background import in_thread
from chomp_tui.screens.list_screen import ListScreen
from chomp_tui.screens.queue import actions
from chomp_tui.screens.queue.job_rows import JOB_COLUMNS, job_detail, job_row, unreadable_row
from chomp_tui.screens.queue.sweep_rows import (
    SWEEP_COLUMNS,
    broken_row,
    sweep_detail,
    sweep_row,
    trial_columns,
    trial_row,
)
from chomp_tui.widgets.dialogs import confirm
from chomp_tui.widgets.listing import Listing, Row
from chomp_tui.widgets.name_filter import NameFilter
from chomp_tui.widgets.update_if_changed import set_title


class QueueScreen(ListScreen):
    """Jobs and sweeps; Enter on a sweep shows its trials in place of the jobs, Esc the jobs again."""

    MODE = "queue"
    PURPOSE = (
        "Jobs that train one after another, and sweeps. The runner starts the next job when its device is free. Enter "
        "opens the run of a job, or the trials of a sweep; F12 in Configure adds a job."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("queue")]
    LIST = "job-list"
    COLUMNS = JOB_COLUMNS
    TICK_SECONDS = 5.0

    found: QueueSnapshot
    follower: QueueWatch | None

    def __init__(self) -> None:
        super().__init__()
        self.found = QueueSnapshot()
        self._sweep: str | None = None

    @property
    def queue(self) -> QueueFolder:
        return QueueFolder(self.chomp.state.queue)

    def compose_below(self) -> Sequence[Widget]:
        return [Vertical(Listing(SWEEP_COLUMNS, head=False, id="sweep-list"), id="queue-sweeps", classes="panel")]

    def on_mount(self) -> None:
        self.query_one("#queue-sweeps").border_title = "Sweeps"

    def follow(self, deliver: Callable[[QueueSnapshot], None]) -> QueueWatch:
        return QueueWatch(self.chomp.state.queue, deliver)

    # What is shown ---------------------------------------------------------------------

    def rows(self, now: float) -> list[tuple[str, Row]]:
        report = self.report()
        if report is not None:
            return [(str(trial.number), trial_row(trial, place)) for place, trial in enumerate(report.ranking, 1)]
        jobs = [(row.job.name, job_row(row)) for row in self.found.jobs]
        return [*jobs, *((str(one.id), unreadable_row(one)) for one in self.found.unreadable)]

    def draw(self) -> None:
        report = self.report()
        sweeps = self.query_one("#sweep-list", Listing)
        broken = [broken_row(name, problem) for name, problem in self.found.broken.items()]
        sweeps.show([*map(sweep_row, self.found.sweeps), *broken])
        self.query_one("#queue-sweeps").display = report is None and bool(sweeps.keys)
        self.listing.show_columns(JOB_COLUMNS if report is None else trial_columns(report))
        super().draw()
        runner = f"runner {self.found.runner}" if self.found.runner else "no runner: s starts it"
        title = f"Jobs · {runner}" if report is None else f"Sweep {report.name} · {report.headline}"
        set_title(self.query_one("#list-panel"), title)
        self.query_one("#queue").set_class(report is not None, "-sweep")
        running = sum(row.job.state == "running" for row in self.found.jobs)
        waiting = sum(row.job.state == "waiting" for row in self.found.jobs)
        self.set_context(f"{running} of {running + waiting} running")

    def empty_text(self) -> Content:
        if self._sweep is not None:
            return Content("This sweep has no trial yet: the runner adds them.")
        return Content.assemble(
            ("No jobs", "bold"),
            f" in {self.chomp.state.queue}.\n\nF12 in Configure adds the configuration on screen as a job, and s here "
            "starts the runner, which trains one job after another, also after you have logged out.",
        )

    def detail(self, width: int) -> tuple[str, Content]:
        report, row, height, compact = self.report(), self.row(), self.height_beside, self.has_class("-short")
        if report is not None:
            job = row if height else None
            return "Settings", sweep_detail(report, self.trial(), width, compact=compact, job=job, height=height)
        sweep = self.selected_sweep() if self._sweeps_focused else None
        if sweep is not None:
            return f"sweep {sweep.name}", sweep_detail(sweep, None, width, compact=compact)
        if row is None:
            return "", Content("")
        return f"job {row.job.title}", job_detail(row, width, height)

    def on_descendant_focus(self) -> None:
        self.draw_detail()

    # What is selected ------------------------------------------------------------------

    @property
    def _sweeps_focused(self) -> bool:
        return self.focused is not None and self.focused.id == "sweep-list"

    def report(self) -> SweepReport | None:
        """The sweep whose trials are shown; None while jobs are shown."""
        return next((report for report in self.found.sweeps if report.name == self._sweep), None)

    def selected_sweep(self) -> SweepReport | None:
        """The selected sweep in the list of sweeps."""
        key = self.selected("sweep-list")
        return next((report for report in self.found.sweeps if report.name == key), None)

    def row(self) -> JobRow | None:
        """The selected job, or that of the selected trial."""
        trial = self.trial()
        key = self.selected(self.LIST) if self._sweep is None else str(trial.job) if trial is not None else None
        return next((row for row in self.found.jobs if str(row.job.id) == key), None)

    def trial(self) -> Trial | None:
        """The selected trial of the sweep that is shown."""
        report, key = self.report(), self.selected(self.LIST)
        return next((one for one in report.ranking if str(one.number) == key), None) if report is not None else None

    # Keys ------------------------------------------------------------------------------

    def on_listing_opened(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        """Open the run of the job or trial, or show the trials of the sweep."""
        sweep = self.selected_sweep()
        if self._sweeps_focused and sweep is not None:
            self._sweep = sweep.name
            self.draw()
            self.listing.action_edge(0)
            self.listing.focus()
            return
        row, trial = self.row(), self.trial()
        run_dir = trial.run_dir if trial is not None else row.job.run_dir if row is not None else None
        path = self.queue.resolve(run_dir) if run_dir is not None else None
        if path is not None and path.is_dir():
            self.chomp.open_run(_near(path))
        elif row is not None or trial is not None:
            self.chomp.notify("it has not been started: there is no run yet", severity="warning")

    def go_back(self) -> None:
        if self._sweep is not None and not self.query_one(NameFilter).clear_away():
            self._sweep = None
            self.draw()
        elif self._sweep is None:
            super().go_back()

    def action_hold(self) -> None:
        """Hold the job, or release it."""
        self._with_job(lambda row: lambda: actions.hold_or_release(self.queue, row.job))

    def action_move(self, by: int) -> None:
        """Move the job by one place."""
        self._with_job(lambda row: lambda: actions.move(self.queue, row.job, by))

    def action_urgent(self) -> None:
        """Make the job urgent, or no longer."""
        self._with_job(lambda row: lambda: actions.turn_urgent(self.queue, row.job))

    def _with_job(self, work: Callable[[JobRow], Callable[[], str]]) -> None:
        row = self.row()
        if self.chomp.refuse_read_only():
            return
        if row is None:
            self.chomp.notify("select a job first", severity="warning")
            return
        self._carry_out(work(row))

    @work(group="queue")
    async def _carry_out(self, change: Callable[[], str]) -> None:
        text, is_done = await in_thread(lambda: actions.attempted(change))
        self.chomp.notify(text, severity="information" if is_done else "error")
        if self.follower is not None:
            self.follower.poke()

    @work(group="remove", exclusive=True)
    async def action_remove(self) -> None:
        """Remove the job, after asking."""
        row = self.row()
        job = row.job if row is not None else None
        key = str(job.id) if job is not None else self.selected(self.LIST) if self._sweep is None else None
        if key is None or self.chomp.refuse_read_only():
            return
        saves = "Its engine saves first. " if job is not None and job.state == "running" else ""
        question = confirm(f"Remove job {job.title if job else key}?", text=f"{saves}Its run stays.", yes="Remove it")
        if await self.app.push_screen_wait(question) == "yes":
            self._carry_out(lambda: actions.remove(self.queue, int(key), job))

    @work(group="runner", exclusive=True)
    async def action_runner(self) -> None:
        """Start the runner; end it after asking."""
        if self.chomp.refuse_read_only():
            return
        if self.found.runner is not None:
            running = sum(row.job.state == "running" for row in self.found.jobs)
            going_on = f" {plural(running, 'running engine')} will go on." if running else ""
            text = f"Nothing more is started.{going_on}"
            if await self.app.push_screen_wait(confirm("End the runner?", text=text, yes="End it")) != "yes":
                return
        self._carry_out(lambda: actions.turn_runner(self.queue))


def _near(path: Path) -> Path:
    """A path as the list of runs has it: relative to the working directory, where it lies in it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
