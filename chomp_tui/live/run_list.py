"""What lies in the folders of runs and of configurations, followed by a thread; it never touches a widget."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from chomp.record.rundir import list_runs
from chomp.record.status import Status
from chomp.record.summary import RunSummary, Stamp, SummaryReader, stamp

log = logging.getLogger("chomp.console")

SIZE_EVERY_SECONDS = 30.0
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
class Listing:
    """All that the home screen shows.

    Attributes:
        runs: live ones first, then by the age of the last event.
        problem: one sentence if a folder cannot be read.
    """

    runs: tuple[RunSummary, ...] = ()
    configs: tuple[ConfigEntry, ...] = ()
    problem: str | None = None


@dataclass
class _Sizes:
    """Bytes of a run, and when and of which state of it they were added up."""

    count: int
    at: float
    of: Stamp


@dataclass
class RunList:
    """Follows a folder of runs and one of configurations in a daemon thread until `stop`.

    Args:
        runs: the folder of runs; it may not exist.
        configs: the folder of configurations; it may not exist.
        deliver: called in the thread with each listing that differs from the one before.
        interval_seconds: between two looks.
    """

    runs: Path
    configs: Path
    deliver: Callable[[Listing], None]
    interval_seconds: float = 2.0
    _readers: dict[Path, SummaryReader] = field(default_factory=dict)
    _sizes: dict[Path, _Sizes] = field(default_factory=dict)
    _headers: dict[Path, tuple[Stamp, ConfigEntry]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._paused = threading.Event()

    def start(self) -> None:
        """Begin to follow."""
        threading.Thread(target=self._follow, daemon=True, name="run list").start()

    def stop(self) -> None:
        """End the thread soon; returns at once."""
        self._stopped.set()
        self._wake.set()

    def poke(self) -> None:
        """Look now instead of at the next interval."""
        self._wake.set()

    def pause(self, paused: bool) -> None:
        """Look no more for as long as nobody sees the list."""
        if paused:
            self._paused.set()
        else:
            self._paused.clear()
            self.poke()

    def _follow(self) -> None:
        last: Listing | None = None
        while not self._stopped.is_set():
            if not self._paused.is_set():
                last = self._look(last)
                last = self._add_up(last)
            self._wake.wait(self.interval_seconds)
            self._wake.clear()

    def _look(self, last: Listing | None) -> Listing:
        found = self.read()
        if found != last:
            self._deliver(found)
        return found

    def _deliver(self, listing: Listing) -> None:
        if not self._stopped.is_set():
            self.deliver(listing)

    def read(self) -> Listing:
        """Both folders as they are now; only runs whose files have changed are read again."""
        problem = None
        try:
            paths = list_runs(self.runs)
        except OSError as error:
            paths, problem = [], f"{self.runs} cannot be read: {error.strerror}"
        for gone in self._readers.keys() - set(paths):
            del self._readers[gone]
            self._sizes.pop(gone, None)
        summaries = [summary for path in paths if (summary := self._summary(path)) is not None]
        return Listing(tuple(sorted(summaries, key=_order)), self._read_configs(), problem)

    def _summary(self, path: Path) -> RunSummary | None:
        reader = self._readers.setdefault(path, SummaryReader(path))
        try:
            summary = reader.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            reason = f"{error.filename or path} cannot be read: {error.strerror}"
            return RunSummary(path.name, path, Status("unreadable", "!", "bad", reason, state="unreadable"))
        size = self._sizes.get(path)
        return replace(summary, bytes=size.count) if size else summary

    def _add_up(self, listing: Listing) -> Listing:
        """Add up the sizes that nobody has added up yet, or not lately; a look in between is not kept waiting."""
        for run in listing.runs:
            known, state = self._sizes.get(run.path), stamp(run.path / "events.jsonl")
            is_current = known is not None and (known.of == state or time.monotonic() - known.at < SIZE_EVERY_SECONDS)
            if is_current or self._stopped.is_set():
                continue
            count = folder_bytes(run.path)
            self._sizes[run.path] = _Sizes(count, time.monotonic(), state)
            if run.bytes != count:
                runs = tuple(replace(one, bytes=count) if one.path == run.path else one for one in listing.runs)
                listing = replace(listing, runs=runs)
                self._deliver(listing)
        return listing

    def _read_configs(self) -> tuple[ConfigEntry, ...]:
        try:
            paths = sorted(path for path in self.configs.iterdir() if path.suffix in (".yaml", ".yml"))
        except OSError:
            return ()
        entries = []
        for path in paths:
            state = stamp(path)
            if path not in self._headers or self._headers[path][0] != state:
                self._headers[path] = (state, read_header(path))
            entries.append(self._headers[path][1])
        return tuple(entries)


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
            # A header in words of its own: its first line.
            said["Purpose"] = line.strip("# ")
            key = ""
        elif not line.startswith("#"):
            break
    return ConfigEntry(path, said.get("Purpose", ""), said.get("Hardware", ""), said.get("Wall time", ""))
