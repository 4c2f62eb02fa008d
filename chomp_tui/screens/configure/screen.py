"""The configure screen: a form and its YAML side by side, live validation, pre-flight figures."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.timer import Timer

from chomp.config import LoadedConfig
from chomp.errors import ChompError
from chomp_tui import keys
from chomp_tui.config.document import Validation
from chomp_tui.config.documents import NEW_NAME
from chomp_tui.config.draft import Draft, ForkOrigin, OpenRequest
from chomp_tui.config.fork_plan import severity_of
from chomp_tui.config.preflight import DEBOUNCE_SECONDS, Preflight, Question, Report, question_about
from chomp_tui.platform.background import in_thread
from chomp_tui.screens.configure.card_panel import HERE, choose_device
from chomp_tui.screens.configure.editing import EditingScreen
from chomp_tui.screens.configure.entry_flow import add_entry, remove_entry
from chomp_tui.screens.configure.external import edit_outside
from chomp_tui.screens.configure.file_dialogs import choose_base, diff_dialog, may_discard
from chomp_tui.screens.configure.form import ConfigForm
from chomp_tui.screens.configure.headline import Headline, context, verdict
from chomp_tui.screens.configure.launch_flow import launch
from chomp_tui.screens.configure.pages import Pages
from chomp_tui.screens.configure.preflight_panel import PreflightPanel, digest, failure
from chomp_tui.screens.configure.queue_flow import queue_it
from chomp_tui.screens.configure.saving import save_as, save_document
from chomp_tui.screens.configure.yaml_editor import YamlPane

CHECK_SECONDS = 0.15
# From this width on, form and YAML are side by side.
SIDE_COLUMNS = 116


class ConfigureScreen(EditingScreen):
    """Configure a run."""

    MODE = "configure"
    PURPOSE = "Edit a configuration as a form or as YAML, see its pre-flight figures, and start a run with it."
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("configure")]

    def __init__(self, *, debounce_seconds: float = DEBOUNCE_SECONDS) -> None:
        super().__init__()
        self._is_open = False
        self._request: OpenRequest | None = None
        self._timer: Timer | None = None
        self._preflight = Preflight(
            self._got_report, helper=lambda: self.chomp.state.helper, debounce_seconds=debounce_seconds
        )

    @property
    def pages(self) -> Pages:
        """Form, YAML and figures."""
        return self.query_one(Pages)

    @property
    def is_inspected(self) -> bool:
        """Whether the pre-flight figures are up to date."""
        return self._preflight.report.state == "done"

    @property
    def is_ready(self) -> bool:
        return self._is_open

    # Opening ---------------------------------------------------------------------------

    def edit(
        self,
        path: Path | None,
        *,
        overrides: Sequence[str] = (),
        run_dir: Path | None = None,
        resume: str = "none",
        start: bool = False,
        fork: ForkOrigin | None = None,
    ) -> None:
        """Configure a run from a YAML file, a past run's directory, a checkpoint to fork, or from an empty text.

        Args: those of `OpenRequest`.
        """
        self._request = OpenRequest(path, tuple(overrides), run_dir, resume, start, fork)
        if self.is_mounted:
            self.run_worker(self._open_requested(), group="open", exclusive=True, exit_on_error=True)

    async def _open_requested(self) -> None:
        request, self._request = self._request, None
        if request is None or not await may_discard(self):
            return
        try:
            draft = await in_thread(request.read)
        except ChompError as error:
            self._is_open = True
            self.chomp.notify(str(error), severity="error")
            return
        await self._show(draft)
        if request.start:
            self.action_launch()

    async def _show(self, draft: Draft) -> None:
        """Show another draft in all views."""
        draft.document.devices = self.document.devices
        self.draft = draft
        form = self.query_one(ConfigForm)
        self.query_one(YamlPane).load(draft.document)
        self.file_watch.watch(draft.document.path)
        await form.show_document(draft.document, severity_of if draft.fork else None)
        self._check()
        if self.is_current:
            self.pages.turn_to("form")
            form.focus_sections()
        self._is_open = True

    def compose_body(self) -> ComposeResult:
        """Form, YAML and figures; the width decides how many are visible."""
        yield Headline()
        yield Pages(id="configure")

    async def on_mount(self) -> None:
        self.pages.turn_to("form")
        self.file_watch.start()
        if self._request is None:
            await self._show(self.draft)
        else:
            self.run_worker(self._open_requested(), group="open", exclusive=True)

    async def on_unmount(self) -> None:
        self.file_watch.stop()
        await self._preflight.close()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= SIDE_COLUMNS, "-side")
        self.call_after_refresh(self._update_context)

    def on_screen_suspend(self) -> None:
        if self._is_open:
            self.settle()
        self.file_watch.pause(True)

    def on_screen_resume(self) -> None:
        self.file_watch.pause(False)
        self.call_after_refresh(self.meet_disk)
        if self.is_mounted and self.document.check().loaded is not None:
            self._estimate(self.document.check())

    # Editing ---------------------------------------------------------------------------

    def check_soon(self) -> None:
        """Validate once the user pauses."""
        self._update_context()
        self._cancel_check()
        self._timer = self.set_timer(CHECK_SECONDS, self._check)

    def _cancel_check(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def _check(self) -> None:
        """Validate, and update everything on screen."""
        self._cancel_check()
        check = self.document.check()
        is_opened = self.document.is_modified or self.document.name != NEW_NAME
        self.chomp.state.current_config = check.loaded if is_opened else None
        self.query_one(ConfigForm).update_views()
        self.query_one(YamlPane).show_problems(check.problems)
        self.query_one(PreflightPanel).show_hints(check.notes)
        self._estimate(check)
        self._update_context()
        self._update_headline()

    # Status ----------------------------------------------------------------------------

    def _update_context(self) -> None:
        self.set_context(context(self.document, self.size.width))

    def _update_headline(self) -> None:
        report, words = self._preflight.report, verdict(self.document.check())
        words = Content("  ").join(part for part in (words, failure(report)) if part.plain)
        self.query_one(Headline).show(words, digest(report), self.draft.origin())

    # Figures ---------------------------------------------------------------------------

    @property
    def preflight(self) -> Report:
        """The engine's estimate of the current configuration."""
        return self._preflight.report

    def _estimate(self, check: Validation, *, compiled: bool = False, card: str | None = None) -> None:
        if check.loaded is None:
            self._preflight.hold("waiting for a valid configuration")
            return
        self._preflight.request(self._question(check.loaded, compiled=compiled, card=card))

    def _question(self, loaded: LoadedConfig, *, compiled: bool = False, card: str | None = None) -> Question:
        state = self.chomp.state
        return question_about(
            self.draft,
            loaded.config,
            state.environment,
            state.runs,
            compiled=compiled,
            card=card,
            devices=state.devices,
        )

    async def check_start(self, loaded: LoadedConfig) -> Report:
        """A new answer of the engine on whether a run would start now."""
        return await self._preflight.renew(self._question(loaded))

    def _got_report(self, report: Report) -> None:
        if self.is_mounted:
            if report.state == "done" and report.devices != self.document.devices:
                self.document.devices = report.devices
                self.query_one(ConfigForm).update_views()
            self.query_one(PreflightPanel).show(report)
            self._update_headline()

    def action_compile(self) -> None:
        """Ask for which device, and compile the step for its memory analysis."""
        self.settle()
        self.app.push_screen(choose_device(), self._compile_for)

    def _compile_for(self, device: str | None) -> None:
        if device is None:
            return
        self.pull()
        check = self.document.check()
        if check.loaded is None:
            self.chomp.notify("the configuration has problems; correct them before you compile it")
            return
        self._estimate(check, compiled=True, card=None if device == HERE else device)
        if not self.query_one(PreflightPanel).display:
            self.pages.turn_to("preflight")

    def action_preview(self) -> None:
        """Show a packed batch as the model receives it."""
        from chomp_tui.screens.preview.dialog import preview_of

        self.pull()
        loaded = self.document.check().loaded
        if loaded is None:
            self.chomp.notify("the configuration has problems; correct them before you preview its data")
        else:
            self.app.push_screen(preview_of(self.draft, loaded.config, self.chomp.state))

    # Moving ----------------------------------------------------------------------------

    def action_toggle_yaml(self) -> None:
        """Show the next of form, YAML and figures."""
        self.pages.turn(self.document)

    async def go_to(self, path: str) -> None:
        """Put the cursor on a setting."""
        await self.pages.go_to(self.document, path)

    async def go_to_first_problem(self) -> None:
        """Notify of the first problem, and put the cursor there."""
        self.chomp.notify(f"not started: {self.document.check().problems[0]}", severity="error")
        await self.show_first_problem()

    async def show_first_problem(self) -> None:
        """Put the cursor on the first problem."""
        check = self.document.check()
        first = check.problems[0]
        if check.parses and first.path:
            await self.go_to(first.path)
        else:
            self.pages.go_to_place(first)

    @property
    def line(self) -> int:
        """The line of the cursor in the YAML, from 1."""
        return self.query_one(YamlPane).editor.cursor_location[0] + 1

    def on_yaml_pane_chosen(self, event: YamlPane.Chosen) -> None:
        event.stop()
        self.pages.go_to_place(event.problem)

    def go_back(self) -> None:
        """Close the search, then leave the fields, then the screen; edits stay."""
        form = self.query_one(ConfigForm)
        if form.has_class("-finding"):
            self.run_worker(form.leave_filter(), group="filter")
        elif self.pages.page != "form" or not form.has_focus_within or form.current is not None:
            self.pages.turn_to("form")
            form.focus_sections()
        else:
            super().go_back()

    def action_filter(self) -> None:
        """Find a setting by a part of its name or help."""
        self.pages.turn_to("form")
        self.query_one(ConfigForm).open_filter()

    # Files and launching ---------------------------------------------------------------

    def document_changed(self) -> None:
        """Show the document, whose file or text was replaced."""
        self.query_one(YamlPane).show_document(self.document)
        self.file_watch.watch(self.document.path)
        self._check()

    def after_launch(self, draft: Draft) -> None:
        """A run was started: pause estimates, and choose a new run directory for the next one."""
        self._preflight.hold("paused while a run starts")
        draft.was_launched()

    def action_save(self) -> None:
        """Save to the opened file."""
        self._do(save_document(self), "the file is being saved")

    def action_save_as(self) -> None:
        """Save under another name."""
        self._do(save_as(self), "the file is being saved")

    def action_diff(self) -> None:
        """Show the differences from the file."""
        self.settle()
        document = self.document
        if document.is_modified or document.overrides:
            self.app.push_screen(diff_dialog(document))
        else:
            self.chomp.notify("nothing differs: the text is as it " + ("is on disk" if document.path else "began"))

    def action_queue(self) -> None:
        """Add the configuration on screen to the queue."""
        self._do(queue_it(self), "the job is being added")

    def action_launch(self) -> None:
        """Start a run with the configuration on screen."""
        self._do(launch(self), "the run is being prepared")

    def action_external(self) -> None:
        """Edit the YAML in the user's own editor."""
        self._do(edit_outside(self), "the editor is open")

    def action_show_all(self) -> None:
        """Show also settings that the run does not read, or hide them again."""
        self.query_one(ConfigForm).show_all()

    def action_add_entry(self) -> None:
        """Add an evaluation set or task, or a source or stage of the mixture."""
        self._do(self._add_entry(), "an entry is being added")

    async def _add_entry(self) -> None:
        path = await add_entry(self)
        if path is not None:
            await self.go_to(path)

    def action_remove_entry(self) -> None:
        """Remove such an entry."""
        self._do(remove_entry(self), "an entry is being removed")

    def action_open_file(self) -> None:
        """Start from another file, or from a past run."""
        self._do(self._choose(), "configurations and runs are being listed")

    async def _choose(self) -> None:
        base = await choose_base(self)
        if base is not None:
            self.edit(base.path)

    def _do(self, work: Coroutine[Any, Any, object], what: str) -> None:
        """Run one task with dialogs at a time.

        A running task is not cancelled for another: its thread would continue and leave an incomplete run.
        """
        busy = self.busy
        if busy is not None:
            work.close()
            self.chomp.notify(f"one moment: {busy.name}")
            return
        self.settle()
        self.run_worker(work, name=what, group="asking")
        # What is typed now answers the dialog that may come, and edits nothing before.
        self.chomp.hold_letters(lambda: self.busy is None or self.app.screen is not self)
