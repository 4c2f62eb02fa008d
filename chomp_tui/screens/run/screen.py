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
from chomp_tui.screens.base import ConsoleScreen
from chomp_tui.screens.reporting import ask_for_report
from chomp_tui.screens.run import charts
from chomp_tui.screens.run.alert_bar import AlertBar, AlertList
from chomp_tui.screens.run.chart_choices import ChartChoices
from chomp_tui.screens.run.chart_set import ChartSet
from chomp_tui.screens.run.charts import SmoothedLoss
from chomp_tui.screens.run.checkpoints import RunCheckpoints
from chomp_tui.screens.run.dashboard import Dashboard
from chomp_tui.screens.run.facts import FactsPanel
from chomp_tui.screens.run.following import RunFollower
from chomp_tui.screens.run.gpu_strip import GpuStrip
from chomp_tui.screens.run.header import RunHeader
from chomp_tui.screens.run.log_view import LogPanel, LogView
from chomp_tui.screens.run.loss_placeholder import LOG_LINES, NO_RUN, NoticePanel, notice_of
from chomp_tui.screens.run.memory import MemoryPanel
from chomp_tui.screens.run.startup import is_starting
from chomp_tui.screens.run.steering import Steering
from chomp_tui.screens.run.tab_strip import TabStrip
from chomp_tui.screens.run.tiles import Tiles, TileStrip
from chomp_tui.screens.run.time_budget import BudgetPanel
from chomp_tui.widgets.chart import LineChart
from chomp_tui.widgets.samples import SamplesPanel

# How often ages are looked at, and how much later than the next update they are drawn without one.
TICK_SECONDS, SLACK_SECONDS = 1.0, 0.4


class RunScreen(ConsoleScreen):
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
        self.charts = ChartSet(self)
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
        self._choices = ChartChoices(self, self.charts, state.settings, self.redraw)
        self.set_interval(TICK_SECONDS, self._tick)
        self.follower = RunFollower(self.post_safely, state.live)
        if self._path is not None:
            self._follow(self.follower, self._path)
        else:
            self.query_one(RunHeader).show_text("no run")
            self.query_one(NoticePanel).show(NO_RUN)

    def on_unmount(self) -> None:
        self._choices.save()
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
        board.arrange_for(zoomed=board.zoomed, notice=notice is not None, extra=charts.extra_panels(snapshot.view))
        if notice is not None:
            self.query_one(NoticePanel).show(notice)
        elif self.focused is None:
            self.set_focus(self.query_one("#loss", LineChart))
        self.query_one(RunHeader).draw(snapshot)
        self.query_one(GpuStrip).draw(snapshot)
        self.query_one(AlertBar).draw(snapshot, self._steering.line(snapshot))
        self._steering.offer_for(snapshot)
        board.draw(snapshot)
        self.charts.draw(snapshot)

    def on_dashboard_rearranged(self) -> None:
        self.charts.stale = True
        self.call_after_refresh(self.redraw)

    # Charts ------------------------------------------------------------------------------

    def action_log_y(self) -> None:
        """Logarithmic or linear."""
        self._choices.log_y()

    def action_smoothing(self) -> None:
        """The next amount of smoothing."""
        self._choices.smoothing()

    def action_x_axis(self) -> None:
        """The next x axis."""
        self._choices.x_axis()

    def action_marker(self) -> None:
        """Braille dots or blocks."""
        self._choices.marker()

    def action_zoom_in(self) -> None:
        """Show a shorter range in all charts."""
        self.charts.move(LineChart.zoom_in)

    def action_zoom_out(self) -> None:
        """Show a longer range in all charts."""
        self.charts.move(LineChart.zoom_out)

    def action_zoom_reset(self) -> None:
        """Show the whole run in all charts."""
        self.charts.move(LineChart.zoom_reset)

    def action_pan(self, direction: int) -> None:
        """Show earlier or later steps in all charts."""
        self.charts.move(lambda chart: chart.pan(direction))

    def action_all_values(self) -> None:
        """Show all values in all charts, or clip extreme ones."""
        self.charts.show_all_values()

    def on_line_chart_window_moved(self, message: LineChart.WindowMoved) -> None:
        self.charts.follow_window(message.chart)

    def on_line_chart_cross_moved(self, message: LineChart.CrossMoved) -> None:
        self.charts.follow_cross(message.chart)
        self.redraw()

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
        self.query_one(Dashboard).compare_samples(self.snapshot())

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

    def action_report(self) -> None:
        """Ask where to write a report of the run, of a fork beside its parent, then write it."""
        snapshot = self.snapshot()
        ask_for_report(self, [snapshot.update.run.path] if snapshot else [])

    # Steering ----------------------------------------------------------------------------

    def offers(self, action: str) -> bool:
        return self._steering.offers(action)

    def label_of(self, action: str, label: str) -> str:
        return self._steering.label_of(action, label)

    def action_pause(self) -> None:
        """Pause, or resume."""
        self._steering.pause()

    def action_save_now(self) -> None:
        """Save a checkpoint."""
        self._steering.save_now()

    def action_evaluate_now(self) -> None:
        """Evaluate."""
        self._steering.evaluate_now()

    def action_profile_now(self) -> None:
        """Trace a few steps."""
        self._steering.profile_now()

    def action_sample_now(self) -> None:
        """Ask for a prompt, then for a sample."""
        self._steering.sample_now()

    def action_explain(self) -> None:
        """Show the documents of a step by their loss."""
        self._steering.explain()

    def action_stop(self) -> None:
        """Ask how to end the run, then end it."""
        self._steering.stop()

    def action_resume(self) -> None:
        """Choose a checkpoint to resume from, once the run has ended."""
        self._steering.resume()

    def sent(self, *, is_written: bool) -> None:
        """A command was written, or could not be."""
        if not is_written:
            self.redraw()
        elif self.follower is not None:
            self.follower.poke()
