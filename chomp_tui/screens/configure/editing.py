"""What the user changes in the form or in the YAML, and what other programs change in the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from textual.message import Message
from textual.widgets import TextArea
from textual.worker import Worker

from chomp.config.edits import CannotEdit
from chomp_tui.config.document import ConfigDocument
from chomp_tui.config.draft import Draft
from chomp_tui.live.file_watch import FileWatch, OnDisk
from chomp_tui.screens.base import ConsoleScreen
from chomp_tui.screens.configure.field import FieldRow
from chomp_tui.screens.configure.form import ConfigForm
from chomp_tui.screens.configure.on_disk import meet
from chomp_tui.screens.configure.yaml_editor import YamlEditor, YamlPane


class EditingScreen(ConsoleScreen):
    """Keeps one document, its two views and its file in step."""

    @dataclass
    class FileSeen(Message):
        """The opened file as it is on disk."""

        found: OnDisk

    def __init__(self) -> None:
        super().__init__()
        self.draft = Draft()
        self.file_watch = FileWatch(self._found)
        self._on_disk: OnDisk | None = None

    @property
    def document(self) -> ConfigDocument:
        """The configuration that is edited."""
        return self.draft.document

    def check_soon(self) -> None:
        """Validate once the user pauses."""
        raise NotImplementedError

    def document_changed(self) -> None:
        """Show the document, whose file or text was replaced."""
        raise NotImplementedError

    # Form and YAML ---------------------------------------------------------------------

    def pull(self) -> None:
        """Copy the editor's newest text into the document."""
        editor = self.query_one(YamlPane).editor
        self.document.take_lines(editor.document.lines, edit=editor.edit_number())

    def settle(self) -> None:
        """End the edit that is going on in the form or in the YAML, and take its text."""
        edited = self.query_one(ConfigForm).take_edit()
        if edited is not None:
            self._apply(edited)
        self.query_one(YamlPane).editor.action_leave()
        self.pull()
        self.document.end_edit()

    def on_field_row_edited(self, event: FieldRow.Edited) -> None:
        event.stop()
        self._apply(event)

    def _apply(self, edited: FieldRow.Edited) -> None:
        """Write into the document what was typed or picked in the form."""
        self.pull()
        document, row = self.document, edited.row
        try:
            if edited.is_cancelled and edited.edit is not None:
                document.cancel_edit(edited.edit)
            elif edited.value.strip():
                document.set(row.setting.path, edited.value, edit=edited.edit)
            else:
                document.reset(row.setting.path, edit=edited.edit)
        except CannotEdit as error:
            self.chomp.notify(str(error), severity="warning")
        pane = self.query_one(YamlPane)
        pane.show_document(document)
        line = document.line_of(row.setting.path)
        if line is not None:
            pane.go_to(line)
        if edited.is_over:
            document.end_edit()
            row.show(document.view(row.setting))
            self.meet_disk()
        self.check_soon()

    def on_field_row_entered(self, event: FieldRow.Entered) -> None:
        line = self.document.line_of(event.row.setting.path)
        if line is not None:
            self.query_one(YamlPane).go_to(line)

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        event.stop()
        before = self.document.text
        self.pull()
        if self.document.text != before:
            self.check_soon()

    def action_undo(self) -> None:
        """Undo the last edit, made in either view; an edit in a field is cancelled."""
        edited = self.query_one(ConfigForm).take_edit()
        if edited is not None:
            edited.is_cancelled = True
            self._apply(edited)
        else:
            since = " since the last launch" if self.draft.is_launched else ""
            self._travel(self.document.undo, f"nothing to undo{since}")

    def action_redo(self) -> None:
        """Redo the last undone edit."""
        self.settle()
        self._travel(self.document.redo, "nothing to redo")

    def _travel(self, move: Callable[[], bool], nothing: str) -> None:
        self.pull()
        if move():
            self.document_changed()
        else:
            self.chomp.notify(nothing)

    # The file on disk ------------------------------------------------------------------

    def _found(self, found: OnDisk) -> None:
        """From the thread that watches the file."""
        self.post_safely(self.FileSeen(found))

    def on_editing_screen_file_seen(self, event: FileSeen) -> None:
        event.stop()
        self._on_disk = event.found
        self.meet_disk()

    def on_yaml_editor_turned(self, event: YamlEditor.Turned) -> None:
        event.stop()
        self.meet_disk()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.worker.is_finished:
            self.meet_disk()

    def meet_disk(self) -> None:
        """Take note of a file that has changed, once the user neither types nor answers a question."""
        is_typing = self.query_one(ConfigForm).is_editing or not self.query_one(YamlPane).editor.read_only
        found = self._on_disk
        if found is not None and self.is_current and not is_typing and self.busy is None:
            self._on_disk = None
            self.run_worker(meet(self, found), name="the file has changed", group="asking")

    @property
    def busy(self) -> Worker[Any] | None:
        return next((one for one in self.workers if one.group == "asking" and not one.is_finished), None)
