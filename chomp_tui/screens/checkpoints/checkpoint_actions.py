"""Looking after checkpoints: verify, tag, delete; whatever touches the disk does so in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from textual import work
from textual.message import Message

from chomp.errors import ChompError
from chomp.record.manifest import set_tags, verify
from chomp.record.removal import delete_checkpoint
from chomp.record.rundir import RunDir
from chomp.record.text import size
from chomp_tui.live.checkpoint_list import CheckpointRow
from chomp_tui.screens.base import ConsoleScreen
from chomp_tui.screens.checkpoints.checkpoint_rows import Check
from chomp_tui.widgets.dialogs import Ask, confirm

PROGRESS_SECONDS = 0.25


class ConsoleGoneError(Exception):
    """Ends a verification that nobody waits for any more."""


class CheckpointUpkeep(ConsoleScreen):
    """The part of the checkpoints screen that changes checkpoints, or reads all of one.

    Attributes:
        checks: by a checkpoint's key, verifications under way and their results.
    """

    class Checked(Message):
        """A verification went on, or ended."""

        def __init__(self, key: str, check: Check) -> None:
            super().__init__()
            self.key = key
            self.check = check

    class Done(Message):
        """Something that took a thread is done; `problem` is one sentence if it failed."""

        def __init__(self, what: str, problem: str | None) -> None:
            super().__init__()
            self.what = what
            self.problem = problem

    def __init__(self) -> None:
        super().__init__()
        self.checks: dict[str, Check] = {}
        self._gone = threading.Event()

    def row(self) -> CheckpointRow | None:
        """The selected checkpoint."""
        raise NotImplementedError

    def draw(self) -> None:
        """Bring the screen up to date with what is known."""
        raise NotImplementedError

    def ask_again(self) -> None:
        """Look at the disk again."""
        raise NotImplementedError

    def end_checks(self) -> None:
        """End verifications soon; returns at once."""
        self._gone.set()

    async def agreed(self, title: str, text: str, yes: str) -> bool:
        """Whether a person chose to do something that must be chosen on purpose."""
        return await self.app.push_screen_wait(confirm(title, text=text, yes=yes)) == "yes"

    def action_verify(self) -> None:
        """Compare every byte with the manifest, in a thread."""
        row = self.row()
        running = self.checks.get(row.key) if row else None
        if row is None or (running is not None and running.fraction is not None):
            return
        self.checks[row.key] = Check(fraction=0.0)
        self.draw()
        threading.Thread(target=self._verify, args=(row,), daemon=True, name="verify").start()

    def _verify(self, row: CheckpointRow) -> None:
        done, told_at = 0, time.monotonic()

        def on_bytes(count: int) -> None:
            nonlocal done, told_at
            if self._gone.is_set():
                raise ConsoleGoneError
            done += count
            if time.monotonic() - told_at >= PROGRESS_SECONDS:
                told_at = time.monotonic()
                self.post_safely(self.Checked(row.key, Check(fraction=min(1.0, done / max(1, row.bytes)))))

        try:
            problems = verify(row.path, on_bytes)
        except ConsoleGoneError:
            return
        self.post_safely(self.Checked(row.key, Check(problems=tuple(problems))))

    def on_checkpoint_upkeep_checked(self, message: Checked) -> None:
        self.checks[message.key] = message.check
        self.draw()

    @work(group="tag", exclusive=True)
    async def action_tag(self) -> None:
        """Tag the checkpoint, or take its tags away."""
        row = self.row()
        if row is None or self.chomp.refuse_read_only():
            return
        text = await self.app.push_screen_wait(
            Ask(
                f"Tags of step {row.step:,}",
                value=", ".join(row.tags),
                placeholder="before the new data",
                text="Separated by commas. A tagged checkpoint is kept by retention; empty takes the tags away.",
            )
        )
        if text is not None:
            tags = [tag.strip() for tag in text.split(",") if tag.strip()]
            self._in_thread(row.path, "", lambda: set_tags(row.path, tags))

    @work(group="delete", exclusive=True)
    async def action_delete(self) -> None:
        """Delete the checkpoint, after asking."""
        row = self.row()
        if row is None or self.chomp.refuse_read_only():
            return
        if row.pid is not None:
            self.chomp.notify(f"{row.run.name} is running (pid {row.pid}): stop it first", severity="warning")
            return
        notes = [f"{row.path}, {size(row.bytes)}. It cannot be brought back."]
        if row.tags:
            notes.append(f"It is tagged “{', '.join(row.tags)}”: somebody keeps it on purpose.")
        if row.is_best:
            notes.append("It has the lowest evaluation loss of its run.")
        if row.is_latest:
            notes.append("It is the latest: the run could only go on from an earlier one.")
        if await self.agreed(f"Delete step {row.step:,} of {row.run.name}?", "\n".join(notes), "Delete it"):
            what = f"deleted step {row.step:,} of {row.run.name}"
            self._in_thread(row.path, what, lambda: delete_checkpoint(RunDir(row.run), row.step))

    def _in_thread(self, path: Path, what: str, act: Callable[[], None]) -> None:
        """Do something with the checkpoint at `path`, then say `what` was done, or what went wrong."""

        def run() -> None:
            try:
                act()
            except ChompError as error:
                self.post_safely(self.Done(what, str(error)))
            except OSError as error:
                # The error may name a passing file.
                self.post_safely(self.Done(what, f"{path} cannot be changed: {error.strerror or error}"))
            else:
                self.post_safely(self.Done(what, None))

        threading.Thread(target=run, daemon=True, name="checkpoint files").start()

    def on_checkpoint_upkeep_done(self, message: Done) -> None:
        if message.problem is not None:
            self.chomp.notify(message.problem, severity="error")
        elif message.what:
            self.chomp.notify(message.what)
        self.ask_again()
