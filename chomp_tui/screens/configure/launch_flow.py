"""From the configuration on screen to a started engine, with the dialogs in between."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from chomp.config import LoadedConfig
from chomp.config.compat import Difference
from chomp.errors import ChompError
from chomp.queue.launch import LaunchRequest, reason
from chomp.record.fork import fork_run
from chomp.record.rundir import RunDir, fresh_name, open_run, write_whole
from chomp_tui.config.document import ConfigDocument
from chomp_tui.config.draft import Draft
from chomp_tui.config.fork_plan import ForkPlan
from chomp_tui.config.preflight import Report
from chomp_tui.live.file_watch import read_bytes
from chomp_tui.platform.background import in_thread
from chomp_tui.screens.checkpoints.checkpoint_rows import change_lines
from chomp_tui.screens.configure.file_dialogs import Editor
from chomp_tui.screens.configure.on_disk import OVERWRITE, ask_changed, reload
from chomp_tui.screens.configure.saving import save_document
from chomp_tui.widgets.dialogs import Choice, Choose, Read

CHECKING = "checking whether the run can start…"
_STAMP = re.compile(r"-\d{8}-\d{6}(?:-\d+)?\Z")


class Launcher(Editor, Protocol):
    """What these dialogs need of the screen that starts a run."""

    @property
    def preflight(self) -> Report: ...

    async def check_start(self, loaded: LoadedConfig) -> Report:
        """A new answer of the engine on whether a run would start now."""

    async def go_to(self, path: str) -> None:
        """Put the cursor on a setting."""

    async def go_to_first_problem(self) -> None:
        """Notify of the first problem and put the cursor there."""

    def after_launch(self, draft: Draft) -> None:
        """A run was started from `draft`."""


async def launch(screen: Launcher) -> None:
    """Start a run with the configuration on screen, or notify why not."""
    draft, loaded = screen.draft, screen.document.check().loaded
    if loaded is None:
        await screen.go_to_first_problem()
        return
    if screen.chomp.refuse_read_only() or not await _may_start(screen, loaded):
        return
    try:
        request = await (fork_request(screen) if screen.draft.fork else _request(screen, loaded))
    except (ChompError, OSError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        screen.chomp.notify(f"not started: {why}", severity="error")
        return
    if request is not None and screen.chomp.launch(request):
        screen.after_launch(draft)


async def _may_start(screen: Launcher, loaded: LoadedConfig) -> bool:
    """Refuse what cannot start, and ask about what the engine does not answer; False to keep editing."""
    if screen.preflight.state != "done":
        screen.chomp.notify(CHECKING)
    report = await screen.check_start(loaded)
    if report.problems:
        text = "\n\n".join(report.problems)
        await screen.app.push_screen_wait(Read("This run cannot start", text))
        return False
    if report.state == "done":
        return True
    choices = (
        Choice("cancel", "n", "No, keep editing"),
        Choice("start", "y", "Start anyway"),
    )
    why = report.message or "the engine takes long to answer"
    question = Choose("The engine cannot estimate this configuration, and may not train it", choices, why)
    return await screen.app.push_screen_wait(question) == "start"


async def _request(screen: Launcher, loaded: LoadedConfig) -> LaunchRequest | None:
    document, resume = screen.document, screen.draft.resume
    how = await _how(screen)
    if how is None or (how == "save" and not await save_document(screen)):
        return None
    run_dir = (
        screen.draft.run_dir or _own_run_dir(document, loaded) or fresh_name(screen.chomp.state.runs, _stem(document))
    )
    if resume == "none" and RunDir(run_dir).is_started():
        answer = await _occupied(screen, run_dir)
        if answer is None:
            return None
        if answer == "resume":
            resume = "latest"
        else:
            run_dir = fresh_name(screen.chomp.state.runs, _stem(document))
    config = document.path
    if how == "copy" or config is None:
        text = document.text
        config = await in_thread(lambda: _write_copy(text, run_dir, is_new=resume == "none"))
    return LaunchRequest(run_dir, config, document.overrides, resume, (), dict(screen.chomp.state.environment))


async def _how(screen: Launcher) -> str | None:
    """`file`: train the file as it is; `save` it first; or train a `copy` of the text. None to stop."""
    document = screen.document
    path = document.path
    if path is None:
        return "copy"
    on_disk = await in_thread(lambda: read_bytes(path))
    if on_disk is not None and on_disk != document.disk:
        return await _changed(screen, on_disk)
    if not document.is_modified and on_disk is not None:
        return "file"
    choices = (
        Choice("save", "s", "Save and launch", f"write {path}, then start"),
        Choice("copy", "a", "Launch as it is", "the run keeps this text; the file stays"),
        Choice("cancel", "c", "Cancel"),
    )
    answer = await screen.app.push_screen_wait(Choose("The file differs from the text on screen", choices))
    return answer if answer in ("save", "copy") else None


async def _changed(screen: Launcher, on_disk: bytes) -> str | None:
    """The file was changed on disk and the text on screen is older: train neither before the user has seen both."""
    document = screen.document
    if not document.is_modified:
        if reload(screen, on_disk):
            screen.chomp.notify(
                f"not started: {document.name} changed on disk and was reloaded; check it and press F5 again",
                severity="warning",
            )
        return None
    answer = await ask_changed(
        screen,
        on_disk,
        Choice("copy", "a", "Launch the text on screen", "the run keeps this text; the file stays"),
        Choice(OVERWRITE.id, OVERWRITE.key, "Overwrite and launch", "write the text on screen to the file, then start"),
    )
    if answer == OVERWRITE.id:
        return "file" if await save_document(screen, overwrite=True) else None
    return answer if answer == "copy" else None


async def _occupied(screen: Launcher, run_dir: Path) -> str | None:
    choices = (
        Choice("fresh", "n", "A new run beside it", "under a name of its own"),
        Choice("resume", "r", "Resume it", "continue from its latest checkpoint with these settings"),
        Choice("cancel", "c", "Cancel"),
    )
    question = Choose("The directory already holds a run", choices, str(run_dir))
    answer = await screen.app.push_screen_wait(question)
    return answer if answer in ("fresh", "resume") else None


def _own_run_dir(document: ConfigDocument, loaded: LoadedConfig) -> Path | None:
    """The directory that the configuration names; a past run's is taken."""
    named = loaded.config.logging.run_dir
    return Path(named).expanduser() if named and not document.is_copy else None


