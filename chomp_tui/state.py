"""What screens share, and what they may ask of the console: no screen imports the application."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

# Only for types: the first frame does not wait for the engine's configuration classes.
if TYPE_CHECKING:
    from textual.notifications import SeverityLevel

    from chomp.config import LoadedConfig
    from chomp.queue.launch import LaunchRequest
    from chomp_tui.config.draft import ForkOrigin
    from chomp_tui.engine.helper import Helper
    from chomp_tui.settings import Settings


@dataclass(frozen=True)
class StartView:
    """What the command line shows first.

    Attributes:
        mode: the first screen.
        config: the file to configure.
        overrides: `KEY=VALUE` texts on top of it.
        run: the run to show, or the run directory to write.
        resume: as on the command line.
        start: whether to start the run at once.
    """

    mode: str = "home"
    config: Path | None = None
    overrides: tuple[str, ...] = ()
    run: Path | None = None
    resume: str = "none"
    start: bool = False


@dataclass
class ConsoleState:
    """What screens share.

    Attributes:
        runs: the folder of runs.
        configs: the folder of configurations.
        read_only: whether nothing may be started, steered or deleted.
        environment: variables that the device screen sets for runs started here.
        devices: those on which runs started here compute, as `--devices` names them; empty for all.
        live: runs seen alive, and the engine's pid; kept by the run screen.
        notes: sentences to show at the start, on problems in the settings file.
        current_config: the valid configuration open in the configure screen, if there is one.
    """

    settings: Settings
    runs: Path = Path("runs")
    configs: Path = Path("configs")
    read_only: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    live: dict[Path, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    current_config: LoadedConfig | None = None

    @cached_property
    def helper(self) -> Helper:
        """Runs engine commands for screens and dialogs."""
        from chomp_tui.engine.helper import Helper

        return Helper()

    async def close(self) -> None:
        """End the helper, if there is one."""
        if "helper" in self.__dict__:
            await self.helper.close()

    @property
    def queue(self) -> Path:
        """The folder of the queue: beside the runs, as `chomp queue` finds it from there."""
        return Path(os.environ.get("CHOMP_QUEUE") or self.runs.parent / "queue")


class Console(Protocol):
    """The application, as screens know it."""

    @property
    def state(self) -> ConsoleState: ...

    def open_run(self, path: Path) -> None:
        """Show one run."""

    def edit_config(self, path: Path | None, *, fork: ForkOrigin | None = None) -> None:
        """Configure a run from a file, or from a past run's directory."""

    def show_checkpoints(self, run: Path | None) -> None:
        """Show the checkpoints of one run, or of all."""

    def compare_runs(self, runs: Sequence[Path]) -> None:
        """Show runs side by side; one that is a fork with its parent."""

    def launch(self, request: LaunchRequest) -> bool:
        """Start an engine and show its run; returns whether it was started."""

    def refuse_read_only(self) -> bool:
        """Whether this console is read-only; notifies the user if it is."""

    def notify(self, message: str, *, severity: SeverityLevel = "information") -> None:
        """Show a passing message, literally."""

    def hold_letters(self, is_ready: Callable[[], bool]) -> None:
        """Let letters wait until `is_ready`."""

    def go_to_setting(self, path: str) -> None:
        """Show a setting in the form of the current configuration."""

    def call_attention(self, text: str) -> None:
        """Make the terminal call its user."""

    def action_show_screen(self, mode: str) -> None:
        """Go to one of the screens."""
