"""Follows the folders of runs and of configurations in a thread; never touches a widget."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from chomp.record.rundir import RunDir
from chomp.record.status import Status
from chomp.record.summary import RunSummary, Stamp, SummaryReader, stamp
from chomp_tui.platform.poller import Poller

INTERVAL_SECONDS = 2.0
SIZE_EVERY_SECONDS = 30.0
# A first look tells what it has read after so long, and from then on at these intervals.
FIRST_SECONDS = 0.05
TELL_SECONDS = 1.0
# A run that is not active is looked at once in so many looks.
TURNS = 40
# Whether its notes were edited in place, in so many.
NOTES_TURNS = 4
# Fewer unread runs are read before anything is told.
FEW = 20
UNREAD = Status("reading", "…", "idle", state="unread")
HEADER_BYTES = 4096
_HEADER_KEY = re.compile(r"^#\s?(?P<key>[A-Z][A-Za-z ]*?)\s{2,}(?P<text>\S.*)$")


@dataclass(frozen=True)
class ConfigEntry:
    """A configuration file, and what its first comment says that it is for."""

    path: Path
    purpose: str
    hardware: str = ""
    wall_time: str = ""


@dataclass(frozen=True)
class HomeSnapshot:
    """All that the home screen shows.

    Attributes:
        runs: live ones first, then by the age of the last event.
        unread: how many of the runs have not been read yet: only their names are known.
        problem: one sentence if a folder cannot be read.
    """

    runs: tuple[RunSummary, ...] = ()
    configs: tuple[ConfigEntry, ...] = ()
    unread: int = 0
    problem: str | None = None


@dataclass
class _Known:
    """A run directory that was found.

    Attributes:
        changed: when an entry of the directory was last added, renamed or removed; `read_at` is that of the last read.
        summary: as last read, with its size; only its name and time before.
        is_read: whether it was read.
        bytes: of all its files, None before they were added up; `sized_at` is when that was.
        grew: whether the run has changed since.
        noted: the state of its notes at the last read; an editor may write them in place.
        notes: their path, made once since each look needs it.
    """

    path: Path
    reader: SummaryReader
    changed: int
    summary: RunSummary
    read_at: int = -1
    is_read: bool = False
    bytes: int | None = None
    sized_at: float = 0.0
    grew: bool = True
    noted: Stamp = None
    notes: Path = field(init=False)

    def __post_init__(self) -> None:
        self.notes = self.path / "notes.yaml"

    @property
    def notes_changed(self) -> bool:
        """Whether the notes are not as they were read."""
        return self.is_read and stamp(self.notes) != self.noted

    @property
    def is_active(self) -> bool:
        """Whether an engine may be writing to it."""
        return self.summary.is_live or self.summary.status.state == "running"


class RunList(Poller[HomeSnapshot]):
    """Follows a folder of runs and one of configurations.

    A thousand runs that have ended cost next to nothing: a look reads the runs that are active, those whose directory
    has a changed entry (an engine that starts replaces files) or changed notes, and a few of the others in turn.

    Args:
        runs: the folder of runs; it may not exist.
        configs: the folder of configurations; it may not exist.
        deliver: called in the thread with each snapshot that differs from the one before.
        interval_seconds: between two looks.
    """

    def __init__(
        self,
        runs: Path,
        configs: Path,
        deliver: Callable[[HomeSnapshot], None],
        *,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        super().__init__(deliver, interval_seconds=interval_seconds, name="run list")
        self._runs = runs
        self._configs = configs
        self._known: dict[str, _Known] = {}
        # Other folders, by the time of their last change.
        self._others: dict[str, int] = {}
        self._turn = 0
        self._all = False
        self._headers: dict[Path, tuple[Stamp, ConfigEntry]] = {}
        self._last: HomeSnapshot | None = None

    def poke(self) -> None:
        """Look at every run now."""
        self._all = True
        super().poke()

    def look(self) -> Iterator[HomeSnapshot]:
        problem = self._scan()
        configs = self._read_configs()
        if sum(not one.is_read for one in self._known.values()) > FEW:
            yield from self._news(configs, problem)
        told_at, waits = time.monotonic(), FIRST_SECONDS
        # Reading takes long the first time, and adding up sizes: what is known already is told meanwhile.
        for work in (self._read, self._add_up):
            is_news = work == self._read
            for _ in work():
                is_news = True
                if self.stopped:
                    return
                if time.monotonic() - told_at > waits:
                    yield from self._news(configs, problem)
                    told_at, waits = time.monotonic(), TELL_SECONDS
            if is_news:
                yield from self._news(configs, problem)

    def _news(self, configs: tuple[ConfigEntry, ...], problem: str | None) -> Iterator[HomeSnapshot]:
        found = sorted((one.summary for one in self._known.values()), key=_order)
        unread = sum(not one.is_read for one in self._known.values())
        snapshot = HomeSnapshot(tuple(found), configs, unread, problem)
        if snapshot != self._last:
            self._last = snapshot
            yield snapshot

    def read(self) -> HomeSnapshot:
        """Both folders as they are now, all runs read."""
        problem = self._scan()
        self._all = True
        for _ in self._read():
            pass
        return next(self._news(self._read_configs(), problem), self._last or HomeSnapshot())

    def _scan(self) -> str | None:
        """Learn which runs there are; returns what is wrong with the folder."""
        there: set[str] = set()
        try:
            with os.scandir(self._runs) as entries:
                for entry in entries:
                    if not entry.name.startswith(".") and self._is_run(entry):
                        there.add(entry.name)
        except (FileNotFoundError, NotADirectoryError):
            there.clear()
        except OSError as error:
            return f"{self._runs} cannot be read: {error.strerror}"
        for gone in self._known.keys() - there:
            del self._known[gone]
        return None

    def _is_run(self, entry: os.DirEntry[str]) -> bool:
        """Whether a folder is a run; one that was no run is looked into again only when an entry of it has changed."""
        try:
            if not entry.is_dir():
                return False
            changed = entry.stat().st_mtime_ns
            known = self._known.get(entry.name)
            if known is not None:
                known.changed, is_same = changed, known.changed == changed
                if is_same:
                    return True
            if self._others.get(entry.name) == changed:
                return False
            if not RunDir(Path(entry.path)).holds_run():
                self._others[entry.name] = changed
                return False
        except OSError:
            # A folder of another user, or one that was just deleted.
            return False
        if known is None:
            path = Path(entry.path)
            named = RunSummary(entry.name, path, UNREAD, last_t=_changed(path / "events.jsonl") / 1e9)
            self._known[entry.name] = _Known(path, SummaryReader(path), changed, named)
        return True

    def _read(self) -> Iterator[None]:
        """Read the runs that may have changed, the newest first; pauses after each."""
        self._turn += 1
        every, self._all = self._all, False
        due = [
            one
            for place, one in enumerate(self._known.values())
            if every
            or one.is_active
            or one.changed != one.read_at
            or place % TURNS == self._turn % TURNS
            or (place % NOTES_TURNS == self._turn % NOTES_TURNS and one.notes_changed)
        ]
        due.sort(key=lambda one: one.summary.last_t, reverse=True)
        for one in due:
            noted = stamp(one.notes)
            summary = self._summary(one)
            if summary is None:
                self._known.pop(one.path.name, None)
            else:
                one.grew |= summary is not one.summary
                one.summary, one.read_at, one.is_read, one.noted = summary, one.changed, True, noted
            yield

    def _summary(self, known: _Known) -> RunSummary | None:
        try:
            summary = known.reader.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            reason = f"{error.filename or known.path} cannot be read: {error.strerror}"
            status = Status("unreadable", "!", "bad", reason, state="unreadable")
            summary = RunSummary(known.path.name, known.path, status)
        if known.bytes is not None:
            summary = replace(summary, bytes=known.bytes)
        return known.summary if summary == known.summary else summary

    def _add_up(self) -> Iterator[None]:
        """Add up the sizes of runs that have changed since it was done, unless that was lately; pauses after each."""
        for one in list(self._known.values()):
            if not (one.is_read and one.grew):
                continue
            if one.bytes is not None and time.monotonic() - one.sized_at < SIZE_EVERY_SECONDS:
                continue
            one.grew, one.bytes, one.sized_at = False, folder_bytes(one.path), time.monotonic()
            if one.bytes != one.summary.bytes:
                one.summary = replace(one.summary, bytes=one.bytes)
            yield

    def _read_configs(self) -> tuple[ConfigEntry, ...]:
        try:
            paths = sorted(path for path in self._configs.iterdir() if path.suffix in (".yaml", ".yml"))
        except OSError:
            return ()
        entries = []
        for path in paths:
            state = stamp(path)
            if path not in self._headers or self._headers[path][0] != state:
                self._headers[path] = (state, read_header(path))
            entries.append(self._headers[path][1])
        return tuple(entries)


def _changed(path: Path) -> int:
    """When a file, or an entry of a folder, last changed; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _order(run: RunSummary) -> tuple[bool, float]:
    """Live runs keep their places among each other although each has the newest event in turn."""
    return (False, -run.started_t) if run.is_live else (True, -run.last_t)


def folder_bytes(path: Path) -> int:
    """Bytes of all files below `path`; what goes away meanwhile counts as nothing."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += (Path(folder) / name).lstat().st_size
            except OSError:
                continue
    return total


def read_header(path: Path) -> ConfigEntry:
    """What the comment at the top of a configuration says, by its keys Purpose, Hardware and Wall time."""
    try:
        with path.open("rb") as file:
            text = file.read(HEADER_BYTES).decode("utf-8", "replace")
    except OSError as error:
        return ConfigEntry(path, f"cannot be read: {error.strerror}")
    said: dict[str, str] = {}
    key = ""
    for line in text.splitlines():
        found = _HEADER_KEY.match(line)
        if found:
            key = found["key"]
            said[key] = found["text"]
        elif key and re.match(r"#\s{2,}\S", line):
            said[key] += " " + line.lstrip("# ").strip()
        elif line.startswith("#") and not said and line.strip("# "):
            # A header without keys: its first line.
            said["Purpose"] = line.strip("# ")
            key = ""
        elif not line.startswith("#"):
            break
    return ConfigEntry(path, said.get("Purpose", ""), said.get("Hardware", ""), said.get("Wall time", ""))
