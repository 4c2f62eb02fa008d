"""The queue on disk: a folder with one file per job.

`0007.yaml` is job 7. Beside the jobs are hidden files: `.lock`, held while a job's file is changed; `.runner`, held
by the runner; `.engine-7`, held by the engine of job 7, which inherits it from the runner, so that the kernel says
whether that engine still lives, whatever became of the runner; `.next`, the number of the next job.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from chomp.errors import command_name
from chomp.queue.job import Job, JobFileError, QueueError, Wish, from_yaml, to_yaml
from chomp.record.json_text import parse_json
from chomp.record.rundir import write_whole

_FILE = re.compile(r"(\d{1,9})\.yaml")
LOCK_SECONDS = 10.0
LOCK_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Unreadable:
    """A file that holds no job; it is left as it is, and its job is held."""

    id: int
    problem: str


@dataclass(frozen=True)
class Listing:
    """All jobs, by their order, and the files that hold none."""

    jobs: tuple[Job, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()

    def find(self, number: int) -> Job | None:
        return next((job for job in self.jobs if job.id == number), None)


@dataclass
class QueueFolder:
    """Reads and changes the jobs of one folder.

    Files are read again only when they have changed.
    """

    path: Path
    _read: dict[int, tuple[tuple[int, ...], Job | Unreadable]] = field(default_factory=dict)

    @property
    def around(self) -> Path:
        """The folder to which the paths of jobs are relative."""
        return self.path.absolute().parent

    @property
    def runner_lock(self) -> Path:
        return self.path / ".runner"

    @property
    def runner_log(self) -> Path:
        return self.path / "runner.log"

    @property
    def drain(self) -> Path:
        """While this file exists, the runner starts nothing."""
        return self.path / ".drain"

    def config_file(self, number: int) -> Path:
        """Where the engine of a job reads its configuration."""
        return self.path / f".config-{number}.yaml"

    def engine_lock(self, number: int) -> Path:
        """The file that the engine of a job keeps locked."""
        return self.path / f".engine-{number}"

    def job_file(self, number: int) -> Path:
        return self.path / f"{number:04d}.yaml"

    def shorten(self, path: Path) -> str:
        """A path as a job's file has it."""
        whole = path.expanduser().absolute()
        return str(whole.relative_to(self.around)) if whole.is_relative_to(self.around) else str(whole)

    def resolve(self, text: str) -> Path:
        """The path that a job's file has."""
        return self.around / text

    def make(self) -> None:
        """Make the folder, which only its owner may write to: its jobs are commands.

        Raises:
            QueueError: it cannot be made, or other users may write to it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            info = self.path.stat()
        except OSError as error:
            raise QueueError(f"the queue {self.path} cannot be made: {error.strerror}") from error
        if info.st_uid != os.geteuid() or info.st_mode & 0o022:
            raise QueueError(
                f"the queue {self.path} must belong to uid {os.geteuid()} and be writable by it alone (chmod 700), "
                "because its jobs are commands"
            )

    def read(self) -> Listing:
        """The jobs as they are now; a folder that does not exist has none.

        Raises:
            QueueError: the folder cannot be read.
        """
        found: dict[int, tuple[tuple[int, ...], Job | Unreadable]] = {}
        try:
            entries = [(entry, _FILE.fullmatch(entry.name)) for entry in os.scandir(self.path)]
        except FileNotFoundError:
            return Listing()
        except OSError as error:
            raise QueueError(f"the queue {self.path} cannot be read: {error.strerror}") from error
        for entry, match in entries:
            if match is None or int(match[1]) == 0:
                continue
            number = int(match[1])
            with contextlib.suppress(FileNotFoundError):
                info = entry.stat()
                stamp = (info.st_mtime_ns, info.st_size, info.st_ino)
                known = self._read.get(number)
                found[number] = known if known and known[0] == stamp else (stamp, _load(Path(entry.path), number))
        self._read = found
        read = [one for _, one in found.values()]
        jobs = sorted((one for one in read if isinstance(one, Job)), key=lambda job: (job.order, job.id))
        return Listing(tuple(jobs), tuple(one for one in read if isinstance(one, Unreadable)))

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Keep other processes from changing jobs meanwhile.

        Raises:
            QueueError: another process does not let go of the lock.
        """
        fd = _open_lock(self.path / ".lock")
        try:
            deadline = time.monotonic() + LOCK_SECONDS
            while not _try_lock(fd):
                if time.monotonic() > deadline:
                    raise QueueError(f"another process has been changing {self.path} for {LOCK_SECONDS:.0f} s")
                time.sleep(LOCK_POLL_SECONDS)
            yield
        finally:
            os.close(fd)

    def add(self, values: dict[str, Any]) -> Job:
        """Write a new job, the last in order.

        Raises:
            QueueError: it cannot be written.
        """
        self.make()
        with self.changing(), _writing(self.path):
            listing = self.read()
            number = self._next_number(listing)
            last = max((job.order for job in listing.jobs), default=0.0)
            known = {job.id for job in listing.jobs}
            for other in values.get("after", []):
                if other not in known:
                    raise QueueError(f"--after {other}: there is no such job; `{command_name()} queue list` shows them")
            added = {"id": number, "order": last + 1.0, "added": datetime.now().astimezone(), **values}
            job = Job.model_validate({**added, "name": values.get("name") or f"job-{number}"})
            write_whole(self.path / ".next", str(number + 1).encode())
            write_whole(self.job_file(number), to_yaml(job))
        return job

    def _next_number(self, listing: Listing) -> int:
        """A number that no job has had: jobs may name it in `after`."""
        used = [job.id for job in listing.jobs] + [one.id for one in listing.unreadable]
        try:
            following = int((self.path / ".next").read_text())
        except (OSError, ValueError):
            following = 1
        return max(following, max(used, default=0) + 1)

    def change(self, number: int, **changes: Any) -> Job:
        """Change values of a job, of what its file holds now.

        Raises:
            QueueError: there is no such job, its file holds none, or it cannot be written.
        """
        with self.changing(), _writing(self.path):
            return self._change(number, **changes)

    def _change(self, number: int, **changes: Any) -> Job:
        self.read()
        job = self._job(number).with_(**changes)
        write_whole(self.job_file(number), to_yaml(job))
        return job

    def _job(self, number: int) -> Job:
        _, found = self._read.get(number, ((), None))
        if found is None:
            raise QueueError(f"there is no job {number} in {self.path}")
        if isinstance(found, Unreadable):
            raise JobFileError(found.problem)
        return found

    def let_all_wait(self, why: str) -> list[str]:
        """Start nothing more, and let each running job save and wait; returns those that still run.

        Raises:
            QueueError: the folder cannot be written.
        """
        with _writing(self.path):
            self.drain.touch()
        running = [job for job in self.read().jobs if job.state == "running"]
        for job in running:
            if job.wish is None:
                self.change(job.id, wish=Wish(then="waiting", why=why))
        return [job.title for job in running]

    def move(self, number: int, place: int) -> Job:
        """Put a job at a place from 1 among those that are not ended.

        Raises:
            QueueError: there is no such job, or it cannot be written.
        """
        with self.changing(), _writing(self.path):
            others = [job.order for job in self.read().jobs if not job.is_ended and job.id != number]
            at = min(max(place, 1), len(others) + 1) - 1
            if not others:
                order = 1.0
            elif at == 0:
                order = others[0] - 1.0
            elif at == len(others):
                order = others[-1] + 1.0
            else:
                order = (others[at - 1] + others[at]) / 2
            return self._change(number, order=order)

    def remove(self, number: int) -> None:
        """Delete a job's file; a job that waits for a done one waits no longer.

        Raises:
            QueueError: there is none, or it cannot be deleted.
        """
        with self.changing(), _writing(self.path):
            listing = self.read()
            job = listing.find(number)
            if job is None and number not in {one.id for one in listing.unreadable}:
                raise QueueError(f"there is no job {number} in {self.path}")
            if job is not None and job.state == "done":
                for other in listing.jobs:
                    if number in other.after:
                        self._change(other.id, after=[one for one in other.after if one != number])
            for path in (self.job_file(number), self.engine_lock(number), self.config_file(number)):
                path.unlink(missing_ok=True)

    # Engines ----------------------------------------------------------------------------------

    def lock_for_engine(self, number: int, facts: dict[str, Any]) -> int | None:
        """A descriptor that holds the lock of a job's engine, for the engine to inherit; None if one is alive.

        Args:
            facts: for `engines`.

        Raises:
            OSError: the file cannot be written.
        """
        fd = _open_lock(self.engine_lock(number))
        try:
            if not _try_lock(fd):
                os.close(fd)
                return None
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(facts).encode(), 0)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def is_engine_alive(self, number: int) -> bool:
        """Whether the engine of a job runs on this machine, or is being started."""
        try:
            fd = os.open(self.engine_lock(number), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return not _try_lock(fd, fcntl.LOCK_SH)
        finally:
            os.close(fd)

    def engines(self) -> dict[int, dict[str, Any]]:
        """What was noted of each engine that is alive, by job: also of jobs whose file was deleted or damaged."""
        found = {}
        for path in self.path.glob(".engine-*"):
            number = path.name.removeprefix(".engine-")
            if number.isdecimal() and self.is_engine_alive(int(number)):
                with contextlib.suppress(OSError, ValueError):
                    facts = parse_json(path.read_bytes())
                    found[int(number)] = facts if isinstance(facts, dict) else {}
        return found


def _load(path: Path, number: int) -> Job | Unreadable:
    try:
        return from_yaml(path, number)
    except JobFileError as error:
        return Unreadable(number, str(error))
    except OSError as error:
        return Unreadable(number, f"{path}: {error.strerror}")


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_lock(fd: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise QueueError(f"the queue {path} cannot be written: {error.strerror}") from error


def find_job(listing: Listing, word: str) -> int:
    """The number of the job that a user names by number, or by a name that only one job has.

    Raises:
        QueueError: there is none, or there are several.
    """
    known = {job.id for job in listing.jobs} | {one.id for one in listing.unreadable}
    if word.isdecimal() and len(word) < 10 and int(word) in known:
        return int(word)
    found: Sequence[Job] = [job for job in listing.jobs if job.name == word]
    if len(found) == 1:
        return found[0].id
    if found:
        numbers = ", ".join(str(job.id) for job in found)
        raise QueueError(f"{len(found)} jobs are named {word}; use a number: {numbers}")
    raise QueueError(f"there is no job {word}; `{command_name()} queue list` shows them")
