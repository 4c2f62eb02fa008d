"""Runs and configurations: where the console begins."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from chomp.errors import ChompError
from chomp.record.removal import delete_run
from chomp.record.summary import RunSummary
from chomp.record.text import size
from chomp_tui import keys
from chomp_tui.live.run_list import ConfigEntry, HomeSnapshot, RunList
from chomp_tui.platform.background import in_thread
from chomp_tui.screens.base import ConsoleScreen
from chomp_tui.widgets.detail import Detail
from chomp_tui.widgets.dialogs import confirm
from chomp_tui.widgets.listing import Listing
from chomp_tui.widgets.name_filter import NameFilter
from chomp_tui.widgets.run_rows import (
    CONFIG_COLUMNS,
    RUN_COLUMNS,
    config_detail,
    config_row,
    run_detail,
    run_row,
    tall_curve,
)
from chomp_tui.widgets.update_if_changed import set_text, set_title

AGE_SECONDS = 2.0
FIRST_CONFIG = "quickstart.yaml"
CURVE_LINES = 8


class HomeScreen(ConsoleScreen):
    """All runs, live ones first, and the configurations to start others from."""

    MODE = "home"
    PURPOSE = (
        "Runs of this folder, live ones first, and configurations to start new ones from. Tab moves between the two "
        "lists. A run that crashed says why."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("home")]

    class Changed(Message):
        """The folders were looked at, and something is other than before."""

        def __init__(self, listing: HomeSnapshot) -> None:
            super().__init__()
            self.listing = listing

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, HomeScreen.Changed)

    def __init__(self) -> None:
        super().__init__()
        self._listing = HomeSnapshot()
        self._has_looked = False
        self._list: RunList | None = None

    @property
    def is_ready(self) -> bool:
        return self._has_looked

    def compose_body(self) -> ComposeResult:
        with Container(id="home"):
            with Vertical(id="home-runs", classes="panel"):
                yield NameFilter(listing="run-list", id="home-filter")
                yield Static("", id="home-empty")
                yield Listing(RUN_COLUMNS, id="run-list")
            with VerticalScroll(id="home-detail", classes="panel", can_focus=False):
                yield Detail(id="home-facts")
            with Vertical(id="home-configs", classes="panel"):
                yield Listing(CONFIG_COLUMNS, head=False, id="config-list")

    def on_mount(self) -> None:
        self.query_one("#home-runs").border_title = "Runs"
        self.query_one("#home-configs").border_title = "Configurations"
        self.query_one("#home-empty").display = False
        state = self.chomp.state
        self._list = RunList(state.runs, state.configs, self._deliver)
        self._list.start()
        self.set_interval(AGE_SECONDS, self._tick)
        self.query_one("#run-list").focus()

    def on_unmount(self) -> None:
        if self._list is not None:
            self._list.stop()

    def on_screen_suspend(self) -> None:
        if self._list is not None:
            self._list.pause(True)

    def on_screen_resume(self) -> None:
        if self._list is not None:
            self._list.pause(False)

    def _deliver(self, listing: HomeSnapshot) -> None:
        """Called in the list's thread."""
        self.post_safely(self.Changed(listing))

    # What is shown ---------------------------------------------------------------------

    def on_home_screen_changed(self, message: Changed) -> None:
        self._listing = message.listing
        is_first, self._has_looked = not self._has_looked, True
        self._draw()
        if is_first and not self._listing.runs:
            self._offer_first()

    def _offer_first(self) -> None:
        configs = self.query_one("#config-list", Listing)
        for entry in self._listing.configs:
            if entry.path.name == FIRST_CONFIG:
                configs.select(str(entry.path))
        configs.focus()

    def on_resize(self) -> None:
        # What is shown depends on the width, which the screen's classes tell after this.
        self.call_after_refresh(self._tick)

    def _tick(self) -> None:
        if self.is_current and self._has_looked:
            self._draw()

    def _draw(self) -> None:
        now = time.time()
        lets_through = self.query_one(NameFilter).lets_through
        runs = [run for run in self._listing.runs if lets_through(run.name)]
        self.query_one("#run-list", Listing).show([run_row(run, now) for run in runs])
        self.query_one("#config-list", Listing).show([config_row(entry) for entry in self._listing.configs])
        self._draw_empty(is_empty=not runs)
        self._draw_detail()
        live = sum(run.is_live for run in self._listing.runs)
        total = len(self._listing.runs)
        where = "" if self.has_class("-narrow") else f" · {self.chomp.state.runs}"
        self.set_context(f"{total} run{'s' * (total != 1)}, {live} live{where}")

    def _draw_empty(self, *, is_empty: bool) -> None:
        empty, name_filter = self.query_one("#home-empty", Static), self.query_one(NameFilter)
        empty.display = is_empty
        self.query_one("#run-list").display = not is_empty
        if not is_empty:
            return
        if self._listing.problem:
            text = Content.styled(self._listing.problem, "$error")
        elif name_filter.needle and self._listing.runs:
            text = Content(f"no run has “{name_filter.needle}” in its name; Esc shows all")
        else:
            text = Content.assemble(
                ("No runs yet", "bold"),
                f" in {self.chomp.state.runs}.\n\nChoose a configuration below and press Enter: ",
                (FIRST_CONFIG, "bold"),
                " trains anywhere in a few minutes, without network. F5 starts it.",
            )
        set_text(empty, text)

    def _draw_detail(self) -> None:
        config = self.config() if self._configs_focused else None
        run = self.run_summary()
        facts = self.query_one("#home-facts", Detail)
        width = facts.size.width
        if config is not None:
            title, text = config.path.name, config_detail(config, width)
        elif run is not None:
            # Beside the list there is room for the curve; below it there is none.
            chart = tall_curve(run, width, CURVE_LINES) if self.has_class("-wide") and width else ""
            title, text = run.name, run_detail(run, time.time(), width, chart)
        else:
            title, text = "", Content("")
        set_title(self.query_one("#home-detail"), title)
        set_text(facts, text)

    def on_listing_selected(self) -> None:
        self._draw_detail()

    def on_detail_rewidened(self) -> None:
        self._draw_detail()

    def on_descendant_focus(self) -> None:
        self._draw_detail()

    # What is selected ------------------------------------------------------------------

    @property
    def _configs_focused(self) -> bool:
        return self.focused is not None and self.focused.id == "config-list"

    def run_summary(self) -> RunSummary | None:
        """The selected run."""
        key = self.selected("run-list")
        return next((run for run in self._listing.runs if str(run.path) == key), None)

    def config(self) -> ConfigEntry | None:
        """The selected configuration."""
        key = self.selected("config-list")
        return next((entry for entry in self._listing.configs if str(entry.path) == key), None)

    def _with_run(self, act: Callable[[RunSummary], None]) -> None:
        run = self.run_summary()
        if self._configs_focused or run is None:
            self.chomp.notify("select a run first (Tab moves between the lists)", severity="warning")
        else:
            act(run)

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
        """Configure a new run from what is selected."""
        config, run = self.config(), self.run_summary()
        if not self._configs_focused and run is not None:
            self.chomp.edit_config(run.path)
        else:
            self.chomp.edit_config(config.path if config else None)

    def action_resume(self) -> None:
        """Pick a checkpoint of the run."""
        self._with_run(self._resume)

    def _resume(self, run: RunSummary) -> None:
        if run.checkpoints:
            self.chomp.show_checkpoints(run.path)
        else:
            self.chomp.notify(f"{run.name} has no checkpoint to resume from", severity="warning")

    def action_open_folder(self) -> None:
        """Show where the run lies."""
        self._with_run(lambda run: self._open_folder(run.path.absolute()))

    def _open_folder(self, path: Path) -> None:
        opener = shutil.which("xdg-open")
        if opener and os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
            quiet = subprocess.DEVNULL
            subprocess.Popen([opener, str(path)], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
            self.chomp.notify(f"opened {path}")
        else:
            self.app.copy_to_clipboard(str(path))
            self.chomp.notify(f"{path} (copied, where the terminal allows it)")

    def action_filter(self) -> None:
        """Show only runs whose name contains a text."""
        self.query_one(NameFilter).ask()

    def on_input_changed(self) -> None:
        self._draw()

    def go_back(self) -> None:
        self.query_one(NameFilter).clear_away()

    # Deleting --------------------------------------------------------------------------

    def action_delete(self) -> None:
        """Delete the run, after asking."""
        if not self.chomp.refuse_read_only():
            self._with_run(self._ask_delete)

    def _ask_delete(self, run: RunSummary) -> None:
        if run.is_live:
            self.chomp.notify(f"{run.name} is running (pid {run.pid}): stop it first", severity="warning")
            return
        number = len(run.checkpoints)
        what = (
            f"{number} checkpoint{'s' * (number != 1)}, {size(run.bytes) if run.bytes is not None else 'size unknown'}"
        )
        warning = f"\n{run.status.reason}" if run.status.state == "running" else ""
        question = confirm(
            f"Delete {run.name}?", text=f"{run.path}\n{what}. It cannot be brought back.{warning}", yes="Delete it"
        )

        def answered(answer: str | None) -> None:
            if answer == "yes":
                self.app.run_worker(self._delete(run.path))

        self.app.push_screen(question, answered)

    async def _delete(self, path: Path) -> None:
        try:
            await in_thread(lambda: delete_run(path))
        except ChompError as error:
            self.chomp.notify(str(error), severity="error")
        else:
            self.chomp.notify(f"deleted {path}")
        self.look_now()

    def look_now(self) -> None:
        """Look at the folders now instead of at the next interval."""
        if self._list is not None:
            self._list.poke()
