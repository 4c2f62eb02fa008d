"""Saves the current configuration."""

from __future__ import annotations

from pathlib import Path

from chomp.errors import ChompError
from chomp_tui.config.document import ConfigDocument
from chomp_tui.config.documents import ChangedOnDisk, save
from chomp_tui.live.file_watch import read_bytes
from chomp_tui.platform.background import in_thread
from chomp_tui.screens.configure.file_dialogs import Editor
from chomp_tui.screens.configure.on_disk import OVERWRITE, ask_changed
from chomp_tui.widgets.dialogs import Ask, confirm


async def save_document(screen: Editor, path: Path | None = None, *, overwrite: bool = False) -> bool:
    """Save to the document's file, or to `path`; asks for a path if there is none, and before it overwrites a file.

    Returns:
        Whether it was saved.
    """
    document = screen.document
    target = path or document.path
    if target is None:
        return await save_as(screen)
    try:
        data = await in_thread(lambda: save(document, target, overwrite=overwrite))
    except ChangedOnDisk as error:
        return await _after_conflict(screen, document, target, str(error))
    except ChompError as error:
        screen.chomp.notify(str(error), severity="error")
        return False
    document.saved(target, data)
    screen.document_changed()
    screen.chomp.notify(f"saved {target}")
    return True


async def _after_conflict(screen: Editor, document: ConfigDocument, target: Path, sentence: str) -> bool:
    if target != document.path:
        question = confirm(f"Replace {target.name}?", text=f"{target} exists already.", yes="Replace it")
        return await screen.app.push_screen_wait(question) == "yes" and await save_document(
            screen, target, overwrite=True
        )
    data = await in_thread(lambda: read_bytes(target))
    if data is None:
        screen.chomp.notify(sentence, severity="error")
        return False
    answer = await ask_changed(screen, data, OVERWRITE)
    return answer == OVERWRITE.id and await save_document(screen, overwrite=True)


async def save_as(screen: Editor) -> bool:
    """Ask for a name and save there."""
    document = screen.document
    folder = screen.chomp.state.configs
    start = document.path or folder / "new.yaml"

    def check(text: str) -> str | None:
        path = Path(text).expanduser()
        if not text.strip():
            return "a file name is needed"
        if path.is_dir():
            return f"{path} is a folder"
        if path.suffix not in (".yaml", ".yml"):
            return "the name must end in .yaml"
        return None if path.parent.is_dir() else f"there is no folder {path.parent}"

    name = await screen.app.push_screen_wait(Ask("Save as", value=str(start), check=check))
    return name is not None and await save_document(screen, Path(name).expanduser())
