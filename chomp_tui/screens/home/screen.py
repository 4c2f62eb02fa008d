"""The home screen: runs and configurations."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget

from chomp.errors import ChompError
from chomp.record.formatting import size
from chomp.record.removal import delete_run
from chomp.record.summary import RunSummary
from chomp_tui import keys
from chomp_tui.live.run_list import ConfigEntry, HomeSnapshot, RunList
from chomp_tui.platform.background import in_thread
from chomp_tui.screens.list_screen import ListScreen
from chomp_tui.widgets.dialogs import confirm
from chomp_tui.widgets.listing import Listing, Row
from chomp_tui.widgets.run_rows import (
    CONFIG_COLUMNS,
    RUN_COLUMNS,
    config_detail,
    config_row,
    run_detail,
    run_row,
    tall_curve,
)

FIRST_CONFIG = "quickstart.yaml"
CURVE_LINES = 8


class HomeScreen(ListScreen):
    """All runs, live ones first, and the configurations to start others from."""

    MODE = "home"
    PURPOSE = (
        "Runs of this folder, live ones first, and configurations to start new ones from. Tab moves between the two "
        "lists. For a crashed run the reason is shown."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("home")]
    LIST = "run-list"
    COLUMNS = RUN_COLUMNS
    TICK_SECONDS = 2.0

    found: HomeSnapshot
    follower: RunList | None

    def __init__(self) -> None:
        super().__init__()
        self.found = HomeSnapshot()

    def compose_below(self) -> Sequence[Widget]:
        return [Vertical(Listing(CONFIG_COLUMNS, head=False, id="config-list"), id="home-configs", classes="panel")]

    def on_mount(self) -> None:
        self.query_one("#list-panel").border_title = "Runs"
        self.query_one("#home-configs").border_title = "Configurations"

    def follow(self, deliver: Callable[[HomeSnapshot], None]) -> RunList:
        return RunList(self.chomp.state.runs, self.chomp.state.configs, deliver)

    # What is shown ---------------------------------------------------------------------

    def accept(self, found: HomeSnapshot) -> None:
        is_first = not self.is_ready
        super().accept(found)
        if is_first and not found.runs:
            self._offer_first()

    def _offer_first(self) -> None:
        configs = self.query_one("#config-list", Listing)
        for entry in self.found.configs:
            if entry.path.name == FIRST_CONFIG:
                configs.select(str(entry.path))
        configs.focus()

    def rows(self, now: float) -> list[tuple[str, Row]]:
        return [(run.name, run_row(run, now)) for run in self.found.runs]

    def draw(self) -> None:
        self.query_one("#config-list", Listing).show([config_row(entry) for entry in self.found.configs])
        super().draw()
        live = sum(run.is_live for run in self.found.runs)
        total = len(self.found.runs)
        where = "" if self.has_class("-narrow") else f" · {self.chomp.state.runs}"
        self.set_context(f"{total} run{'s' * (total != 1)}, {live} live{where}")

    def empty_text(self) -> Content:
        return Content.assemble(
            ("No runs yet", "bold"),
            f" in {self.chomp.state.runs}.\n\nChoose a configuration below and press Enter: ",
            (FIRST_CONFIG, "bold"),
            " trains anywhere in a few minutes, without network. F5 starts it.",
        )

    def detail(self, width: int) -> tuple[str, Content]:
        config = self.config() if self._configs_focused else None
        run = self.run_summary()
        if config is not None:
            return config.path.name, config_detail(config, width)
        if run is None:
            return "", Content("")
        # Beside the list there is room for the curve; below it there is none.
        chart = tall_curve(run, width, CURVE_LINES) if self.has_class("-wide") and width else ""
        return run.name, run_detail(run, time.time(), width, chart)

    def on_descendant_focus(self) -> None:
        self.draw_detail()

    # What is selected ------------------------------------------------------------------

    @property
    def _configs_focused(self) -> bool:
        return self.focused is not None and self.focused.id == "config-list"

    def run_summary(self) -> RunSummary | None:
        """The selected run."""
        key = self.selected(self.LIST)
        return next((run for run in self.found.runs if str(run.path) == key), None)

    def config(self) -> ConfigEntry | None:
        """The selected configuration."""
        key = self.selected("config-list")
        return next((entry for entry in self.found.configs if str(entry.path) == key), None)

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
        """Configure a new run from the selected configuration or run."""
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
        """Show the run's folder."""
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
        if self.follower is not None:
            self.follower.poke()
