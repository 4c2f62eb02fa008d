"""Checkpoints of one run or of all: their figures, the integrity of their files; resume, fork, sample, export."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.binding import BindingType
from textual.content import Content

from chomp.queue.launch import LaunchRequest
from chomp.record.formatting import sanitize
from chomp.record.rundir import RunDir
from chomp.record.samples import read_samples
from chomp_tui import keys
from chomp_tui.config.draft import ForkOrigin
from chomp_tui.engine.resume_plan import going_back_text, more_steps_problem, plan_resume
from chomp_tui.live.checkpoint_list import CheckpointList, CheckpointRow, Checkpoints, Reference, settings_of
from chomp_tui.platform.background import in_thread
from chomp_tui.screens.checkpoints.checkpoint_actions import CheckpointActions
from chomp_tui.screens.checkpoints.checkpoint_rows import (
    change_lines,
    checkpoint_detail,
    checkpoint_row,
    columns,
    compared,
    difference_table,
)
from chomp_tui.screens.checkpoints.excerpt import Excerpt, excerpt_text, read_excerpt
from chomp_tui.screens.checkpoints.exporting import ExportDialog
from chomp_tui.screens.checkpoints.sampling import SampleDialog
from chomp_tui.screens.list_screen import ListScreen
from chomp_tui.widgets.dialogs import Ask, Read, confirm
from chomp_tui.widgets.listing import Row
from chomp_tui.widgets.name_filter import NameFilter
from chomp_tui.widgets.samples import written
from chomp_tui.widgets.update_if_changed import set_title

# Of one step; the newest are shown.
MOST_SAMPLES = 50


class CheckpointsScreen(ListScreen):
    """Checkpoints, newest first; ★ marks the lowest evaluation loss of a run."""

    MODE = "checkpoints"
    PURPOSE = (
        "Checkpoints of one run or of all. ★ marks the lowest evaluation loss of a run. Settings are compared with "
        "the current configuration, or with those of the checkpoint's own run. Esc shows all runs again."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("checkpoints")]

    LIST = "checkpoint-list"
    COLUMNS = columns(with_run=True)
    TICK_SECONDS = 5.0

    found: Checkpoints
    follower: CheckpointList | None

    def __init__(self) -> None:
        super().__init__()
        self.found = Checkpoints()
        self._run: Path | None = None
        self._from_newest = False
        self.actions = CheckpointActions(self)
        # Of the selected checkpoint, by its row, None while it is read; read again once the row changes.
        self._excerpt: tuple[CheckpointRow, Excerpt | None] | None = None

    def show(self, run: Path | None) -> None:
        """Show the checkpoints of one run, its newest selected, or of all (None); before or after mount."""
        self._run = run
        self._from_newest = run is not None
        self.look_again()

    def look_again(self) -> None:
        """Read the disk now, and compare with the current configuration."""
        if self.follower is not None:
            self.follower.follow(self._run, self._reference())

    def _reference(self) -> Reference | None:
        """The configuration in the configure screen, if there is a valid one."""
        loaded = self.chomp.state.current_config
        return Reference(Path(loaded.source).name, settings_of(loaded.config)) if loaded is not None else None

    def follow(self, deliver: Callable[[Checkpoints], None]) -> CheckpointList:
        found = CheckpointList(self.chomp.state.runs, deliver)
        found.follow(self._run, self._reference())
        return found

    def on_unmount(self) -> None:
        self.actions.end_checks()

    def on_screen_resume(self) -> None:
        self.look_again()

    # What is shown ---------------------------------------------------------------------

    def accept(self, found: Checkpoints) -> None:
        before = {row.key: row.saved_at for row in self.found.rows}
        for row in found.rows:
            if before.get(row.key, row.saved_at) != row.saved_at:
                # The engine saved this step again: the result of a verification is obsolete.
                self.actions.checks.pop(row.key, None)
        super().accept(found)
        if self._from_newest and found.run == self._run and self.listing.keys:
            self._from_newest = False
            self.listing.select(self.listing.keys[0])

    def rows(self, now: float) -> list[tuple[str, Row]]:
        return [(row.run.name, checkpoint_row(row, now, self.actions.checks.get(row.key))) for row in self.found.rows]

    def draw(self) -> None:
        run = self.found.run
        self.listing.show_columns(columns(with_run=run is None, narrow=self.has_class("-narrow")))
        super().draw()
        set_title(self.query_one("#list-panel"), f"Checkpoints of {run.name}" if run else "Checkpoints of all runs")
        self.set_context(f"vs {self.found.reference or 'own settings'}")

    def empty_text(self) -> Content:
        if self.found.run is not None:
            return Content(sanitize(f"{self.found.run.name} has no checkpoint yet. Esc shows those of all runs."))
        return Content(sanitize(f"No run in {self.chomp.state.runs} has a checkpoint yet."))

    def detail(self, width: int) -> tuple[str, Content]:
        row = self.row()
        if row is None:
            return "", Content("")
        check = self.actions.checks.get(row.key)
        text = checkpoint_detail(row, time.time(), check, self.found.reference, width)
        if self.height_beside and width:
            if self._excerpt is None or self._excerpt[0] != row:
                self._excerpt = row, None
                self._read_excerpt(row)
            elif (excerpt := self._excerpt[1]) is not None:
                text = Content("\n\n").join([text, excerpt_text(excerpt, width, self.height_beside)])
        return f"step {row.step:,} of {row.run.name}", text

    @work(group="excerpt", exclusive=True)
    async def _read_excerpt(self, row: CheckpointRow) -> None:
        self._excerpt = row, await in_thread(lambda: read_excerpt(row))
        if self.row() == row:
            self.draw_detail()

    def row(self) -> CheckpointRow | None:
        """The selected checkpoint; None if the list is empty or not mounted yet."""
        key = self.selected(self.LIST)
        return next((row for row in self.found.rows if row.key == key), None)

    # Changing ---------------------------------------------------------------------------

    def action_verify(self) -> None:
        """Compare every byte with the manifest, in a thread."""
        self.actions.verify()

    @work(group="tag", exclusive=True)
    async def action_tag(self) -> None:
        """Change the checkpoint's tags."""
        await self.actions.tag()

    @work(group="delete", exclusive=True)
    async def action_delete(self) -> None:
        """Delete the checkpoint, after asking."""
        await self.actions.delete()

    def on_checkpoint_actions_checked(self, message: CheckpointActions.Checked) -> None:
        self.actions.accept_check(message)

    # Resume, fork, sample, export --------------------------------------------------------

    def _refuse_damaged(self, row: CheckpointRow) -> bool:
        """Whether a checkpoint is known to be damaged; notifies the user if it is."""
        check = self.actions.checks.get(row.key)
        found = check.problems[0] if check is not None and check.problems else None
        sentence = row.damaged or (f"step {row.step:,} is damaged: {found}" if found else None)
        if sentence is not None:
            self.chomp.notify(sentence, severity="error")
        return sentence is not None

    def on_listing_opened(self) -> None:
        self.action_resume()

    async def _agreed(self, title: str, text: str, yes: str) -> bool:
        """Whether the user confirmed."""
        return await self.app.push_screen_wait(confirm(title, text=text, yes=yes)) == "yes"

    @work(group="resume", exclusive=True)
    async def action_resume(self) -> None:
        """Resume in place, after the confirmations that it needs."""
        row = self.row()
        if row is None or self.chomp.refuse_read_only():
            return
        if self._refuse_damaged(row):
            return
        plan = plan_resume(row, self.found.rows)
        if plan.refusal is not None:
            self.chomp.notify(plan.refusal, severity="warning")
            return
        if plan.fixed:
            self.app.push_screen(Read("It cannot resume with the run's settings", difference_table(row.own or ())))
            return
        if plan.to_confirm and not await self._agreed(
            "Confirm these changes?",
            f"The run was last started with other settings than this checkpoint:\n{change_lines(plan.to_confirm)}",
            "Confirm and resume",
        ):
            return
        if plan.set_aside and not await self._agreed(
            f"Go back to step {row.step:,}?", going_back_text(row, plan), f"Resume from step {row.step:,}"
        ):
            return
        overrides: tuple[str, ...] = ()
        if plan.last_step is not None:
            steps = await self.app.push_screen_wait(
                Ask(
                    "Train up to which step?",
                    value=str(plan.last_step * 2),
                    text=f"This run ends at step {plan.last_step:,}, where this checkpoint is.",
                    check=lambda text: more_steps_problem(text, row.step),
                )
            )
            if steps is None:
                return
            overrides = (f"train.steps={int(steps)}",)
        environment = dict(self.chomp.state.environment)
        self.chomp.launch(
            LaunchRequest(
                run_dir=row.run,
                overrides=overrides,
                resume=str(row.step),
                accept=plan.accept,
                environment=environment,
            )
        )

    def action_fork(self) -> None:
        """Configure a new run that begins with the checkpoint."""
        row = self.row()
        if row is None or self.chomp.refuse_read_only():
            return
        if self._refuse_damaged(row):
            return
        self.chomp.edit_config(row.run, fork=ForkOrigin(row.run, row.step))

    def action_sample(self) -> None:
        """Generate text with the checkpoint."""
        row = self.row()
        if row is None or self.chomp.refuse_read_only() or self._refuse_damaged(row):
            return
        self.app.push_screen(SampleDialog(self.chomp.state.helper, row.path, self.chomp.state.environment))

    def action_export(self) -> None:
        """Export the checkpoint's model for other programs."""
        row = self.row()
        if row is None or self.chomp.refuse_read_only() or self._refuse_damaged(row):
            return
        self.app.push_screen(
            ExportDialog(self.chomp.state.helper, row.path, self.chomp.state.environment),
            lambda stopped: self.chomp.notify(stopped) if stopped else None,
        )

    @work(group="samples", exclusive=True)
    async def action_samples(self) -> None:
        """Show the samples of the checkpoint's step from `samples.jsonl`."""
        row = self.row()
        if row is None:
            return
        try:
            found = await in_thread(lambda: read_samples(RunDir(row.run).samples, [row.step])[row.step])
        except OSError as error:
            why = error.strerror or error
            self.chomp.notify(f"the samples of {row.run.name} cannot be read: {why}", severity="error")
            return
        if not found:
            self.chomp.notify(
                f"{row.run.name} has no samples of step {row.step:,}; train.generate_for_checkpoints writes some "
                "at each save"
            )
            return
        shown = found[-MOST_SAMPLES:]
        texts = [
            written(f"sample {number:,} of {len(found):,}", sample["prompt"], sample["text"])
            for number, sample in enumerate(shown, len(found) - len(shown) + 1)
        ]
        title = f"Samples of step {row.step:,} of {row.run.name}"
        self.app.push_screen(Read(title, Content("\n\n").join(texts)))

    def action_differences(self) -> None:
        """Show all settings that differ."""
        row = self.row()
        differences = compared(row) if row else None
        if row is None or differences is None:
            return
        now = self.found.reference if row.current is not None else "the run's own settings"
        if not differences:
            self.chomp.notify(f"step {row.step:,} of {row.run.name} and {now}: nothing differs")
            return
        self.app.push_screen(Read(f"Step {row.step:,} of {row.run.name}, and {now}", difference_table(differences)))

    def go_back(self) -> None:
        if self._run is None:
            super().go_back()
        elif not self.query_one(NameFilter).clear_away():
            self.show(None)
