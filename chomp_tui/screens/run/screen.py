"""A run: its curves, numbers, texts and state, as its events tell them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.timer import Timer
from textual.widget import Widget

from chomp.record.status import status
from chomp_tui import keys
from chomp_tui.live.alerts import alerts
from chomp_tui.live.eta import eta_seconds
from chomp_tui.live.feed import RunUpdate
from chomp_tui.live.launched import status_with
from chomp_tui.live.snapshot import Scene
from chomp_tui.screens.run import charts
from chomp_tui.screens.run.alert_bar import AlertBar, AlertList
from chomp_tui.screens.run.board import Board
from chomp_tui.screens.run.charts import SMOOTHINGS, X_AXES, SmoothedLoss
from chomp_tui.screens.run.checkpoints import RunCheckpoints
from chomp_tui.screens.run.dashboard import TITLES, panels
from chomp_tui.screens.run.facts import FactsPanel
from chomp_tui.screens.run.following import TICK_SECONDS, are_ages_old
from chomp_tui.screens.run.header import RunHeader
from chomp_tui.screens.run.log_view import LogView
from chomp_tui.screens.run.memory import MemoryPanel
from chomp_tui.screens.run.notice import LOG_LINES, NO_RUN, NoticePanel, notice_of
from chomp_tui.screens.run.panel import TextPanel
from chomp_tui.screens.run.steering import SteeringScreen
from chomp_tui.screens.run.tab_strip import TabStrip
from chomp_tui.screens.run.tiles import Tiles, TileStrip
from chomp_tui.screens.run.time_budget import BudgetPanel
from chomp_tui.settings import save_settings
from chomp_tui.widgets.chart import Line, LineChart
from chomp_tui.widgets.dialogs import Ask
from chomp_tui.widgets.samples import SamplesPanel

SETTINGS_DELAY_SECONDS = 0.5
# Of those that new rows make stale.
CHARTS_AT_ONCE = 3
CHARTS: dict[str, Callable[[Scene], list[Line]]] = {
    "loss": charts.loss_lines,
    "speed": charts.speed_lines,
    "grad": charts.gradient_lines,
    "rate": charts.rate_lines,
    "device": charts.memory_lines,
    "terms": charts.term_lines,
}
# Losses span decades: one key chooses for all of them.
LOSSES = ("loss", "terms")


class RunScreen(SteeringScreen):
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
        self._smoothed = SmoothedLoss()
        # Charts whose data or place is another than when they were drawn; those drawn longest ago first.
        self._stale_charts = list(CHARTS)
        self._draws_all = True
        self._drawn_at = 0.0
        self._saving: Timer | None = None
        # Choices so far, and how many of them are on disk.
        self._choices = self._choices_saved = 0
        self._save_lock = threading.Lock()

    # What following calls for ------------------------------------------------------------

    def forget(self) -> None:
        """Another run will be shown: nothing of the last one stays."""
        super().forget()
        self._smoothed = SmoothedLoss()
        self._charts_changed()

    def clear(self, path: Path) -> None:
        """Show that the run at `path` is being read."""
        self.query_one(LogView).clear()
        self.query_one(Board).arrange_for(zoomed=None, notice=True)
        self.set_context(str(path))
        self.query_one(RunHeader).say(f"reading {path} …")

    def take_in(self, update: RunUpdate) -> None:
        """Keep the log's new lines; charts have new data."""
        self.query_one(LogView).add(update.log_lines, restarted=update.log_restarted)
        self._stale_charts += [name for name in CHARTS if name not in self._stale_charts]
        self._draws_all = self._draws_all or update.read_fraction < 1

    # Coming and going --------------------------------------------------------------------

    def compose_body(self) -> ComposeResult:
        yield RunHeader(id="run-header")
        yield AlertBar(id="run-alerts")
        yield Board(
            NoticePanel(id="notice"),
            TileStrip(id="strip"),
            LineChart("loss", id="loss"),
            TabStrip(id="tabs"),
            LineChart("tokens/s", id="speed"),
            LineChart("gradient norm", id="grad"),
            LineChart("learning rate", id="rate"),
            LineChart("memory", unit="GiB", id="device"),
            LineChart("terms", id="terms"),
            SamplesPanel(id="samples"),
            LogView(id="log"),
            RunCheckpoints(id="checkpoints"),
            Tiles("Now", id="tiles"),
            MemoryPanel("Memory", id="memory"),
            BudgetPanel("Time", id="time"),
            FactsPanel("Facts", id="facts"),
            AlertList("Alerts", id="alerts"),
            id="board",
        )

    def on_mount(self) -> None:
        self._is_up = True
        settings = self.chomp.state.settings
        for chart in self.query(LineChart):
            chart.marker = settings.marker
        for name in LOSSES:
            self._chart(name).log_y = settings.log_y
        self.set_interval(TICK_SECONDS, self._tick)
        if self._path is not None:
            self._follow()
        else:
            self.query_one(RunHeader).say("no run")
            self.query_one(NoticePanel).show(NO_RUN)

    def on_unmount(self) -> None:
        self._is_up = False
        self._stop_following()
        self._save()

    def on_screen_resume(self) -> None:
        self._charts_changed()
        self.call_after_refresh(self.redraw)

    def _tick(self) -> None:
        self.look_at_launched()
        if are_ages_old(time.monotonic() - self._drawn_at, self.rest_seconds):
            self.redraw()

    # Drawing -----------------------------------------------------------------------------

    def scene(self) -> Scene | None:
        """The run at this moment; None before anything was read."""
        update = self._update
        if update is None:
            return None
        now, settings = time.time(), self.chomp.state.settings
        log_end = self.query_one(LogView).last_lines(LOG_LINES * 2)
        made = status_with(status(update.view, update.liveness, now), update.view, self._launched, log_end)
        return Scene(
            update=update,
            now=now,
            status=made,
            alerts=alerts(update, made, now),
            eta_seconds=eta_seconds(update.view, now),
            facts=self._facts,
            smoothed=self._smoothed.of(update.view.rows, settings.smoothing),
            smoothing=settings.smoothing,
            x_axis=settings.x_axis,
            log_end=log_end,
        )

    def redraw(self) -> None:
        """Draw what has changed, if anybody looks."""
        if not self._is_up or not self.is_current:
            return
        scene = self.scene()
        if scene is None:
            return
        self._drawn_at = time.monotonic()
        with self.app.batch_update():
            self._draw(scene)

    def _draw(self, scene: Scene) -> None:
        board = self.query_one(Board)
        notice = notice_of(scene)
        board.arrange_for(zoomed=board.zoomed, notice=notice is not None, terms=bool(charts.terms_of(scene.view)))
        if notice is not None:
            self.query_one(NoticePanel).show(notice)
        elif self.focused is None:
            self.set_focus(self.query_one("#loss", LineChart))
        self.query_one(RunHeader).draw(scene)
        self.query_one(AlertBar).draw(scene, self.steering_line(scene))
        self._draw_tabs(scene)
        self.offer_for(scene)
        for panel in board.children:
            if not panel.display:
                continue
            if isinstance(panel, LogView):
                panel.draw()
            elif isinstance(panel, TextPanel | SamplesPanel | RunCheckpoints | TileStrip):
                panel.draw(scene)
        self._draw_charts(scene)

    def _charts_changed(self) -> None:
        """All of them are to be drawn anew, at once."""
        self._stale_charts, self._draws_all = list(CHARTS), True

    def _draw_charts(self, scene: Scene) -> None:
        """Draw charts that are stale: if only a few rows came, some now and the others at the next look or tick.

        Drawing is most of what an update costs, and a key waits for all of it.
        """
        shown = [name for name in self._stale_charts if self._chart(name).display]
        now = shown if self._draws_all else shown[:CHARTS_AT_ONCE]
        for name in now:
            self._chart(name).show(CHARTS[name](scene), x_label=scene.x_axis)
        self._stale_charts = [name for name in shown if name not in now]
        self._draws_all = False

    def _chart(self, name: str) -> LineChart:
        return self.query_one(f"#{name}", LineChart)

    def _draw_tabs(self, scene: Scene) -> None:
        plan = self.query_one(Board).plan
        titles = dict(TITLES)
        if scene.alerts:
            titles["alerts"] = f"Alerts {len(scene.alerts)}"
        self.query_one(TabStrip).show(titles, plan.tabs, plan.chosen)

    def on_board_rearranged(self) -> None:
        self._charts_changed()
        self.call_after_refresh(self.redraw)

    # Panels ------------------------------------------------------------------------------

    def go_back(self) -> None:
        """Out of a filtered log that is in view, then out of a zoomed panel, else home."""
        board, log = self.query_one(Board), self.query_one(LogView)
        if log.wanted and log.display:
            log.filter("")
        elif board.zoomed is not None:
            board.arrange_for(zoomed=None)
        else:
            super().go_back()

    def focused_panel(self) -> Widget | None:
        """The panel that has the focus."""
        board, widget = self.query_one(Board), self.focused
        while widget is not None and widget.parent is not board:
            widget = widget.parent if isinstance(widget.parent, Widget) else None
        return widget

    def action_zoom_panel(self) -> None:
        """Show the focused panel alone, or all again; of checkpoints, open them."""
        board, panel = self.query_one(Board), self.focused_panel()
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
        self._turn_to(event.name)

    def action_next_panel(self) -> None:
        """The next one of those that take turns; of a zoomed panel, the next panel."""
        self._turn(1)

    def action_previous_panel(self) -> None:
        """The one before."""
        self._turn(-1)

    def _turn(self, by: int) -> None:
        board = self.query_one(Board)
        plan = board.plan
        alone = board.zoomed is not None
        names, now = (panels(terms=board.terms), board.zoomed) if alone else (plan.tabs, plan.chosen)
        place = names.index(now) if now in names else 0
        self._turn_to(names[(place + by) % len(names)])

    def _turn_to(self, name: str) -> None:
        board = self.query_one(Board)
        if board.zoomed is not None:
            board.arrange_for(zoomed=name)
        else:
            board.arrange_for(chosen=name)
        wanted = self.query_one(f"#{'speed' if name == 'charts' else name}")
        self.call_after_refresh(lambda: self._focus_in(wanted))

    def _focus_in(self, panel: Widget) -> None:
        inner = [panel, *panel.query("*")]
        target = next((one for one in inner if isinstance(one, Widget) and one.focusable), None)
        if target is not None:
            self.set_focus(target)

    def action_mark(self) -> None:
        """Mark the selected sample."""
        self.query_one(SamplesPanel).mark()

    def action_other_prompt(self) -> None:
        """The samples of the next prompt."""
        self.query_one(SamplesPanel).other_prompt()

    def action_filter(self) -> None:
        """Ask for a text and show only log lines with it."""
        log = self.query_one(LogView)

        def use(wanted: str | None) -> None:
            if wanted is not None:
                log.filter(wanted)
                if not log.display:
                    self._turn_to("log")

        self.app.push_screen(Ask("Show only log lines that contain", value=log.wanted, text="Empty shows all."), use)

    def action_resume(self) -> None:
        """Pick a checkpoint to go on from, once the run has ended."""
        scene = self.scene()
        if self._path is None or scene is None:
            self.chomp.notify("no run is chosen", severity="warning")
        elif scene.status.is_live:
            self.chomp.notify("this run is still going; stop it before resuming it", severity="warning")
        elif not scene.saved and scene.update.read_fraction == 1:
            self.chomp.notify(f"{self._path.name} has no checkpoint to resume from", severity="warning")
        else:
            self.chomp.show_checkpoints(self._path)

    # Charts ------------------------------------------------------------------------------

    def action_log_y(self) -> None:
        """Logarithmic or linear."""
        settings = self.chomp.state.settings
        settings.log_y = not settings.log_y
        for name in LOSSES:
            self._chart(name).log_y = settings.log_y
        self._keep_settings()

    def action_smoothing(self) -> None:
        """The next amount of smoothing."""
        settings = self.chomp.state.settings
        settings.smoothing = next((one for one in SMOOTHINGS if one > settings.smoothing), SMOOTHINGS[0])
        self._settings_changed()

    def action_x_axis(self) -> None:
        """The next x axis."""
        settings = self.chomp.state.settings
        place = X_AXES.index(settings.x_axis) if settings.x_axis in X_AXES else 0
        settings.x_axis = X_AXES[(place + 1) % len(X_AXES)]  # type: ignore[assignment]
        self._settings_changed()

    def action_marker(self) -> None:
        """Braille dots or blocks."""
        settings = self.chomp.state.settings
        settings.marker = "block" if settings.marker == "braille" else "braille"
        for chart in self.query(LineChart):
            chart.marker = settings.marker
        self._keep_settings()

    def action_zoom_in(self) -> None:
        """A shorter part, in all charts."""
        for chart in self.query(LineChart):
            chart.zoom_in()

    def action_zoom_out(self) -> None:
        """A longer part, in all charts."""
        for chart in self.query(LineChart):
            chart.zoom_out()

    def action_zoom_reset(self) -> None:
        """The whole run."""
        for chart in self.query(LineChart):
            chart.zoom_reset()

    def _settings_changed(self) -> None:
        self._charts_changed()
        self.redraw()
        self._keep_settings()

    def _keep_settings(self) -> None:
        """Write them soon: keys come in flocks."""
        self._choices += 1
        if self._saving is not None:
            self._saving.stop()
        self._saving = self.set_timer(SETTINGS_DELAY_SECONDS, self._save_aside)

    def _save_aside(self) -> None:
        threading.Thread(target=self._save, daemon=True, name="save-settings").start()

    def _save(self) -> None:
        """Keep the choices; where they cannot be kept they last as long as the console."""
        with self._save_lock:
            choices = self._choices
            if choices > self._choices_saved:
                with contextlib.suppress(OSError):
                    save_settings(self.chomp.state.settings)
                self._choices_saved = choices
