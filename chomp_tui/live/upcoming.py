"""What a run does next at a known step: evaluate, sample, save, end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chomp.record.formatting import duration
from chomp_tui.live.eta import step_seconds
from chomp_tui.live.snapshot import RunSnapshot

Job = Literal["evaluation", "sample", "checkpoint"]
# Section and name of the cadence of each job.
CADENCES: dict[Job, tuple[str, str]] = {
    "evaluation": ("train", "eval_every"),
    "sample": ("train", "generate_every"),
    "checkpoint": ("checkpoint", "save_every"),
}


@dataclass(frozen=True)
class Upcoming:
    """A job and its step; `seconds` until then, None while the speed is unknown."""

    job: Job
    setting: str
    step: int
    seconds: float | None

    @property
    def when(self) -> str:
        """`at step 1,500, in about 3m20s`."""
        return f"at step {self.step:,}" + (f", in about {duration(self.seconds)}" if self.seconds is not None else "")


def cadence(snapshot: RunSnapshot, job: Job) -> int | None:
    """Steps between two jobs; 0 is never, None where the settings are unknown."""
    section, name = CADENCES[job]
    text = snapshot.facts.settings.get(section, {}).get(name, "")
    return int(text) if text.isdecimal() else None


def upcoming(snapshot: RunSnapshot, job: Job) -> Upcoming | None:
    """The next of these jobs in a live run."""
    view, every = snapshot.view, cadence(snapshot, job)
    if not every or not snapshot.status.is_live:
        return None
    step = (view.step // every + 1) * every
    if job != "checkpoint" and view.total_steps:
        # The last step is due, too.
        step = min(step, view.total_steps)
    if view.total_steps and not view.step < step <= view.total_steps:
        return None
    pace = step_seconds(view)
    return Upcoming(job, ".".join(CADENCES[job]), step, None if pace is None else (step - view.step) * pace)


def none_yet(snapshot: RunSnapshot, job: Job, key: str) -> str:
    """What to read where there is none yet: when the next comes, and the key that makes one now."""
    found = upcoming(snapshot, job)
    if not snapshot.status.is_live:
        return f"This run has no {job}." if snapshot.view.ended is not None else f"There is no {job}."
    if found is not None:
        return f"No {job} yet. The next comes {found.when} ({found.setting}).\n{key}"
    if cadence(snapshot, job) == 0:
        return f"No {job} yet, and none by itself: {'.'.join(CADENCES[job])} is 0.\n{key}"
    return f"No {job} yet.\n{key}"
