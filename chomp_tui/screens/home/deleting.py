"""Deletes runs after a question."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from textual.app import App

from chomp.errors import ChompError
from chomp.record.formatting import plural, size
from chomp.record.removal import delete_run
from chomp.record.summary import RunSummary
from chomp_tui.platform.background import in_thread
from chomp_tui.state import Console
from chomp_tui.widgets.dialogs import Choose, confirm

MOST_NAMES = 8


def deletable(console: Console, runs: Sequence[RunSummary]) -> list[RunSummary]:
    """The runs that no engine holds; tells which are left out."""
    live = [run for run in runs if run.is_live]
    if live:
        names = ", ".join(f"{run.name} is running (pid {run.pid})" for run in live[:MOST_NAMES])
        console.notify(f"{names}: stop it first", severity="warning")
    return [run for run in runs if not run.is_live]


def question(runs: Sequence[RunSummary], hidden: Collection[Path]) -> Choose:
    """Ask whether to delete the runs, some of which a filter may hide."""
    number = sum(len(run.checkpoints) for run in runs)
    sizes = [run.bytes for run in runs]
    total = size(sum(one for one in sizes if one is not None)) if None not in sizes else "size unknown"
    what = f"{plural(number, 'checkpoint')}, {total}. It cannot be brought back."
    if len(runs) == 1:
        run = runs[0]
        warning = f"\n{run.status.reason}" if run.status.state == "running" else ""
        return confirm(f"Delete {run.name}?", text=f"{run.path}\n{what}{warning}", yes="Delete it")
    names = [f"{run.name} ({run.status.reason})" if run.status.state == "running" else run.name for run in runs]
    more = [f"and {len(runs) - MOST_NAMES} more"] if len(runs) > MOST_NAMES else []
    unseen = sum(run.path in hidden for run in runs)
    unshown = [f"The filter hides {unseen} of them."] if unseen else []
    text = "\n".join([*unshown, *names[:MOST_NAMES], *more, what])
    return confirm(f"Delete {len(runs)} runs?", text=text, yes="Delete all of them")


async def delete(console: Console, paths: Sequence[Path]) -> None:
    """Delete runs, and tell what became of them."""
    deleted, failed = [], []
    for path in paths:
        try:
            await in_thread(lambda path=path: delete_run(path))  # type: ignore[misc]
        except ChompError as error:
            failed.append(str(error))
        else:
            deleted.append(path)
    if deleted:
        console.notify(f"deleted {deleted[0] if len(deleted) == 1 else plural(len(deleted), 'run')}")
    for sentence in failed:
        console.notify(sentence, severity="error")


def ask_and_delete(
    app: App[None], console: Console, runs: Sequence[RunSummary], hidden: Collection[Path], done: Callable[[], None]
) -> None:
    """Delete runs if the user agrees; `done` is called afterwards.

    Args:
        hidden: runs that a filter hides; how many of them are to be deleted is said.
    """
    chosen = deletable(console, runs)
    if not chosen:
        return

    async def work() -> None:
        await delete(console, [run.path for run in chosen])
        done()

    def answered(answer: str | None) -> None:
        if answer == "yes":
            app.run_worker(work())

    app.push_screen(question(chosen, hidden), answered)
