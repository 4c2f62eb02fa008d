"""Which job starts next, and on what: pure functions of the jobs, the devices and the time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from chomp.queue.devices import Slot
from chomp.queue.job import Job
from chomp.record.formatting import plural


@dataclass(frozen=True)
class Plan:
    """What the runner does now.

    Attributes:
        start: jobs with their devices.
        give_way: running jobs that save and wait, so that an urgent one can start.
    """

    start: tuple[tuple[Job, tuple[Slot, ...]], ...] = ()
    give_way: tuple[Job, ...] = ()


def make_plan(jobs: Sequence[Job], slots: Sequence[Slot], alive: Collection[int], now: datetime) -> Plan:
    """The plan for the jobs that are due; urgent ones come first, then the lowest order.

    A job that does not fit keeps later ones of its kind waiting: a job of several GPUs is not overtaken for ever.

    Args:
        slots: all devices.
        alive: jobs whose engine is alive.
    """
    due = [job for job in jobs if job.id not in alive and is_due(job, jobs, now) and not is_too_large(job, slots)]
    start: list[tuple[Job, tuple[Slot, ...]]] = []
    give_way: list[Job] = []
    free = [slot for slot in slots if not slot.busy]
    blocked: set[bool] = set()
    for job in sorted(due, key=lambda job: (not job.urgent, job.order, job.id)):
        kind = needs_gpu(job, slots)
        number = job.gpus if kind else 1
        # A run that continues where it was keeps its numbers also where GPUs differ.
        before = job.attempts[-1].devices if job.attempts else []
        fitting = sorted((slot for slot in free if slot.is_gpu == kind), key=lambda slot: slot.device not in before)
        if kind in blocked:
            continue
        if len(fitting) >= number:
            start.append((job, tuple(fitting[:number])))
            free = [slot for slot in free if slot not in fitting[:number]]
            continue
        blocked.add(kind)
        if job.urgent:
            give_way += _victims(jobs, slots, kind=kind, missing=number - len(fitting))
    return Plan(tuple(start), tuple(give_way))


def needs_gpu(job: Job, slots: Iterable[Slot]) -> bool:
    """Whether a job trains on GPUs; on a machine without any, those that require none train on the CPU."""
    return job.requires_gpus or (job.gpus > 0 and any(slot.is_gpu for slot in slots))


def is_due(job: Job, jobs: Sequence[Job], now: datetime) -> bool:
    """Whether only devices keep a job from starting."""
    states = {other.id: other.state for other in jobs}
    return (
        job.state == "waiting"
        and (job.not_before is None or job.not_before <= now)
        and all(states.get(other) == "done" for other in job.after)
    )


def waits_for(job: Job, jobs: Sequence[Job], slots: Sequence[Slot], now: datetime) -> str:
    """What a waiting job waits for, in words.

    Args:
        slots: all devices; none where they are not known.
    """
    states = {other.id: other.state for other in jobs}
    for other in job.after:
        state = states.get(other)
        if state in ("failed", "stopped"):
            return f"after {other}, which {'failed' if state == 'failed' else 'was stopped'}"
        if state is None:
            return f"after {other}, which was removed"
    open_ = [str(other) for other in job.after if states.get(other) != "done"]
    if open_:
        return f"after {', '.join(open_)}"
    if job.not_before is not None and job.not_before > now:
        same_day = job.not_before.date() == now.astimezone().date()
        return f"at {job.not_before:%H:%M}" if same_day else f"at {job.not_before:%Y-%m-%d %H:%M}"
    if not slots and job.requires_gpus:
        return f"for {plural(job.gpus, 'GPU')}"
    if is_too_large(job, slots):
        gpus = plural(sum(slot.is_gpu for slot in slots), "GPU")
        return f"for {plural(job.gpus, 'GPU')}, and this machine has {gpus}"
    busy = [f"{slot.name}: {slot.busy}" for slot in slots if slot.busy and slot.is_gpu == needs_gpu(job, slots)]
    return f"for a device ({', '.join(busy)})" if busy else "for a device"


def is_too_large(job: Job, slots: Sequence[Slot]) -> bool:
    """Whether a job needs more GPUs than the machine has."""
    return needs_gpu(job, slots) and job.gpus > sum(slot.is_gpu for slot in slots)


def _victims(jobs: Sequence[Job], slots: Sequence[Slot], *, kind: bool, missing: int) -> list[Job]:
    """Running jobs, the last in order first, whose devices an urgent job gets; none if they would not be enough."""
    kinds = {slot.device: slot.is_gpu for slot in slots}
    running = [job for job in jobs if job.state == "running" and job.attempts]
    devices = {job.id: sum(kinds.get(one) == kind for one in job.attempts[-1].devices) for job in running}
    missing -= sum(devices[job.id] for job in running if job.wish is not None)
    chosen: list[Job] = []
    for job in sorted(running, key=lambda job: (-job.order, -job.id)):
        if missing > 0 and job.wish is None and not job.urgent and devices[job.id]:
            chosen.append(job)
            missing -= devices[job.id]
    return chosen if missing <= 0 else []
