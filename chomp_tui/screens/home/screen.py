"""The home screen: runs as a leaderboard, and configurations."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from chomp.errors import ConfigError
from chomp.record.formatting import plural, sanitize
from chomp.record.selection import FIELDS, Filter, parse_filter
from chomp.record.summary import RunSummary, leaderboard
from chomp_tui import keys
from chomp_tui.live.run_list import ConfigEntry, HomeSnapshot, RunList
from chomp_tui.platform.background import start_thread
from chomp_tui.screens.home.columns_dialog import ChooseColumns
from chomp_tui.screens.home.comparing import compare, report
from chomp_tui.screens.home.deleting import ask_and_delete
from chomp_tui.screens.home.first_steps import FIRST_CONFIG, first_steps
from chomp_tui.screens.home.notes_dialog import edit_notes, edit_tags
from chomp_tui.screens.home.open_folder import open_folder
from chomp_tui.screens.home.ranking import Ranked, best_of, headline, ranked
from chomp_tui.screens.list_screen import ListScreen
from chomp_tui.settings import SettingsSaver
from chomp_tui.widgets.listing import Listing, Row
from chomp_tui.widgets.name_filter import NameFilter
from chomp_tui.widgets.run_detail import run_detail
from chomp_tui.widgets.run_rows import (
    CONFIG_COLUMNS,
    PICTURES,
    STANDARD,
    Place,
    config_detail,
    config_row,
    run_columns,
    run_row,
)
from chomp_tui.widgets.update_if_changed import set_text

# Runs beyond which a low screen has fewer lines for configurations.
MANY = 6


class HomeScreen(ListScreen):
    """All runs, live ones first or by any column, and the configurations to start others from."""

    MODE = "home"
    PURPOSE = (
        "Runs of this folder, and configurations to start new ones from; Tab moves between the two lists. Sort by any "
        "column, filter by text or by conditions such as state=crashed tag=base optim.lr>1e-3, mark runs to compare, "
        "tag or delete them. For a crashed run the reason is shown."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("home")]
    LIST = "run-list"
    COLUMNS = run_columns(())
    TICK_SECONDS = 2.0
    FILTER = "text, or conditions: tag=base state=crashed eval<3 optim.lr>1e-3"

    found: HomeSnapshot
    follower: RunList | None

    def __init__(self) -> None:
        super().__init__()
        self.found = HomeSnapshot()
        self._marked: set[str] = set()
        self._filter = Filter()
        self._shown: list[Ranked] = []
        # By key: what a row was made of, and the row.
        self._made: dict[str, tuple[RunSummary, Place, Row]] = {}

    def compose_above(self) -> Sequence[Widget]:
        return [Static("", id="filter-says")]

    def compose_below(self) -> Sequence[Widget]:
        return [Vertical(Listing(CONFIG_COLUMNS, head=False, id="config-list"), id="home-configs", classes="panel")]

    def on_mount(self) -> None:
        self._saver = SettingsSaver(self.chomp.state.settings)
        self.query_one("#list-panel").border_title = "Runs"
        self.query_one("#home-configs").border_title = "Configurations"
        self.query_one("#filter-says").display = False
        self._show_columns()

    def on_unmount(self) -> None:
        self._saver.save()

    def on_screen_resume(self) -> None:
        # A run may have been resumed meanwhile, and runs that have ended are not looked at each time.
        self.look_now()

    def follow(self, deliver: Callable[[HomeSnapshot], None]) -> RunList:
        return RunList(self.chomp.state.runs, self.chomp.state.configs, deliver)

    # What is shown ---------------------------------------------------------------------

    def accept(self, found: HomeSnapshot) -> None:
        is_first, grows = not self.is_ready, self.found.unread > 0
        at_top = not self._shown or self.listing.selected == self._shown[0].run.key
        self._marked &= {run.key for run in leaderboard(found.runs)}
        super().accept(found)
        if is_first and not found.runs:
            self._offer_first()
        # Until all runs are read, their order changes below a cursor that the user has not moved.
        if grows and at_top and self._shown:
            self.listing.select(self._shown[0].run.key)

    def _offer_first(self) -> None:
        configs = self.query_one("#config-list", Listing)
        for entry in self.found.configs:
            if entry.path.name == FIRST_CONFIG:
                configs.select(str(entry.path))
        if self.found.configs:
            configs.focus()

    def chosen(self, now: float) -> tuple[Sequence[Row], Content]:
        settings = self.chomp.state.settings
        wrong = self._read_filter()
        self._shown = ranked(
            list(leaderboard(self.found.runs)),
            self._filter,
            sort=settings.home_sort,
            reverse=settings.home_reverse,
            tree=settings.home_tree,
        )
        best = best_of(self._shown)
        made = {}
        for one in self._shown:
            key = one.run.key
            place = Place(one.depth, key in self._marked, one.run is best)
            before = self._made.get(key)
            is_same = before is not None and before[0] is one.run and before[1] == place and not one.run.is_live
            made[key] = before if is_same and before else (one.run, place, self._row(one.run, place, now))
        self._made = made
        self._say_filter(wrong)
        if not self.found.runs:
            state = self.chomp.state
            return [], first_steps(state.runs, state.configs, [entry.path.name for entry in self.found.configs])
        needle = sanitize(self.query_one(NameFilter).needle)
        none = f"none of {plural(len(self.found.runs), 'run')} is chosen by “{needle}”; Esc shows all"
        return [row for _, _, row in made.values()], Content(none)

    def _row(self, run: RunSummary, place: Place, now: float) -> Row:
        return run_row(run, self.chomp.state.settings.home_columns, place, now)

    def _read_filter(self) -> str:
        """Take over what the filter says; returns what is wrong with it, which the condition that is typed often is."""
        needle, wrong = self.query_one(NameFilter).needle, ""
        for text in (needle, needle.rpartition(" ")[0]):
            try:
                self._filter = parse_filter(text, self.found.runs)
                break
            except ConfigError as error:
                wrong = wrong or str(error)
        return wrong

    def _say_filter(self, wrong: str) -> None:
        says = self.query_one("#filter-says", Static)
        says.display = self.query_one(NameFilter).display
        if wrong:
            set_text(says, Content.styled(sanitize(wrong), "$error"))
        else:
            set_text(says, Content.styled(f"{len(self._shown):,} of {plural(len(self.found.runs), 'run')}", "$muted"))

    def draw(self) -> None:
        self.query_one("#config-list", Listing).show([config_row(entry) for entry in self.found.configs])
        self.query_one("#home-configs").display = bool(self.found.configs)
        self.set_class(not self.found.runs, "-without-runs").set_class(len(self.found.runs) > MANY, "-many-runs")
        super().draw()
        place = None if self.has_class("-narrow") else self.chomp.state.runs
        self.set_context(headline(self.found, len(self._marked), place))

    def tick(self, now: float) -> None:
        """Only live runs have an age that changes."""
        rows = []
        for key in self.listing.keys_in_view:
            run, place, _ = self._made.get(key, (None, Place(), None))
            if run is not None and run.is_live:
                rows.append(self._row(run, place, now))
        self.listing.update(rows)
        if (selected := self.run_summary()) is not None and selected.is_live:
            self.draw_detail()

    def detail(self, width: int) -> tuple[str, Content]:
        config = self.config() if self._configs_focused else None
        run = self.run_summary()
        if config is not None:
            return config.path.name, config_detail(config, width)
        if run is None:
            return "", Content("")
        return run.name, run_detail(run, time.time(), width, self.height_beside)

    def on_descendant_focus(self) -> None:
        self.draw_detail()

    # What is selected ------------------------------------------------------------------

    @property
    def _configs_focused(self) -> bool:
        return self.focused is not None and self.focused.id == "config-list"

    def run_summary(self) -> RunSummary | None:
        """The selected run."""
        made = self._made.get(self.selected(self.LIST) or "")
        return made[0] if made else None

    def config(self) -> ConfigEntry | None:
        """The selected configuration."""
        key = self.selected("config-list")
        return next((entry for entry in self.found.configs if str(entry.path) == key), None)

    def _with_run(self, act: Callable[[RunSummary], None]) -> None:
        run = self.run_summary()
        if self._configs_focused or run is None:
            self.chomp.notify("select a run first (Tab moves between the lists)", severity="warning")
        else:
            act(self._whole([run])[0])

    def _with_runs(self, act: Callable[[Sequence[RunSummary]], None]) -> None:
        """Act on the marked runs, in the order in which they are shown, or on the selected one if none is marked."""
        marked = [run for run in self._in_order() if run.key in self._marked]
        if marked:
            act(self._whole(marked))
        else:
            self._with_run(lambda run: act([run]))

    def _whole(self, rows: Sequence[RunSummary]) -> list[RunSummary]:
        """The runs that rows belong to, each once: the row of an average is one of its run."""
        runs = {run.path: run for run in self.found.runs}
        return [runs[path] for path in dict.fromkeys(row.path for row in rows)]

    def _in_order(self) -> list[RunSummary]:
        """The runs shown, then those that the filter hides."""
        return [*(one.run for one in self._shown), *self._hidden()]

    def _hidden(self) -> list[RunSummary]:
        shown = {one.run.key for one in self._shown}
        return [run for run in leaderboard(self.found.runs) if run.key not in shown]

    # Marks -----------------------------------------------------------------------------

    def action_mark(self) -> None:
        """Mark the selected run or unmark it, and go to the next."""
        if self._configs_focused or self.run_summary() is None:
            return
        self._marked ^= {self.listing.selected or ""}
        self.draw()
        self.listing.action_move(1)

    def action_mark_all(self) -> None:
        """Mark all runs shown, or none if all are marked."""
        shown = {one.run.key for one in self._shown}
        self._marked = set() if shown <= self._marked else self._marked | shown
        self.draw()

    def action_compare(self) -> None:
        """Compare the marked runs, or a fork with its parent."""
        self._with_runs(lambda runs: compare(self.chomp, runs))

    def action_report(self) -> None:
        """Write one report about the marked runs, or about the selected one."""
        self._with_runs(lambda runs: report(self, runs))

    # Order and columns -----------------------------------------------------------------

    def action_sort(self) -> None:
        """Order by the next column."""
        settings = self.chomp.state.settings
        shown = settings.home_columns or STANDARD
        ways = list(dict.fromkeys(["", *(key for key in ("eval", "bpb", *shown) if key not in PICTURES)]))
        place = ways.index(settings.home_sort) if settings.home_sort in ways else -1
        self._order(ways[(place + 1) % len(ways)], reverse=False)

    def action_reverse(self) -> None:
        """Turn the order round."""
        settings = self.chomp.state.settings
        self._order(settings.home_sort, reverse=not settings.home_reverse)

    def on_listing_head_clicked(self, event: Listing.HeadClicked) -> None:
        settings = self.chomp.state.settings
        if event.column not in PICTURES:
            again = event.column == settings.home_sort
            self._order(event.column, reverse=again and not settings.home_reverse)

    def _order(self, key: str, *, reverse: bool) -> None:
        settings = self.chomp.state.settings
        settings.home_sort, settings.home_reverse = key, reverse
        self._keep_settings()
        self.draw()
        if self._shown:
            self.listing.select(self._shown[0].run.key)
        if not key:
            self.chomp.notify("live runs first, then the newest")

    def action_tree(self) -> None:
        """Show forks below their parents, or in the common order."""
        settings = self.chomp.state.settings
        settings.home_tree = not settings.home_tree
        self._keep_settings()
        self.draw()
        self.chomp.notify("forks are below their parents" if settings.home_tree else "forks are in the common order")

    def action_columns(self) -> None:
        """Choose the columns."""
        settings = self.chomp.state.settings

        def answered(columns: tuple[str, ...] | None) -> None:
            if columns is not None:
                settings.home_columns = columns
                self._made.clear()
                self._keep_settings()
                self.draw()

        self.app.push_screen(ChooseColumns(self.found.runs, settings.home_columns), answered)

    def _keep_settings(self) -> None:
        self._show_columns()
        self._saver.changed()
        start_thread(self._saver.save, "save-settings")

    def _show_columns(self) -> None:
        settings = self.chomp.state.settings
        field = FIELDS.get(settings.home_sort)
        descends = (field is not None and field.descends) != settings.home_reverse
        self.listing.show_columns(run_columns(settings.home_columns, settings.home_sort, descends=descends))

    # Keys ------------------------------------------------------------------------------

    def on_listing_opened(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        """Watch the run, or edit the configuration."""
        config, run = self.config(), self.run_summary()
        if self._configs_focused and config is not None:
            self.chomp.edit_config(config.path)
        elif not self._configs_focused and run is not None:
            self.chomp.open_run(run.path)

    def action_new(self) -> None:
        """Configure a new run from the selected configuration or run."""
        config, run = self.config(), self.run_summary()
        chosen = config if self._configs_focused or run is None else run
        self.chomp.edit_config(chosen.path if chosen else None)

    def action_resume(self) -> None:
        """Pick a checkpoint of the run."""
        self._with_run(self._resume)

    def _resume(self, run: RunSummary) -> None:
        if run.checkpoints:
            self.chomp.show_checkpoints(run.path)
        else:
            self.chomp.notify(f"{run.name} has no checkpoint to resume from", severity="warning")

    def action_open_folder(self) -> None:
        """Show the run's folder."""
        self._with_run(lambda run: open_folder(self.app, self.chomp, run.path.absolute()))

    def action_notes(self) -> None:
        """Edit name, note and tags of the run."""
        if not self.chomp.refuse_read_only():
            self._with_run(lambda run: edit_notes(self.app, self.chomp, run, self.look_now))

    def action_tag(self) -> None:
        """Add tags to the marked runs, or remove them."""
        if not self.chomp.refuse_read_only():
            self._with_runs(lambda runs: edit_tags(self.app, self.chomp, runs, self.look_now))

    def action_delete(self) -> None:
        """Delete the marked runs, or the selected one, after asking."""
        if not self.chomp.refuse_read_only():
            hidden = {run.path for run in self._hidden()}
            self._with_runs(lambda runs: ask_and_delete(self.app, self.chomp, runs, hidden, self.look_now))

    def look_now(self) -> None:
        """Look at the folders now instead of at the next interval."""
        if self.follower is not None:
            self.follower.poke()

    def go_back(self) -> None:
        name_filter = self.query_one(NameFilter)
        if not name_filter.display and self._marked:
            self._marked.clear()
            self.draw()
        else:
            super().go_back()
