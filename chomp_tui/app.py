"""The console as a whole: modes, themes, keys that count everywhere, and how screens hand over to each other."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver

from chomp.record.formatting import sanitize
from chomp_tui import keys, scopes, theme
from chomp_tui.key_names import as_read
from chomp_tui.platform.background import start_thread
from chomp_tui.platform.driver import ConsoleDriver
from chomp_tui.platform.key_queue import KeyQueue, Typed
from chomp_tui.screens.base import ConsoleScreen
from chomp_tui.settings import save_settings
from chomp_tui.state import ConsoleState, StartView
from chomp_tui.widgets.top_bar import TopBar

# Screens are imported when they are first shown, so that the first frame does not wait for all of them.
if TYPE_CHECKING:
    from textual.command import Provider
    from textual.notifications import SeverityLevel

    from chomp.queue.launch import LaunchRequest
    from chomp_tui.config.draft import ForkOrigin
    from chomp_tui.screens.checkpoints.screen import CheckpointsScreen
    from chomp_tui.screens.compare.screen import CompareScreen
    from chomp_tui.screens.configure.screen import ConfigureScreen
    from chomp_tui.screens.run.screen import RunScreen

PACKAGE = Path(__file__).parent
# Between two looks at whether the form is there.
READY_SECONDS = 0.05


def _commands() -> type[Provider]:
    """What the palette finds; imported when it is first opened."""
    from chomp_tui.palette import ConsoleCommands

    return ConsoleCommands


class ChompApp(App[None]):
    """The console."""

    TITLE = "chomp"
    CSS_PATH = PACKAGE / "base.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("app")]
    COMMANDS: ClassVar = {_commands}
    COMMAND_PALETTE_BINDING = "ctrl+p"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-medium"), (150, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012

    def __init__(self, state: ConsoleState, start_view: StartView | None = None) -> None:
        super().__init__()
        self.state = state
        self.start_view = start_view or StartView()
        self._keys = KeyQueue(self, super().on_event)
        for one in theme.THEMES:
            self.register_theme(one)
        self.built: dict[str, ConsoleScreen] = {}
        for entry in scopes.SCREENS:
            self.add_mode(entry.mode, partial(self.screen_of, entry.mode))

    def screen_of(self, mode: str) -> ConsoleScreen:
        """The screen of a mode, built when it is first wanted."""
        if mode not in self.built:
            module, name = next(entry for entry in scopes.SCREENS if entry.mode == mode).screen.split(":")
            screen: ConsoleScreen = getattr(import_module(module), name)()
            # Textual styles a screen anew when it is first shown; this one is mounted with the current styles anyway.
            screen._css_update_count = self._css_update_count
            self.built[mode] = screen
        return self.built[mode]

    @property
    def run_screen(self) -> RunScreen:
        return cast("RunScreen", self.screen_of("run"))

    @property
    def configure_screen(self) -> ConfigureScreen:
        return cast("ConfigureScreen", self.screen_of("configure"))

    @property
    def checkpoints_screen(self) -> CheckpointsScreen:
        return cast("CheckpointsScreen", self.screen_of("checkpoints"))

    def get_driver_class(self) -> type[Driver]:
        usual = super().get_driver_class()
        return ConsoleDriver if usual is LinuxDriver else usual

    def compose(self) -> ComposeResult:
        """The very first frame, until the first screen is there."""
        yield TopBar(self.start_view.mode)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return theme.variable_defaults(self.current_theme)

    def on_mount(self) -> None:
        settings = self.state.settings
        self.theme = settings.theme if settings.theme in self.available_themes else theme.THEMES[0].name
        self.set_keymap({id: as_read(chosen) for id, chosen in settings.keymap.items()})
        if os.environ.keys() & {"SSH_CONNECTION", "SSH_TTY"} and "TEXTUAL_ANIMATIONS" not in os.environ:
            self.animation_level = "none"
        self.theme_changed_signal.subscribe(self, self._remember_theme)
        # The shell has painted over the screen while the console was suspended.
        self.app_resume_signal.subscribe(self, lambda _: self.refresh())
        if self.is_headless:
            self._open_first(self.start_view)
        else:
            # Importing a screen takes longer than showing a first frame.
            self._keys.hold(self._is_first_screen_ready)
            self.call_after_refresh(self._open_first, self.start_view)
        for note in self.state.notes:
            self.notify(note, severity="warning")

    async def on_unmount(self) -> None:
        await self.state.close()

    def _open_first(self, start_view: StartView) -> None:
        if self.return_code is not None:
            # The user has left before the first screen was built.
            return
        # The first frame does not wait for the styles of screens either.
        self.stylesheet.read_all(sorted(PACKAGE.rglob("*.tcss")))
        if start_view.mode == "run" and start_view.run is not None:
            self.open_run(start_view.run)
        elif start_view.mode == "configure":
            self.switch_mode("configure")
            self.configure_screen.edit(
                start_view.config,
                overrides=start_view.overrides,
                run_dir=start_view.run,
                resume=start_view.resume,
                start=start_view.start,
            )
        else:
            self.switch_mode("home")

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, Typed) and not event.is_forwarded:
            await self._keys.take(event)
        else:
            await super().on_event(event)

    def hold_letters(self, is_ready: Callable[[], bool]) -> None:
        """Letters wait until `is_ready`, for a few seconds at most: they are meant for a question that comes."""
        self._keys.hold(is_ready, letters_only=True)

    def _is_first_screen_ready(self) -> bool:
        """Whether the first screen shows what it was opened for."""
        return self.screen.is_ready if isinstance(self.screen, ConsoleScreen) else self._has_opened

    @property
    def _has_opened(self) -> bool:
        return self.current_mode != self.DEFAULT_MODE

    # Between screens -------------------------------------------------------------------

    def open_run(self, path: Path) -> None:
        """Show one run."""
        self.run_screen.show_run(path)
        self.switch_mode("run")

    def edit_config(self, path: Path | None, *, fork: ForkOrigin | None = None) -> None:
        """Configure a run from a file, or from a past run's directory."""
        self.switch_mode("configure")
        self.configure_screen.edit(path, fork=fork)

    def go_to_setting(self, path: str) -> None:
        """Show a setting in the form of the current configuration."""

        async def show() -> None:
            while not self.configure_screen.is_ready:
                await asyncio.sleep(READY_SECONDS)
            await self.configure_screen.go_to(path)

        self.switch_mode("configure")
        self.run_worker(show(), group="go-to-setting", exclusive=True)

    def show_checkpoints(self, run: Path | None) -> None:
        """Show the checkpoints of one run, or of all."""
        self.checkpoints_screen.show(run)
        self.switch_mode("checkpoints")

    def compare_runs(self, runs: Sequence[Path]) -> None:
        """Show runs side by side; one that is a fork with its parent."""
        cast("CompareScreen", self.screen_of("compare")).show_runs(runs)
        self.switch_mode("compare")

    def launch(self, request: LaunchRequest) -> bool:
        """Start an engine and show its run; on failure show the reason and stay."""
        from chomp.queue.launch import LaunchError
        from chomp_tui.engine.launch import start
        from chomp_tui.widgets.dialogs import Read

        if self.refuse_read_only():
            return False
        try:
            pid = start(replace(request, devices=self.state.devices), os.environ)
        except LaunchError as error:
            self.push_screen(Read("The engine could not be started", str(error)))
            return False
        self.state.live[request.run_dir] = pid
        self.open_run(request.run_dir)
        return True

    def refuse_read_only(self) -> bool:
        """Whether this console is read-only; notifies the user if it is."""
        if self.state.read_only:
            self.notify("this console is read-only", severity="warning")
        return self.state.read_only

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """A passing message, shown literally; one that is still shown is not repeated."""
        text = sanitize(message)
        if all(shown.message != text for shown in self._notifications):
            super().notify(text, title=title, severity=severity, timeout=timeout, markup=markup)

    def call_attention(self, text: str) -> None:
        """Make the terminal call its user, unless the settings say no."""
        # Private: Textual offers the bell publicly, but no other sequence.
        driver = self._driver
        if self.state.settings.bell and isinstance(driver, ConsoleDriver):
            driver.call_attention(text)

    # Keys that work everywhere --------------------------------------------------------

    def action_show_screen(self, mode: str) -> None:
        """Go to one of the screens, unless a question waits for its answer."""
        if not self._has_opened:
            # Clicked ahead: the first screen is about to come.
            self.call_after_refresh(self.action_show_screen, mode)
        elif isinstance(self.screen, ConsoleScreen):
            self.switch_mode(mode)

    async def action_back(self) -> None:
        """Go back one level."""
        if isinstance(self.screen, ConsoleScreen):
            self.screen.go_back()

    def action_command_palette(self) -> None:
        """Find a key, a run or a setting by a part of its name."""
        from textual.command import CommandPalette

        if not CommandPalette.is_open(cast("App[object]", self)):
            self.push_screen(CommandPalette(placeholder="Search for a key, a run or a setting…"))

    def action_help(self) -> None:
        """Show the keys."""
        screen = self.screen
        if isinstance(screen, ConsoleScreen):
            from chomp_tui.screens.help import HelpScreen

            self.push_screen(HelpScreen(screen.MODE, screen.PURPOSE, dict(self.state.settings.keymap)))

    async def action_quit(self) -> None:
        """Leave, after a question if there are unsaved edits; runs continue."""
        from chomp_tui.widgets.dialogs import confirm

        if "configure" not in self.built or not self.configure_screen.draft.has_unsaved:
            self.exit()
            return
        question = confirm(
            "Leave with unsaved changes?", text="The configuration differs from its file.", yes="Leave without saving"
        )
        self.push_screen(question, lambda answer: self.exit() if answer == "yes" else None)

    def action_toggle_theme(self) -> None:
        """Switch between dark and light."""
        self.theme = theme.opposite(dark=self.current_theme.dark)

    def export_screenshot(self, *, title: str | None = None, simplify: bool = False) -> str:
        from chomp_tui.platform.screenshot import aligned

        return aligned(super().export_screenshot(title=title, simplify=simplify))

    def action_save_screenshot(self) -> None:
        """Write the screen as SVG into the current folder, and as PNG where a converter is installed."""
        try:
            svg = Path(self.save_screenshot())
        except OSError as error:
            self.notify(f"the screenshot {error.filename} cannot be written: {error.strerror}", severity="error")
            return
        start_thread(partial(self._convert_screenshot, svg), "screenshot")

    def _convert_screenshot(self, svg: Path) -> None:
        from chomp_tui.platform.screenshot import to_png

        try:
            png = to_png(svg)
            said = f"screenshot: {svg}" + (f" and {png.name}" if png else " (PNG needs rsvg-convert or resvg)")
        except OSError as error:
            said = f"screenshot: {svg}; no PNG: {error}"
        # Allowed from any thread.
        self.notify(said)

    def _remember_theme(self, changed: object) -> None:
        settings = self.state.settings
        if settings.theme == self.theme:
            return
        settings.theme = self.theme
        try:
            save_settings(settings)
        except OSError as error:
            # Without a number it is a sentence already; with one its file may be a passing one.
            why = f"{settings.path} cannot be written: {error.strerror}" if error.errno else error
            self.notify(f"the theme is not remembered: {why}", severity="warning")
