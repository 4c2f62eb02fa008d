"""Follows the folders of runs and of configurations in a thread; never touches a widget."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from chomp.record.rundir import list_runs
from chomp.record.status import Status
from chomp.record.summary import RunSummary, Stamp, SummaryReader, stamp
from chomp_tui.platform.poller import Poller

INTERVAL_SECONDS = 2.0
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
class HomeSnapshot:
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


class RunList(Poller[HomeSnapshot]):
    """Follows a folder of runs and one of configurations.

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
        self._readers: dict[Path, SummaryReader] = {}
        self._sizes: dict[Path, _Sizes] = {}
        self._headers: dict[Path, tuple[Stamp, ConfigEntry]] = {}
        self._last: HomeSnapshot | None = None

    def look(self) -> Iterator[HomeSnapshot]:
        found = self.read()
        if found != self._last:
            yield found
        # Sizes take long: what is known already is not kept waiting.
        for run in found.runs:
            size = None if self.stopped else self._new_size(run)
            if size is not None:
                runs = tuple(replace(one, bytes=size) if one.path == run.path else one for one in found.runs)
                found = replace(found, runs=runs)
                yield found
        self._last = found

    def read(self) -> HomeSnapshot:
        """Both folders as they are now; only runs whose files have changed are read again."""
        problem = None
        try:
            paths = list_runs(self._runs)
        except OSError as error:
            paths, problem = [], f"{self._runs} cannot be read: {error.strerror}"
        for gone in self._readers.keys() - set(paths):
            del self._readers[gone]
            self._sizes.pop(gone, None)
        summaries = [summary for path in paths if (summary := self._summary(path)) is not None]
        return HomeSnapshot(tuple(sorted(summaries, key=_order)), self._read_configs(), problem)

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

    def _new_size(self, run: RunSummary) -> int | None:
        """Add up a run's size, unless that was done lately; None where it is as shown."""
        known, state = self._sizes.get(run.path), stamp(run.path / "events.jsonl")
        if known is not None and (known.of == state or time.monotonic() - known.at < SIZE_EVERY_SECONDS):
            return None
        size = folder_bytes(run.path)
        self._sizes[run.path] = _Sizes(size, time.monotonic(), state)
        return size if size != run.bytes else None

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