def _stem(document: ConfigDocument) -> str:
    """What the run is named after; with a suffix, so that dots in a run's name stay."""
    if document.path is not None:
        return str(document.path)
    return f"{_STAMP.sub('', document.name.removeprefix('copy of ')).replace(' ', '-')}.yaml"


def _write_copy(text: str, run_dir: Path, *, is_new: bool) -> Path:
    """Put a text where the engine reads it: into the new run's own directory, never over an old run's."""
    if is_new:
        run_dir.mkdir(parents=True, exist_ok=True)
        path = RunDir(run_dir).config_original
    else:
        path = Path(tempfile.mkdtemp(prefix="chomp-")) / f"{run_dir.name}.yaml"
    write_whole(path, text.encode("utf-8", "replace"))
    return path


# A fork ------------------------------------------------------------------------------------


async def fork_request(screen: Launcher) -> LaunchRequest | None:
    """Fork the checkpoint, after the differences are accepted; None if they are not."""
    document, fork, plan = screen.document, screen.draft.fork, screen.draft.fork_plan()
    assert fork is not None
    if not await _accepted(screen, plan):
        return None
    new = screen.draft.run_dir or fresh_name(screen.chomp.state.runs, f"{_STAMP.sub('', fork.run.name)}-fork.yaml")
    text = document.text
    screen.chomp.notify(f"forking {fork.run.name} at step {fork.step} into {new.name}")

    def make() -> Path:
        made = fork_run(open_run(fork.run), fork.step, new)
        write_whole(made.config_original, text.encode("utf-8", "replace"))
        return made.config_original

    config = await in_thread(make)
    environment = dict(screen.chomp.state.environment)
    return LaunchRequest(new, config, document.overrides, str(fork.step), plan.accept, environment)


async def _accepted(screen: Launcher, plan: ForkPlan) -> bool:
    """Show the differences from the checkpoint; False if the fork is not possible or the user did not confirm them."""
    if plan.fixed:
        text = "A fork cannot change these settings; start a new run instead.\n\n" + _listed(plan.fixed)
        await screen.app.push_screen_wait(Read("The fork is not possible", text))
        await screen.go_to(plan.fixed[0].path)
        return False
    report = screen.preflight
    notes = [f"! {note}" for note in report.figures.get("notes") or () if not report.is_outdated]
    if not plan.to_confirm and not notes:
        return True
    choices = (
        Choice("cancel", "n", "No, keep editing"),
        Choice("accept", "y", "Confirm these changes and fork" if plan.to_confirm else "Fork"),
    )
    text = "\n\n".join([_listed(plan.to_confirm), *notes] if plan.to_confirm else notes)
    question = Choose("The fork trains with other settings than the checkpoint", choices, text)
    return await screen.app.push_screen_wait(question) == "accept"


def _listed(differences: Sequence[Difference]) -> str:
    return "\n".join(f"{change_lines([item])}\n  {item.why}" for item in differences)
