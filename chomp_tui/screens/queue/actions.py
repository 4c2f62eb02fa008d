"""Changes of the queue by keys: what `chomp queue` does, in threads."""

from __future__ import annotations

from collections.abc import Callable

from chomp.errors import ChompError
from chomp.queue.folder import QueueFolder
from chomp.queue.job import Job, QueueError, Wish
from chomp.queue.process import runner_of, start_runner, stop_runner


def hold_or_release(queue: QueueFolder, job: Job) -> str:
    """Hold a job that waits or runs, release any other; returns what was done."""
    if job.state == "running":
        require_runner(queue)
        queue.change(job.id, wish=Wish(then="held", why="held by the user"))
        return f"job {job.title} saves, then it is held"
    if job.state == "waiting":
        queue.change(job.id, state="held", reason="held by the user")
        return f"job {job.title} is held"
    if job.state == "done":
        raise QueueError(f"job {job.title} is done")
    queue.change(job.id, state="waiting", reason="", kills=0)
    return f"job {job.title} waits to start"


def remove(queue: QueueFolder, number: int, job: Job | None) -> str:
    """Remove a job, a running one once it is saved; returns what was done."""
    if job is not None and job.state == "running":
        require_runner(queue)
        queue.change(number, wish=Wish(then="removed"))
        return f"job {job.title} saves, then it is removed"
    queue.remove(number)
    return f"job {job.title if job else number} is removed"


def move(queue: QueueFolder, job: Job, by: int) -> str:
    """Move a job by one place; returns what was done."""
    order = [one.id for one in queue.read().jobs if not one.is_ended]
    if job.id not in order:
        raise QueueError(f"job {job.title} has ended: it has no place in the order")
    place = min(max(order.index(job.id) + 1 + by, 1), len(order))
    queue.move(job.id, place)
    return f"job {job.title} is at place {place}"


def turn_urgent(queue: QueueFolder, job: Job) -> str:
    """Make a job urgent, or no longer; returns what was done."""
    if job.is_ended:
        raise QueueError(f"job {job.title} has ended")
    queue.change(job.id, urgent=not job.urgent)
    return f"job {job.title} is {'no longer urgent' if job.urgent else 'urgent'}"


def turn_runner(queue: QueueFolder) -> str:
    """Start the runner, or end it while engines go on; returns what was done."""
    if runner_of(queue) is None:
        return f"the runner works (pid {start_runner(queue)})"
    stop_runner(queue, lambda text: None, with_engines=False)
    return "the runner has ended; engines go on"


def require_runner(queue: QueueFolder) -> None:
    """Refuse what only a runner can do.

    Raises:
        QueueError: none works.
    """
    if runner_of(queue) is None:
        raise QueueError("no runner works: s starts it")


def attempted(work: Callable[[], str]) -> tuple[str, bool]:
    """What was done, or why not, and whether it was done."""
    try:
        return work(), True
    except ChompError as error:
        return str(error), False
