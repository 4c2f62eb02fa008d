"""`chomp export` through the helper: the formats that are possible for a checkpoint, and writing one of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chomp.record.formatting import plural, size
from chomp.record.new_folder import NewFolder, free_path
from chomp.record.rundir import RunDir
from chomp_tui.engine.helper import Helper
from chomp_tui.engine.process import UNREADABLE, EngineError
from chomp_tui.platform.background import in_thread


@dataclass(frozen=True)
class Offer:
    """A format: whether the checkpoint can be written in it, and what it is, or why not."""

    name: str
    is_possible: bool
    text: str


async def list_formats(helper: Helper, checkpoint: Path, environment: Mapping[str, str]) -> tuple[Offer, ...]:
    """The formats, possible ones first.

    Args:
        environment: variables to set for the engine.

    Raises:
        EngineError: the engine does not list them.
    """
    offers = read_offers(await helper.ask(["export", "--list", "--json", "--", str(checkpoint)], environment))
    if not offers:
        raise EngineError(UNREADABLE)
    return offers


def read_offers(answer: Mapping[str, Any]) -> tuple[Offer, ...]:
    """The formats in the engine's answer, possible ones first."""
    offers = [
        Offer(name, entry.get("possible") is True, str(entry.get("why") or entry.get("what") or ""))
        for name, entry in answer.items()
        if isinstance(entry, dict)
    ]
    return tuple(sorted(offers, key=lambda offer: not offer.is_possible))


async def export(
    helper: Helper,
    checkpoint: Path,
    name: str,
    folder: Path,
    environment: Mapping[str, str],
    on_errors: Callable[[str], None],
) -> str:
    """Write a checkpoint's model to a new folder and return a summary; cancelling this leaves no trace.

    Args:
        name: of the format.
        environment: variables to set for the engine.
        on_errors: gets all that the engine has written on its error output so far, whenever there is more.

    Raises:
        EngineError: the model was not written.
    """
    # The engine refuses too, after it has read the model.
    if await in_thread(lambda: os.path.lexists(folder)):
        raise EngineError(f"{folder} exists; name another folder, or delete it")
    place = await in_thread(lambda: NewFolder.at(folder))
    arguments = ["export", f"--to={name}", f"--output={folder}", "--json", "--", str(checkpoint)]
    pids: list[int] = []
    try:
        answer = await helper.ask(arguments, environment, on_start=pids.append, on_errors=on_errors)
    finally:
        for pid in pids:
            # A killed process could not clear up after itself. Not in a thread: the console may be closing.
            place.clear(pid)
    return summary(folder, answer)


def summary(folder: Path, answer: Mapping[str, Any]) -> str:
    """Where the model is, how large it is, and its loss before and after if that was measured."""
    files: Any = answer.get("bytes")
    if not isinstance(files, dict) or not all(isinstance(count, int) for count in files.values()):
        return f"written to {folder}"
    text = f"✓ written to {folder}: {size(sum(files.values()))} in {plural(len(files), 'file')}"
    try:
        before, after = (float(answer["loss"][when]["nats_per_token"]) for when in ("before", "after"))
    except (KeyError, TypeError, ValueError):
        return text
    return f"{text}\nheld-out loss {before:.5f} → {after:.5f} nats/token ({after - before:+.5f})"


def free_folder(checkpoint: Path, name: str) -> Path:
    """The proposed folder: beside the folder of runs, so that the model outlives its run."""
    run = checkpoint.parent.parent
    return free_path(run.parent.parent / "exported" / f"{RunDir(run).name}-{checkpoint.name}-{name}")
