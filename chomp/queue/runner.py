"""The runner: starts jobs when their devices are free, and settles those that have ended.

All that it needs to continue after a `kill -9` is on disk. A job's file says `running` before its engine is started,
and the engine inherits a lock that the kernel releases when it ends: a new runner waits for engines that live, and
never starts a second one for a job.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from chomp.device import Probe, probe_gpus
from chomp.errors import ChompError
from chomp.notify.watch import end_of_attempt
from chomp.queue.devices import Slot, engine_environment, held_by_runs, slots
from chomp.queue.endings import NOTHING_TRAINED, Ending, has_trained, read_ending, run_of
from chomp.queue.folder import Listing, QueueFolder
from chomp.queue.job import Attempt, Job, QueueError, State, Wish
from chomp.queue.launch import LaunchRequest, RunInUseError, start
from chomp.queue.notices import Kind
from chomp.queue.schedule import Plan, is_due, is_too_large, make_plan, waits_for
from chomp.record.commands import Command, send_command
from chomp.record.formatting import plural, size
from chomp.record.held_folder import HeldFolder
from chomp.record.lock import live_holder
from chomp.record.rundir import RunDir, fresh_name, write_whole

# How often folders are searched for live runs outside of the queue, and GPUs are asked.
LOOK_SECONDS = 5.0
# After which time an engine that does not end is asked to stop again: a command from before its start is not obeyed.
ASK_SECONDS = 10.0
LEAST_SECONDS = 1.0
# With less on the disk of the runs no engine is started: each of the waiting jobs would fail in turn.
LEAST_FREE_BYTES = 64 << 20

Say = Callable[[str], None]
Tell = Callable[[Kind, Job, str, str | None], None]


class Runner:
    """One look at the queue after another.

    Args:
        say: writes a line to the runner's log.
        tell: gets what people are notified of, with the job (for `queue_empty` the last one), a sentence, and the name
            of the fact for other processes that see it, too.
        environ: of engines, beside what a job sets.
        probe: reads the GPUs.
    """

    def __init__(
        self,
        folder: QueueFolder,
        say: Say,
        *,
        tell: Tell,
        environ: Mapping[str, str] = os.environ,
        probe: Callable[[], Probe] = probe_gpus,
    ):
        self._folder = folder
        self._say = say
        self._tell = tell
        self._environ = environ
        self._probe = probe
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._held: dict[int, HeldFolder] = {}
        self._asked: dict[int, float] = {}
        self._slots: tuple[Slot, ...] = ()
        self._looked = -LOOK_SECONDS
        self._said: set[str] = set()
        self._was_busy = False

    def look(self) -> None:
        """Settle, ask and start what is to be settled, asked and started now.

        Raises:
            QueueError: the folder cannot be read or written.
        """
        # Of the look before: meanwhile a sweep may have added its next trial.
        self._tell_if_empty()
        listing = self._folder.read()
        self._name_problems(listing)
        for job in listing.jobs:
            if job.state == "running":
                self._follow(job)
        listing = self._folder.read()
        engines = self._folder.engines()
        if any(job.state == "waiting" for job in listing.jobs) and not self._is_draining():
            devices = self._devices(listing, engines)
            for job in listing.jobs:
                if is_due(job, listing.jobs, _now()) and is_too_large(job, devices):
                    self._say_once(f"job {job.title} waits {waits_for(job, listing.jobs, devices, _now())}")
            plan = make_plan(listing.jobs, devices, engines.keys(), _now())
            self._carry_out(plan)

    def _is_draining(self) -> bool:
        return self._folder.drain.exists()

    def _carry_out(self, plan: Plan) -> None:
        for job in plan.give_way:
            self._say(f"job {job.title} gives way to an urgent job")
            self._follow(self._folder.change(job.id, wish=Wish(then="waiting", why="gave way to an urgent job")))
        for job, devices in plan.start:
            self._start(job, devices)

    def _name_problems(self, listing: Listing) -> None:
        for one in listing.unreadable:
            self._say_once(f"held: {one.problem}")

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._say(text)

    def _tell_if_empty(self) -> None:
        jobs = self._folder.read().jobs
        is_busy = any(job.state in ("waiting", "running") for job in jobs)
        if self._was_busy and not is_busy:
            self._say("no job waits or runs any more")
            if last := [job for job in jobs if job.attempts]:
                done = sum(job.state == "done" for job in jobs)
                words = f"{done} of {plural(len(jobs), 'job')} done"
                self._tell("queue_empty", max(last, key=lambda job: job.attempts[-1].began), words, None)
        self._was_busy = is_busy

    # Devices ----------------------------------------------------------------------------------

    def _devices(self, listing: Listing, engines: Mapping[int, Mapping[str, Any]]) -> tuple[Slot, ...]:
        """All devices with what they are busy with; what others do is looked at every few seconds."""
        taken = {str(device): number for number, facts in engines.items() for device in facts.get("devices", [])}
        if time.monotonic() - self._looked >= LOOK_SECONDS or not self._slots:
            probe = self._probe()
            ours = {Path(str(facts.get("run_dir", ""))).resolve() for facts in engines.values()}
            running = [job for job in listing.jobs if job.state == "running"]
            ours |= {self._folder.resolve(job.run_dir).resolve() for job in running if job.run_dir}
            folders = {self._folder.resolve(job.runs) for job in listing.jobs} | {self._folder.around / "runs"}
            others = held_by_runs(folders, ours, probe, self._environ)
            self._slots = slots(probe, self._environ, {}, others)
            self._looked = time.monotonic()
        # Its own engines of a moment ago still show on a GPU: the next look sees them gone.
        return tuple(
            Slot(slot.device, slot.name, f"job {taken[slot.device]}" if slot.device in taken else slot.busy)
            for slot in self._slots
        )

    # One job ----------------------------------------------------------------------------------

    def _start(self, job: Job, devices: tuple[Slot, ...]) -> None:
        """Start the next engine of a job; first of all, write that it runs."""
        run_dir = self._run_dir(job)
        if run_dir is None or not self._has_room(run_dir):
            return
        remaining = None if job.for_seconds is None else job.for_seconds - job.used_seconds
        if remaining is not None and remaining < LEAST_SECONDS:
            is_done = bool(job.attempts) and has_trained(run_dir, job.attempts[0])
            used = "its time is used up"
            self._end(job, "done" if is_done else "failed", used if is_done else f"{used}, {NOTHING_TRAINED}")
            return
        run, names = run_of(run_dir), [slot.device for slot in devices]
        place = ", ".join(slot.name for slot in devices)
        attempt = Attempt(
            began=_now(), devices=names, place=place, events_bytes=_size(run.events), log_bytes=_size(run.log)
        )
        lock = self._folder.lock_for_engine(job.id, {"devices": names, "run_dir": str(run_dir)})
        if lock is None:
            return
        try:
            begun = job.with_(run_dir=self._folder.shorten(run_dir), attempts=[*job.attempts, attempt])
            self._folder.change(job.id, state="running", reason="", run_dir=begun.run_dir, attempts=begun.attempts)
            child = start(self._request(job, run_dir, names, remaining), self._environ, (lock,))
        except RunInUseError as error:
            self._folder.change(job.id, state="waiting", reason=str(error), attempts=job.attempts, run_dir=job.run_dir)
            self._looked = -LOOK_SECONDS
        except QueueError:
            raise
        except ChompError as error:
            self._end(job, "failed", str(error))
            self._tell("crashed", job, str(error), None)
        else:
            self._children[job.id] = child
            self._hold(job.id, run_dir)
            self._say(f"job {job.title} started on {place} in {run_dir} (pid {child.pid})")
        finally:
            os.close(lock)

    def _run_dir(self, job: Job) -> Path | None:
        """The run's directory; None if it is gone, for which the job is held."""
        if job.run_dir is None:
            return fresh_name(self._folder.resolve(job.runs), job.source or f"{job.name}.yaml")
        path = self._folder.resolve(job.run_dir)
        if (job.has_begun or job.config is None) and not path.is_dir():
            file = self._folder.job_file(job.id)
            self._end(job, "held", f"its run directory {path} is gone: move it back, or correct run_dir in {file}")
            return None
        return path

    def _has_room(self, run_dir: Path) -> bool:
        """Whether the disk has room for an engine to begin."""
        there = next(path for path in (run_dir, *run_dir.parents) if path.is_dir())
        free = shutil.disk_usage(there).free
        if free >= LEAST_FREE_BYTES:
            return True
        self._say_once(f"no job is started: the disk of {there} has only {size(free)} free")
        return False

    def _request(self, job: Job, run_dir: Path, devices: list[str], remaining: float | None) -> LaunchRequest:
        """The engine that continues the run, or begins it."""
        config = None
        if job.config is not None:
            config = self._folder.config_file(job.id)
            write_whole(config, job.config.encode())
        # A run whose first attempt was killed early may hold nothing that can be resumed.
        continues = job.has_begun or (bool(job.attempts) and job.resume == "none" and RunDir(run_dir).holds_run())
        overrides = list(job.overrides)
        if remaining is not None:
            overrides.append(f"train.max_seconds={remaining:.1f}")
        return LaunchRequest(
            run_dir=run_dir,
            config=config,
            overrides=tuple(overrides),
            resume="latest" if continues else job.resume,
            accept=tuple(job.accept),
            environment=job.environment | ({"JAX_PLATFORMS": "cpu"} if job.gpus == 0 else engine_environment(devices)),
            folder=self._folder.resolve(job.folder),
            note="" if continues else job.note,
            tags=() if continues else tuple(job.tags),
        )

    def _hold(self, number: int, run_dir: Path) -> None:
        """Keep the run's directory open, to find it again when it is renamed."""
        if number not in self._held:
            try:
                self._held[number] = HeldFolder(run_dir)
            except OSError as error:
                self._say(f"{run_dir} cannot be opened: {error.strerror}")

    def _follow(self, job: Job) -> None:
        """Look at a job that runs: is its directory where it was, is its engine asked to end, has it ended?"""
        if job.run_dir is not None:
            job = self._followed(job, self._folder.resolve(job.run_dir))
        if self._folder.is_engine_alive(job.id):
            if job.wish is not None:
                self._ask_to_stop(job)
            return
        child = self._children.get(job.id)
        self._settle(job, child.wait() if child is not None else None)
        self._children.pop(job.id, None)
        self._asked.pop(job.id, None)
        held = self._held.pop(job.id, None)
        if held is not None:
            held.close()

    def _followed(self, job: Job, path: Path) -> Job:
        """The job with its run's directory where that is now."""
        if job.id not in self._held and path.is_dir():
            self._hold(job.id, path)
        held = self._held.get(job.id)
        try:
            if held is None or not held.follow():
                return job
        except ChompError:
            return job
        self._say(f"the run of job {job.title} was renamed to {held.path}")
        return self._folder.change(job.id, run_dir=self._folder.shorten(held.path))

    def _ask_to_stop(self, job: Job) -> None:
        """Send `stop` to an engine that has claimed its run; it saves and ends."""
        run = RunDir(self._folder.resolve(job.run_dir or ""))
        asked = self._asked.get(job.id)
        if live_holder(run.lock) is None or (asked is not None and time.monotonic() - asked < ASK_SECONDS):
            return
        try:
            send_command(run.commands, Command("stop"))
        except OSError as error:
            self._say_once(f"job {job.title} cannot be asked to stop: {error}")
        else:
            self._asked[job.id] = time.monotonic()

    def _settle(self, job: Job, exit_code: int | None) -> None:
        """Write what became of a job whose engine has ended."""
        if not job.attempts or job.run_dir is None:
            self._end(job, "held", "its file says that it runs, and names no attempt; release it to start it")
            return
        attempt = job.attempts[-1]
        ending = read_ending(self._folder.resolve(job.run_dir), job.attempts, exit_code)
        ended = datetime.fromtimestamp(ending.t).astimezone() if ending.t else attempt.began
        job = job.with_(
            attempts=[*job.attempts[:-1], attempt.model_copy(update={"ended": ended, "how": ending.reason})],
            has_begun=job.has_begun or ending.has_begun,
            used_seconds=job.used_seconds + max(0.0, (ended - attempt.began).total_seconds()),
            kills=job.kills + (ending.kind == "killed" and job.wish is None),
        )
        state, reason = _after(job, ending)
        if state == "removed":
            self._folder.remove(job.id)
            self._say(f"job {job.title} was removed; its run stays")
            return
        # An engine that wrote a last event has sent its own notice. Before the job's file says that the attempt is
        # over: a runner that is killed in between leaves the notice to the next one.
        if not ending.was_told and ending.kind in ("killed", "failed"):
            self._tell("killed" if ending.kind == "killed" else "crashed", job, reason, self._fact_of(job, attempt))
        self._end(job, state, reason)

    def _fact_of(self, job: Job, attempt: Attempt) -> str:
        """The end of an attempt, by a name that is the same for `chomp watch`, which sees only what an engine wrote."""
        run = RunDir(self._folder.resolve(job.run_dir or ""))
        is_seen = _size(run.events) > attempt.events_bytes
        return end_of_attempt(run) if is_seen else f"job {job.id} attempt {len(job.attempts)}"

    def _end(self, job: Job, state: State, reason: str) -> None:
        """Write the new state of a job that does not run."""
        values = {name: getattr(job, name) for name in ("attempts", "has_begun", "used_seconds", "kills")}
        self._folder.change(job.id, state=state, reason=reason, wish=None, **values)
        self._say(f"job {job.title} {state}: {reason}")


def _after(job: Job, ending: Ending) -> tuple[State | Literal["removed"], str]:
    """The next state of a job, and why."""
    if ending.kind == "completed":
        return "done", ending.reason
    if job.wish is not None:
        return job.wish.then, job.wish.why
    match ending.kind:
        case "time":
            return "done", ending.reason
        case "killed" if job.kills <= job.restarts:
            return "waiting", f"{ending.reason}; restart {job.kills} of {job.restarts}"
        case "killed":
            return (
                "failed",
                f"{ending.reason}; it was killed {job.kills} times, and {job.restarts} restarts are allowed",
            )
        case "stopped":
            return "stopped", ending.reason
        case _:
            return "failed", ending.reason


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _now() -> datetime:
    return datetime.now().astimezone()
