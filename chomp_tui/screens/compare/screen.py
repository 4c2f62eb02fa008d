"""Compare: runs on one chart, the settings that differ, the results, and the difference of two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from chomp.record.formatting import sanitize
from chomp_tui import keys
from chomp_tui.live.comparison_feed import Compared, ComparisonFeed
from chomp_tui.screens.base import ConsoleScreen
from chomp_tui.screens.compare.charts import CompareCharts
from chomp_tui.screens.compare.curves import X_LABELS, difference_series, loss_series, span_of
from chomp_tui.screens.compare.table import CompareTable
from chomp_tui.screens.reporting import ask_for_report
from chomp_tui.widgets.chart import LineChart
from chomp_tui.widgets.update_if_changed import set_text, set_title

if TYPE_CHECKING:
    from chomp.record.comparison import Comparison

TABLE_TITLE = "Settings and results"
# Runs that cannot be read and are named.
MOST_LEFT_OUT = 2
NOTHING = "Mark two runs or more with Space on Home and press c. A fork alone is compared with its parent."


class CompareScreen(ConsoleScreen):
    """Two runs or more; the first is the baseline."""

    MODE = "compare"
    PURPOSE = (
        "Runs side by side: their losses over steps, tokens, training time or FLOPs, only the settings that differ, "
        "and the results. Of two runs that read the same batches, such as a fork and its parent, also the difference "
        "of their losses with a noise band and a verdict."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("compare")]
    AUTO_FOCUS = "#compare-table"

    class Changed(Message):
        """The runs were read, or have changed."""

        def __init__(self, feed: ComparisonFeed | None, found: Compared) -> None:
            super().__init__()
            self.feed = feed
            self.found = found

    def __init__(self) -> None:
        super().__init__()
        self._paths: list[Path] = []
        self.feed: ComparisonFeed | None = None
        self._found = Compared()
        # Until the runs are read, keys wait.
        self._is_reading = False
        self._axis = "step"
        self._with_training = True
        # On a narrow screen one chart is shown: the curves, or the difference.
        self._shows_difference = False
        self._charts = CompareCharts(self)

    def compose_body(self) -> ComposeResult:
        with Container(id="compare"):
            with Horizontal(id="compare-charts"):
                for name in ("loss", "difference"):
                    with Vertical(id=f"compare-{name}-panel", classes="panel"):
                        yield LineChart(name, id=f"compare-{name}")
            yield Static("", id="compare-verdict")
            with Vertical(id="compare-table-panel", classes="panel") as panel:
                panel.border_title = TABLE_TITLE
                yield CompareTable(id="compare-table")

    def on_mount(self) -> None:
        settings = self.chomp.state.settings
        for chart in self._charts.all:
            chart.marker = settings.marker
            chart.log_y = settings.log_y and chart.id == "compare-loss"
        self._follow()
        self._draw()

    @property
    def is_ready(self) -> bool:
        return self.is_mounted and not self._is_reading

    # The runs --------------------------------------------------------------------------

    def show_runs(self, paths: Sequence[Path]) -> None:
        """Compare these runs, the baseline first; their charts open on the whole range."""
        self._paths = list(paths)
        self._found = Compared()
        self._charts.show_whole()
        if self.is_mounted:
            self._follow()
            self._draw()

    def _follow(self) -> None:
        if self.feed is not None:
            self.feed.stop()
        self._is_reading = bool(self._paths)
        if not self._paths:
            return
        feed: ComparisonFeed | None = None

        def deliver(found: Compared) -> None:
            self.post_safely(self.Changed(feed, found))

        feed = self.feed = ComparisonFeed(self._paths, deliver)
        feed.start()

    def on_compare_screen_changed(self, message: Changed) -> None:
        if message.feed is self.feed:
            self._found, self._is_reading = message.found, False
            self._draw()

    def on_screen_suspend(self) -> None:
        if self.feed is not None:
            self.feed.pause(True)

    def on_screen_resume(self) -> None:
        if self.feed is not None:
            self.feed.pause(False)
        self._draw()

    def on_unmount(self) -> None:
        if self.feed is not None:
            self.feed.stop()

    def on_compare_table_laid_out(self, message: CompareTable.LaidOut) -> None:
        more = f" · +{message.hidden} more, ← →" if message.hidden else ""
        set_title(self.query_one("#compare-table-panel"), f"{TABLE_TITLE}{more}")

    # Drawing ---------------------------------------------------------------------------

    def on_resize(self) -> None:
        # Textual sets the screen's width classes after this event.
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        listing = next(iter(self.query(CompareTable)), None)
        if listing is None:
            # Not composed yet, or being closed.
            return
        found = self._found.comparison
        self._draw_charts(found)
        verdict = self.query_one("#compare-verdict", Static)
        verdict.set_class(bool(self._found.left_out), "-left-out")
        set_text(verdict, self._verdict(found))
        self.set_context(f"by {X_LABELS[self._axis]}")
        # Without a comparison there is no number of other runs, or of a run that is gone.
        listing.compare(found, self.chomp.state.settings.marker)

    def _draw_charts(self, found: Comparison | None) -> None:
        paired = found.paired if found is not None else None
        is_wide = self.has_class("-wide")
        alone = self._shows_difference and paired is not None and not is_wide
        self.query_one("#compare-loss-panel").display = not alone
        self.query_one("#compare-difference-panel").display = alone or (paired is not None and is_wide)
        if found is None:
            for chart in self._charts.all:
                chart.show(())
            return
        span = span_of(found)
        mean = f", smoothed {span} steps" if span else ""
        title = f"Train loss{mean}, and evaluations" if self._with_training else "Evaluations"
        set_title(self.query_one("#compare-loss-panel"), title)
        lines = loss_series(found, self._axis, span, self.size.width, with_training=self._with_training)
        form: Callable[[float], str] | None = "{:.2g}".format if self._axis == "flops" else None
        label = X_LABELS[self._axis]
        name = "loss" if self._with_training else "eval loss"
        self._chart("loss").show(lines, title=name, x_label=label, x_format=form)
        if paired is not None:
            first, second = found.runs
            set_title(self.query_one("#compare-difference-panel"), f"{second.name} − {first.name}")
            lines = difference_series(paired, second, self._axis)
            self._chart("difference").show(lines, title="difference", x_label=label, x_format=form)

    def _verdict(self, found: Comparison | None) -> Content:
        """What is left out, then what is found of two runs, or why there is nothing."""
        said = self._left_out()
        if self._found.problem:
            return Content("\n").join([*said, Content.styled(sanitize(self._found.problem), "$error")])
        if found is None:
            return Content("reading the runs…" if self._paths else NOTHING)
        if found.batches is None:
            hint = Content.styled("Mark two runs alone to compare them step by step.", "$muted")
            return Content("\n").join(said or [hint])
        why = Content.styled(found.batches.why, "$muted")
        if found.paired is None:
            return Content("\n").join([*said, Content.assemble("not compared step by step: ", why)])
        return Content("\n").join([*said, Content.styled(found.paired.verdict, "bold"), why])

    def _left_out(self) -> list[Content]:
        """A line for each run that cannot be read; of many for the first ones."""
        said = self._found.left_out
        more = [f"+{len(said) - MOST_LEFT_OUT} more are left out"] if len(said) > MOST_LEFT_OUT else []
        return [Content.styled(sanitize(one), "$error") for one in (*said[:MOST_LEFT_OUT], *more)]

    def _chart(self, name: str) -> LineChart:
        return self.query_one(f"#compare-{name}", LineChart)

    # Keys ------------------------------------------------------------------------------

    def action_x_axis(self) -> None:
        """Plot over the next measure of progress."""
        axes = list(X_LABELS)
        self._axis = axes[(axes.index(self._axis) + 1) % len(axes)]
        self._draw()
        self._charts.follow_window(self._charts.leader)

    def action_evaluations(self) -> None:
        """Show only evaluations, or training losses, too."""
        self._with_training = not self._with_training
        self._draw()

    def action_log_y(self) -> None:
        """Plot losses logarithmically, or not."""
        chart = self._chart("loss")
        chart.log_y = not chart.log_y

    def action_difference(self) -> None:
        """Show the difference in place of the curves, or the curves again."""
        found = self._found.comparison
        if found is None or found.paired is None:
            self.chomp.notify("there is a difference step by step only of two runs with the same batches")
            return
        self._shows_difference = not self._shows_difference
        self._draw()

    def action_baseline(self) -> None:
        """Make the next run the first."""
        found = self._found.comparison
        if found is not None:
            paths = [run.run.path for run in found.runs]
            # The same runs: what is shown of them stays.
            self._paths = [*paths[1:], paths[0], *(path for path in self._paths if path not in paths)]
            self._follow()

    def action_report(self) -> None:
        """Ask where to write a report about these runs, then write it."""
        found = self._found.comparison
        ask_for_report(self, [run.run.path for run in found.runs] if found is not None else [], axis=self._axis)

    def action_zoom_in(self) -> None:
        """Show half as much in both charts."""
        self._charts.move(LineChart.zoom_in)

    def action_zoom_out(self) -> None:
        """Show twice as much in both charts."""
        self._charts.move(LineChart.zoom_out)

    def action_zoom_reset(self) -> None:
        """Show everything in both charts."""
        self._charts.move(LineChart.zoom_reset)

    def action_pan(self, direction: int) -> None:
        """Show what is earlier or later in both charts."""
        self._charts.move(lambda chart: chart.pan(direction))

    def action_all_values(self) -> None:
        """Show all values in both charts, or clip extreme ones."""
        self._charts.show_all_values()

    def on_line_chart_window_moved(self, message: LineChart.WindowMoved) -> None:
        self._charts.follow_window(message.chart)

    def on_line_chart_cross_moved(self, message: LineChart.CrossMoved) -> None:
        self._charts.follow_cross(message.chart)
