"""From the configuration on screen to a job of the queue."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from chomp.device import probe_gpus
from chomp.errors import ChompError
from chomp.queue.adding import NewJob, add_job
from chomp.queue.devices import gpu_shortage
from chomp.queue.folder import Listing, QueueFolder, find_job
from chomp.queue.job import QueueError
from chomp.queue.process import runner_of
from chomp.queue.times import parse_duration, parse_time
from chomp.record.notes import Notes, NotesChange
from chomp.record.rundir import fresh_name
from chomp.record.speeds import reach_words
from chomp_tui.config.preflight import Report
from chomp_tui.platform.background import in_thread
from chomp_tui.screens.configure.launch_flow import Launcher, fork_request
from chomp_tui.widgets.dialogs import Ask, Choice, Choose

_WORDS = ("name", "at", "after", "for", "gpus", "restarts", "tag", "note")
_HELP = (
    "Enter adds it behind the other jobs. Or write what applies, for example: name base · at 22:00 · for 8h · "
    "after 3 · gpus 2 · restarts 1 · urgent · tag rates · note a third of the rate"
)


async def queue_it(screen: Launcher) -> None:
    """Add the text on screen to the queue, or notify why not; the file need not be saved."""
    draft, document = screen.draft, screen.document
    loaded = document.check().loaded
    if loaded is None:
        await screen.go_to_first_problem()
        return
    if screen.chomp.refuse_read_only():
        return
    queue = QueueFolder(screen.chomp.state.queue)
    try:
        listing = await in_thread(queue.read)
        answer = await screen.app.push_screen_wait(
            Ask("Add to the queue", text=_HELP, check=lambda text: problem_of(text, listing))
        )
        if answer is None:
            return
        new = NewJob(
            config=document.path or Path(document.name),
            text=document.text,
            overrides=document.overrides,
            runs=screen.chomp.state.runs,
            run_dir=draft.run_dir or (_beside(screen) if document.is_copy and loaded.config.logging.run_dir else None),
            resume=draft.resume,
            environment=dict(screen.chomp.state.environment),
            **options_of(answer, listing),
        )
        if draft.fork is not None:
            request = await fork_request(screen)
            if request is None:
                return
            new = replace(new, run_dir=request.run_dir, resume=request.resume, accept=request.accept)
        report = await screen.check_start(loaded)
        environ = os.environ | screen.chomp.state.environment
        short = await in_thread(lambda: gpu_shortage(new.gpus or 0, probe_gpus(), environ))
        problems = [*report.problems, *([short] if short else [])]
        if problems and not await _anyway(screen, problems):
            return
        job = await in_thread(lambda: add_job(queue, new))
        works = await in_thread(lambda: runner_of(queue) is not None)
    except ChompError as error:
        screen.chomp.notify(f"not added: {error}", severity="error")
        return
    hint = "" if works else "; no runner works: 7 shows the queue, where s starts one"
    doubts = report.warnings
    reach = [] if new.for_seconds is None else [_reach(new.for_seconds, report, loaded.config.train.steps)]
    said = ". ".join([f"job {job.title} added{hint}", *reach, *doubts])
    screen.chomp.notify(said, severity="warning" if doubts else "information")


def _reach(limit_seconds: float, report: Report, steps: int) -> str:
    """How far a job gets in its time, by the speed that pre-flight knows."""
    found = (report.figures.get("start") or {}).get("duration")
    speed_seconds = found["step_seconds"] + found["overhead_seconds"] if found else None
    return reach_words(limit_seconds, speed_seconds, report.figures.get("continues_from") or 0, steps)


async def _anyway(screen: Launcher, problems: Sequence[str]) -> bool:
    """Ask whether a run that could not start now is added all the same."""
    choices = (
        Choice("cancel", "n", "No, keep editing"),
        Choice("add", "y", "Add it anyway", "for example if its text appears before it starts"),
    )
    question = Choose("This run cannot start now", choices, "\n\n".join(problems))
    return await screen.app.push_screen_wait(question) == "add"


def _beside(screen: Launcher) -> Path:
    """A new directory for the copy of a past run's configuration, which names the directory of that run."""
    name = screen.document.name.removeprefix("copy of ").replace(" ", "-")
    return fresh_name(screen.chomp.state.runs, f"{name}.yaml")


def problem_of(text: str, listing: Listing) -> str | None:
    """What is wrong with the words of a dialog, in one sentence."""
    try:
        options_of(text, listing)
    except ChompError as error:
        return str(error)
    return None


def options_of(text: str, listing: Listing) -> dict[str, Any]:
    """What the words of a dialog say of a job: `at 22:00 for 8h after 3 urgent`. A note is all that follows its word.

    Raises:
        QueueError: a word is unknown, or what follows it is wrong.
    """
    before, is_noted, note = f" {text} ".partition(" note ")
    words = re.split(r"[\s·]+", before.strip(" ·"))
    found: dict[str, Any] = {"note": note.strip()} if is_noted and note.strip() else {}
    if is_noted and not found:
        raise QueueError("note needs a text behind it")
    while words and (word := words.pop(0)):
        if word == "urgent":
            found["urgent"] = True
        elif word not in _WORDS:
            raise QueueError(f"{word!r} is unknown; allowed are {', '.join(_WORDS)} and urgent")
        elif not words:
            raise QueueError(f"{word} needs a value behind it")
        else:
            value = words.pop(0)
            match word:
                case "name":
                    found["name"] = value
                case "at":
                    found["not_before"] = parse_time(value, datetime.now().astimezone())
                case "for":
                    found["for_seconds"] = parse_duration(value)
                case "after":
                    found["after"] = (*found.get("after", ()), find_job(listing, value))
                case "tag":
                    found["tags"] = (*found.get("tags", ()), value.removeprefix("#"))
                case "gpus" | "restarts" if value.isdecimal():
                    found[word] = int(value)
                case _:
                    raise QueueError(f"{word} {value}: expected a whole number")
    # A name or tag that is not allowed is refused here, where it can still be corrected.
    NotesChange(note=found.get("note"), add_tags=found.get("tags", ())).of(Notes())
    return found
