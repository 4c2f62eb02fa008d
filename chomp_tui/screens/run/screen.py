"""The run screen: curves, numbers, texts and state of one run, and the keys that steer it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from chomp.record.status import Status, status
from chomp_tui import keys
from chomp_tui.live.alerts import alerts
from chomp_tui.live.eta import eta_seconds
from chomp_tui.live.feed import RunUpdate
from chomp_tui.live.launched import status_with
from chomp_tui.live.news import RunNews
from chomp_tui.live.snapshot import RunSnapshot
from chomp_tui.screens.run import charts
from chomp_tui.screens.run.alert_bar import AlertBar, AlertList
from chomp_tui.screens.run.chart_keys import ChartKeys
from chomp_tui.screens.run.charts import SmoothedLoss
from chomp_tui.screens.run.checkpoints import RunCheckpoints
from chomp_tui.screens.run.dashboard import Dashboard
from chomp_tui.screens.run.dashboard_layout import TITLES
from chomp_tui.screens.run.facts import FactsPanel
from chomp_tui.screens.run.following import RunFollower
from chomp_tui.screens.run.gpu_strip import GpuStrip
from chomp_tui.screens.run.header import RunHeader
from chomp_tui.screens.run.log_view import LogPanel, LogView
from chomp_tui.screens.run.loss_placeholder import LOG_LINES, NO_RUN, NoticePanel, notice_of
from chomp_tui.screens.run.memory import MemoryPanel
from chomp_tui.screens.run.panel import TextPanel
from chomp_tui.screens.run.reporting import ReportingScreen
from chomp_tui.screens.run.startup import is_starting
from chomp_tui.screens.run.steering import Steering, SteeringKeys
from chomp_tui.screens.run.tab_strip import TabStrip
from chomp_tui.screens.run.tiles import Tiles, TileStrip
from chomp_tui.screens.run.time_budget import BudgetPanel
from chomp_tui.widgets.chart import LineChart
from chomp_tui.widgets.samples import SamplesPanel

# How often ages are looked at, and how much later than the next update they are drawn without one.
TICK_SECONDS, SLACK_SECONDS = 1.0, 0.4


class RunScreen(SteeringKeys, ChartKeys, ReportingScreen):
    """Watch and steer one run."""

    MODE = "run"
    PURPOSE = (
        "A run as it trains, or as it ended: loss, speed, memory, samples, log, checkpoints, time, and the keys that "
        "steer it. Leaving the console never ends a run."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("run")]
    AUTO_FOCUS = ""

    def __init__(self) -> None:
        super().__init__()
        self._path: Path | None = None
        self.follower: RunFollower | None = None
        self._steering = Steering(self)
        self._smoothed = SmoothedLoss()
        self._news = RunNews()
        self._drawn_at = 0.0
        self._is_starting = False

    # The run -----------------------------------------------------------------------------

    def show_run(self, path: Path) -> None:
        """Follow the run at `path` from now on; nothing of the previous run stays."""
        self._path = path
        self._steering.forget()
        self._smoothed, self._news = SmoothedLoss(), RunNews()
        self.charts.stale = True
        if self.follower is not None:
            self._follow(self.follower, path)

    def _follow(self, follower: RunFollower, path: Path) -> None:
        self.query_one(LogPanel).clear()
        self.charts.move(LineChart.zoom_reset)
        self.query_one(Dashboard).arrange_for(zoomed=None, notice=True)
        self.set_context(str(path))
        self.query_one(RunHeader).show_text(f"reading {path} …")
        follower.follow(path)

    def on_run_follower_updated(self, message: RunFollower.Updated) -> None:
        if self.follower is not None and self.follower.accept(message):
            update = message.update
            self.query_one(LogView).add(update.log_lines, restarted=update.log_restarted)
            self.charts.stale = True
            self._tell_news()
            self.redraw()

    def on_run_follower_facts_read(self, message: RunFollower.FactsRead) -> None:
        if self.follower is not None and self.follower.accept(message):
            self.redraw()

    # Lifecycle ---------------------------------------------------------------------------

    def compose_body(self) -> ComposeResult:
        yield RunHeader(id="run-header")
        yield GpuStrip(id="run-gpus")
        yield AlertBar(id="run-alerts")
        yield Dashboard(
            NoticePanel(id="notice"),
            TileStrip(id="strip"),
            TabStrip(id="tabs"),
            *(LineChart(chart.title, unit=chart.unit, shown=chart.shown, id=chart.name) for chart in charts.CHARTS),
            SamplesPanel(id="samples"),
            LogPanel(id="log"),
            RunCheckpoints(id="checkpoints"),
            Tiles("Now", id="tiles"),
            MemoryPanel("Memory", id="memory"),
            BudgetPanel("Time", id="time"),
            FactsPanel("Facts", id="facts"),
            AlertList("Alerts", id="alerts"),
            id="board",
        )

    def on_mount(self) -> None:
        state = self.chomp.state
        self.set_interval(TICK_SECONDS, self._tick)
        self.follower = RunFollower(self.post_safely, state.live)
        if self._path is not None:
            self._follow(self.follower, self._path)
        else:
            self.query_one(RunHeader).show_text("no run")
            self.query_one(NoticePanel).show(NO_RUN)

    def on_unmount(self) -> None:
        follower, self.follower = self.follower, None
        if follower is not None:
            follower.stop()

    def on_screen_resume(self) -> None:
        self.charts.stale = True
        self.call_after_refresh(self.redraw)

    def on_screen_suspend(self) -> None:
        self.query_one(GpuStrip).rest()

    def _tick(self) -> None:
        follower = self.follower
        if follower is None:
            return
        follower.check_launched()
        self._tell_news()
        # Where an update is about to come, it brings the new ages along; the times of a start count every second.
        if self._is_starting or time.monotonic() - self._drawn_at > follower.rest_seconds + SLACK_SECONDS:
            self.redraw()

    # Drawing -----------------------------------------------------------------------------

    def snapshot(self) -> RunSnapshot | None:
        """The run at this moment; None before anything was read."""
        follower = self.follower
        if follower is None or (update := follower.update) is None:
            return None
        now, settings = time.time(), self.chomp.state.settings
        log_end = self.query_one(LogView).last_lines(LOG_LINES * 2)
        made = self._status(follower, update, now)
        return RunSnapshot(
            update=update,
            now=now,
            status=made,
            alerts=alerts(update, made, now),
            eta_seconds=eta_seconds(update.view, now),
            facts=follower.facts,
            smoothed=self._smoothed.of(update.view.rows, settings.smoothing),
            smoothing=settings.smoothing,
            x_axis=settings.x_axis,
            cross=self.charts.cross,
            log_end=log_end,
            launched_at=follower.launched_at,
        )

    def _status(self, follower: RunFollower, update: RunUpdate, now: float) -> Status:
        log_end = self.query_one(LogView).last_lines(LOG_LINES * 2)
        return status_with(status(update.view, update.liveness, now), update.view, follower.launched, log_end)

    def _tell_news(self) -> None:
        """Call the user if the run has ended, crashed or turned non-finite, whichever screen is shown."""
        follower = self.follower
        if follower is not None and (update := follower.update) is not None:
            news = self._news.of(update, self._status(follower, update, time.time()))
            if news is not None:
                self.chomp.call_attention(news)

    def redraw(self) -> None:
        """Draw what has changed, if the screen is shown."""
        if not self.is_current:
            return
        snapshot = self.snapshot()
        if snapshot is None:
            return
        self._drawn_at = time.monotonic()
        self._is_starting = is_starting(snapshot)
        with self.app.batch_update():
            self._draw(snapshot)

    def _draw(self, snapshot: RunSnapshot) -> None:
        board = self.query_one(Dashboard)
        notice = notice_of(snapshot)
        board.arrange_for(zoomed=board.zoomed, notice=notice is not None, terms=bool(charts.terms_of(snapshot.view)))
        if notice is not None:
            self.query_one(NoticePanel).show(notice)
        elif self.focused is None:
            self.set_focus(self.query_one("#loss", LineChart))
        self.query_one(RunHeader).draw(snapshot)
        self.query_one(GpuStrip).draw(snapshot)
        self.query_one(AlertBar).draw(snapshot, self._steering.line(snapshot))
        self._draw_tabs(snapshot)
        self._steering.offer_for(snapshot)
        for panel in board.children:
            if not panel.display:
                continue
            if isinstance(panel, LogPanel):
                panel.draw(alone=board.zoomed is not None)
            elif isinstance(panel, TextPanel | SamplesPanel | RunCheckpoints | TileStrip):
                panel.draw(snapshot)
        self.charts.draw(snapshot)

    def _draw_tabs(self, snapshot: RunSnapshot) -> None:
        plan = self.query_one(Dashboard).plan
        titles = dict(TITLES)
        if snapshot.alerts:
            titles["alerts"] = f"Alerts {len(snapshot.alerts)}"
        self.query_one(TabStrip).show(titles, plan.tabs, plan.chosen)

    def on_dashboard_rearranged(self) -> None:
        self.charts.stale = True
        self.call_after_refresh(self.redraw)

    # Panels ------------------------------------------------------------------------------

    def go_back(self) -> None:
        """Show a filtered log whole again, then leave a zoomed panel, else go home."""
        board = self.query_one(Dashboard)
        if self.query_one(LogPanel).show_all():
            return
        if board.zoomed is not None:
            board.arrange_for(zoomed=None)
        else:
            super().go_back()

    def action_zoom_panel(self) -> None:
        """Show the focused panel alone, or all again; of checkpoints, open them."""
        board = self.query_one(Dashboard)
        panel = board.focused_panel()
        if isinstance(panel, RunCheckpoints):
            self.on_run_checkpoints_opened()
        elif board.zoomed is not None:
            board.arrange_for(zoomed=None)
        else:
            board.arrange_for(zoomed=(panel.id if panel is not None else None) or "loss")

    def on_run_checkpoints_opened(self) -> None:
        if self._path is not None:
            self.chomp.show_checkpoints(self._path)

    def on_tab_strip_chosen(self, event: TabStrip.Chosen) -> None:
        self.query_one(Dashboard).turn_to(event.name)

    def action_next_panel(self) -> None:
        """The next tab; while a panel is zoomed, the next panel."""
        self.query_one(Dashboard).turn(1)

    def action_previous_panel(self) -> None:
        """The previous tab or panel."""
        self.query_one(Dashboard).turn(-1)

    def action_mark(self) -> None:
        """Mark the selected sample."""
        self.query_one(SamplesPanel).mark()

    def action_compare_samples(self) -> None:
        """The selected sample beside an earlier one, with no other panel; or as before."""
        samples, snapshot = self.query_one(SamplesPanel), self.snapshot()
        if snapshot is not None:
            # A panel that is not shown is not drawn, and knows no samples yet.
            samples.draw(snapshot)
        samples.compare()
        # Two texts need the room of all panels.
        board = self.query_one(Dashboard)
        board.arrange_for(zoomed="samples" if samples.marked is not None else None)
        board.turn_to("samples")

    def action_panel(self, name: str) -> None:
        """One of the panels, by its digit."""
        self.query_one(Dashboard).turn_to(name)

    def action_other_prompt(self) -> None:
        """The samples of the next prompt."""
        self.query_one(SamplesPanel).other_prompt()

    def action_filter(self) -> None:
        """Show only log lines with a text, typed above them."""
        log = self.query_one(LogPanel)
        if log.display:
            log.ask()
        else:
            self.query_one(Dashboard).turn_to("log", then=log.ask)

    def action_resume(self) -> None:
        """Choose a checkpoint to resume from, once the run has ended."""
        snapshot = self.snapshot()
        if self._path is None or snapshot is None:
            self.chomp.notify("no run selected", severity="warning")
        elif snapshot.status.is_live:
            self.chomp.notify("this run is still training; stop it before resuming it", severity="warning")
        elif not snapshot.saved and snapshot.update.read_fraction == 1:
            self.chomp.notify(f"{self._path.name} has no checkpoint to resume from", severity="warning")
        else:
            self.chomp.show_checkpoints(self._path)

    def sent(self, *, is_written: bool) -> None:
        """A command was written, or could not be."""
        if not is_written:
            self.redraw()
        elif self.follower is not None:
            self.follower.poke()
