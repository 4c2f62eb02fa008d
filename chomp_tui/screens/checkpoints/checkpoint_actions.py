"""Actions on checkpoints: verify, tag, delete; what touches the disk runs in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from textual.app import App
from textual.message import Message

from chomp.errors import ChompError
from chomp.record.formatting import size
from chomp.record.manifest import set_tags, verify
from chomp.record.removal import delete_checkpoint
from chomp.record.rundir import RunDir
from chomp_tui.live.checkpoint_list import CheckpointRow
from chomp_tui.platform.background import in_thread, start_thread
from chomp_tui.screens.checkpoints.checkpoint_rows import Verification
from chomp_tui.state import Console
from chomp_tui.widgets.dialogs import Ask, confirm

PROGRESS_SECONDS = 0.25


class ConsoleGoneError(Exception):
    """Ends a verification when its screen is closed."""


class CheckpointHost(Protocol):
    """What these actions need of the checkpoints screen."""

    @property
    def app(self) -> App[Any]: ...

    @property
    def chomp(self) -> Console: ...

    def row(self) -> CheckpointRow | None:
        """The selected checkpoint."""

    def draw(self) -> None:
        """Draw what has changed."""

    def look_again(self) -> None:
        """Look at the disk again."""

    def post_safely(self, message: Message) -> None:
        """Post from a thread."""


class CheckpointActions:
    """Changes the selected checkpoint, or reads all of it.

    Attributes:
        checks: by a checkpoint's key, verifications under way and their results.
    """

    class Checked(Message):
        """A verification has made progress, or ended."""

        def __init__(self, key: str, check: Verification) -> None:
            super().__init__()
            self.key = key
            self.check = check

    def __init__(self, screen: CheckpointHost) -> None:
        self._screen = screen
        self.checks: dict[str, Verification] = {}
        self._gone = threading.Event()

    def end_checks(self) -> None:
        """End verifications soon; returns at once."""
        self._gone.set()

    def verify(self) -> None:
        """Compare every byte with the manifest, in a thread."""
        row = self._screen.row()
        running = self.checks.get(row.key) if row else None
        if row is None or (running is not None and running.fraction is not None):
            return
        self.checks[row.key] = Verification(fraction=0.0)
        self._screen.draw()
        start_thread(lambda: self._verify(row), "verify")

    def _verify(self, row: CheckpointRow) -> None:
        done, told_at = 0, time.monotonic()

        def on_bytes(count: int) -> None:
            nonlocal done, told_at
            if self._gone.is_set():
                raise ConsoleGoneError
            done += count
            if time.monotonic() - told_at >= PROGRESS_SECONDS:
                told_at = time.monotonic()
                self._screen.post_safely(
                    self.Checked(row.key, Verification(fraction=min(1.0, done / max(1, row.bytes))))
                )

        try:
            problems = verify(row.path, on_bytes)
        except ConsoleGoneError:
            return
        self._screen.post_safely(self.Checked(row.key, Verification(problems=tuple(problems))))

    def accept_check(self, message: Checked) -> None:
        """Show how far a verification is."""
        self.checks[message.key] = message.check
        self._screen.draw()

    async def tag(self) -> None:
        """Ask for the tags of the checkpoint, and set them."""
        row = self._screen.row()
        if row is None or self._screen.chomp.refuse_read_only():
            return
        text = await self._screen.app.push_screen_wait(
            Ask(
                f"Tags of step {row.step:,}",
                value=", ".join(row.tags),
                placeholder="before the new data",
                text="Separated by commas. A tagged checkpoint is kept by retention; empty takes the tags away.",
            )
        )
        if text is not None:
            tags = [tag.strip() for tag in text.split(",") if tag.strip()]
            self._screen.app.run_worker(self._do(row.path, "", lambda: set_tags(row.path, tags)))

    async def delete(self) -> None:
        """Delete the checkpoint, after asking."""
        row = self._screen.row()
        if row is None or self._screen.chomp.refuse_read_only():
            return
        if row.pid is not None:
            self._screen.chomp.notify(f"{row.run.name} is running (pid {row.pid}): stop it first", severity="warning")
            return
        notes = [f"{row.path}, {size(row.bytes)}. It cannot be brought back."]
        if row.tags:
            notes.append(f"It is tagged “{', '.join(row.tags)}”: a user keeps it on purpose.")
        if row.is_best:
            notes.append("It has the lowest evaluation loss of its run.")
        if row.is_latest:
            notes.append("It is the latest: the run could only resume from an earlier one.")
        title = f"Delete step {row.step:,} of {row.run.name}?"
        question = confirm(title, text="\n".join(notes), yes="Delete it")
        if await self._screen.app.push_screen_wait(question) == "yes":
            what = f"deleted step {row.step:,} of {row.run.name}"
            act = self._do(row.path, what, lambda: delete_checkpoint(RunDir(row.run), row.step))
            self._screen.app.run_worker(act)

    async def _do(self, path: Path, what: str, act: Callable[[], None]) -> None:
        """Do something with the checkpoint at `path`, then notify the user of `what` was done, or of the problem."""
        try:
            await in_thread(act)
        except (ChompError, OSError) as error:
            # An OSError may name a passing file.
            problem = error if isinstance(error, ChompError) else f"{path} cannot be changed: {error.strerror or error}"
            self._screen.chomp.notify(str(problem), severity="error")
        else:
            if what:
                self._screen.chomp.notify(what)
        self._screen.look_again()
