"""The command palette: actions with their keys, runs, and settings of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rich.cells import cell_len
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from chomp.record.formatting import one_line
from chomp.record.rundir import list_runs
from chomp_tui import keys
from chomp_tui.key_names import shown
from chomp_tui.platform.background import in_thread
from chomp_tui.screens.base import ConsoleScreen

if TYPE_CHECKING:
    from chomp_tui.state import Console

KEY_CELLS = 10
# Without a text to search for, the newest runs are listed.
SHOWN_RUNS = 10
# A word found in the help counts less than one found in the name.
HELP_SHARE = 0.5


@dataclass(frozen=True)
class Command:
    """An entry: what stands before its name (a key, or what kind of thing it is), and what it does."""

    tag: str
    name: str
    help: str
    run: Callable[[], object]

    def line(self, name: Content) -> Content:
        """The entry as drawn."""
        return Content.styled(f"{self.tag}{' ' * max(1, KEY_CELLS - cell_len(self.tag))}", "$muted") + name

    @property
    def below(self) -> str:
        """The help in a second line, which Textual reads as markup."""
        return Content(one_line(self.help)).markup


class ConsoleCommands(Provider):
    """Finds commands by their names, and by words of their help."""

    async def startup(self) -> None:
        self._runs = await in_thread(lambda: list_runs(self._console.state.runs))
        self._settings: tuple[Command, ...] | None = None

    @property
    def _console(self) -> Console:
        return cast("Console", self.app)

    async def discover(self) -> Hits:
        for one in [*self._actions(), *self._open_runs(SHOWN_RUNS)]:
            yield DiscoveryHit(one.line(Content(one.name)), one.run, text=one.name, help=one.below)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        if self._settings is None:
            self._settings = await in_thread(self._all_settings)
        for one in [*self._actions(), *self._open_runs(None), *self._settings]:
            score = max(matcher.match(one.name), HELP_SHARE * matcher.match(one.help))
            if score > 0:
                yield Hit(score, one.line(matcher.highlight(one.name)), one.run, text=one.name, help=one.below)

    def _actions(self) -> Iterator[Command]:
        """The keys of the screen, then those that work everywhere, then Textual's choice of themes."""
        screen, keymap = self.screen, self._console.state.settings.keymap
        scope = screen.MODE if isinstance(screen, ConsoleScreen) else ""
        for row in sorted(keys.TABLE, key=lambda row: row.scope == "app"):
            key = shown(keymap.get(row.id, row.keys).split(",")[0])
            if row.scope == "app" and row.action != "back":
                yield Command(key, row.label, row.help, partial(self.app.run_action, f"app.{row.action}"))
            elif scope and row.scope == scope:
                label = screen.label_of(row.action, row.label) if isinstance(screen, ConsoleScreen) else row.label
                yield Command(key, label, row.help, partial(self.app.run_action, row.action, screen))
        for one in self.app.get_system_commands(screen):
            if one.title == "Theme":
                yield Command("", one.title, one.help, one.callback)

    def _open_runs(self, most: int | None) -> Iterator[Command]:
        for path in self._runs[:most]:
            yield Command("run", one_line(path.name), str(path), partial(self._console.open_run, Path(path)))

    def _all_settings(self) -> tuple[Command, ...]:
        """The settings of a configuration; the form shows the chosen one."""
        from chomp.config.spec import settings

        return tuple(
            Command("setting", one.path, one.help, partial(self._console.go_to_setting, one.path))
            for one in settings().values()
        )
