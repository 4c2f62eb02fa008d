"""The board: a container that places the run view's panels as `chomp_tui.screens.run.dashboard_layout` plans."""

from __future__ import annotations

from collections.abc import Callable

from textual.containers import Container
from textual.geometry import NULL_OFFSET, NULL_SPACING, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.message import Message
from textual.widget import Widget

from chomp_tui.live.snapshot import RunSnapshot
from chomp_tui.screens.run.checkpoints import RunCheckpoints
from chomp_tui.screens.run.dashboard_layout import EXTRA, GROUPS, TITLES, PanelPlan, panels, panels_of, plan
from chomp_tui.screens.run.log_view import LogPanel
from chomp_tui.screens.run.panel import TextPanel
from chomp_tui.screens.run.tab_strip import TabStrip
from chomp_tui.screens.run.tiles import TileStrip
from chomp_tui.widgets.samples import SamplesPanel


class _Planned(Layout):
    """Places children by the board's plan."""

    name = "planned"

    def arrange(self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True) -> ArrangeResult:
        assert isinstance(parent, Dashboard)
        parent.pre_layout(self)
        plan = parent.plan_for(size)
        turns = {*plan.tabs, *(name for tab in plan.tabs for name in GROUPS.get(tab, ()))}
        # Textual numbers placements from the last one on, and paints anew those whose number changes: panels that take
        # turns come first, so that the others keep theirs.
        ordered = sorted(children, key=lambda child: child.id not in turns)
        return [
            WidgetPlacement(region, NULL_OFFSET, NULL_SPACING, child)
            for child in ordered
            if (region := plan.regions.get(child.id or "")) is not None
        ]


class Dashboard(Container):
    """Shows the children that the plan has a place for; posts `Rearranged` when the layout changes."""

    class Rearranged(Message):
        """Other panels are shown, or they have other sizes."""

    def __init__(self, *children: Widget, id: str) -> None:
        super().__init__(*children, id=id)
        self._planned = _Planned()
        self.chosen = "charts"
        self.zoomed: str | None = None
        self.notice = True
        self.extra: frozenset[str] = frozenset()

    @property
    def layout(self) -> Layout:
        """The board's own; CSS cannot change it."""
        return self._planned

    @property
    def plan(self) -> PanelPlan:
        """The layout for the current size."""
        return self.plan_for(self.size)

    def plan_for(self, size: Size) -> PanelPlan:
        """The layout for a size."""
        return plan(
            size.width, size.height, chosen=self.chosen, zoomed=self.zoomed, notice=self.notice, extra=self.extra
        )

    def arrange_for(
        self,
        *,
        chosen: str | None = None,
        zoomed: str | None = None,
        notice: bool | None = None,
        extra: frozenset[str] | None = None,
    ) -> None:
        """Set the chosen tab, the panel shown alone (None for all), and whether a notice is shown, and extra charts."""
        before = (self.chosen, self.zoomed, self.notice, self.extra)
        self.chosen, self.zoomed = chosen or self.chosen, zoomed
        self.notice = self.notice if notice is None else notice
        self.extra = self.extra if extra is None else extra
        if self.zoomed in panels_of(EXTRA) and self.zoomed not in panels_of(self.extra):
            self.zoomed = None
        if before != (self.chosen, self.zoomed, self.notice, self.extra):
            self._settle()

    def focused_panel(self) -> Widget | None:
        """The panel that has the focus."""
        widget = self.screen.focused
        while widget is not None and widget.parent is not self:
            widget = widget.parent if isinstance(widget.parent, Widget) else None
        return widget

    def draw(self, snapshot: RunSnapshot) -> None:
        """Draw the tabs, and the panels that are shown."""
        titles = dict(TITLES)
        if snapshot.alerts:
            titles["alerts"] = f"Alerts {len(snapshot.alerts)}"
        self.query_one(TabStrip).show(titles, self.plan.tabs, self.plan.chosen)
        for panel in self.children:
            if not panel.display:
                continue
            if isinstance(panel, LogPanel):
                panel.draw(alone=self.zoomed is not None)
            elif isinstance(panel, TextPanel | SamplesPanel | RunCheckpoints | TileStrip):
                panel.draw(snapshot)

    def compare_samples(self, snapshot: RunSnapshot | None) -> None:
        """Show the selected sample beside an earlier one, with no other panel; or as before."""
        samples = self.query_one(SamplesPanel)
        if snapshot is not None:
            # A panel that is not shown is not drawn, and knows no samples yet.
            samples.draw(snapshot)
        samples.compare()
        # Two texts need the room of all panels.
        self.arrange_for(zoomed="samples" if samples.marked is not None else None)
        self.turn_to("samples")

    def on_tab_strip_chosen(self, event: TabStrip.Chosen) -> None:
        self.turn_to(event.name)

    def turn(self, by: int) -> None:
        """Show the panel `by` places on: of the tabs, or of all panels while one is zoomed."""
        plan = self.plan
        names, now = (plan.tabs, plan.chosen) if self.zoomed is None else (panels(extra=self.extra), self.zoomed)
        place = names.index(now) if now in names else 0
        self.turn_to(names[(place + by) % len(names)])

    def turn_to(self, name: str, then: Callable[[], None] | None = None) -> None:
        """Show a panel, zoomed if one is zoomed; then focus it, or do what `then` does."""
        if self.zoomed is not None:
            self.arrange_for(zoomed=GROUPS.get(name, (name,))[0])
        elif name in self.plan.tabs:
            self.arrange_for(chosen=name)
        wanted = self.query_one(f"#{GROUPS.get(name, (name,))[0]}")
        self.call_after_refresh(then or (lambda: self._focus_in(wanted)))

    def _focus_in(self, panel: Widget) -> None:
        inner = [panel, *panel.query("*")]
        target = next((one for one in inner if isinstance(one, Widget) and one.focusable and one.display), None)
        if target is not None:
            self.screen.set_focus(target)

    def on_mount(self) -> None:
        self._settle()

    def on_resize(self) -> None:
        self._settle()

    def _settle(self) -> None:
        regions = self.plan.regions
        for child in self.children:
            child.display = child.id in regions
        self.refresh(repaint=False, layout=True)
        self.post_message(self.Rearranged())
