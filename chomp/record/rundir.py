"""Every path inside a run directory, and what makes a directory a run."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chomp.errors import RunDirError
from chomp.record.json_text import parse_json
from chomp.record.line_files import parse_line
from chomp.record.new_folder import free_path
from chomp.record.tail import read_tail

CHECKPOINTS = "checkpoints"
# Exit codes of attempts that may have failed before they trained: data, device.
FAILED_AT_START = (3, 4)
LAST_EVENT_BYTES = 1 << 16
# Of a step as text; Python refuses to read thousands.
MOST_DIGITS = 18


@dataclass(frozen=True)
class RunDir:
    """The files of one run; see docs/architecture.md for what each holds."""

    path: Path
    metrics_name: str = "metrics.jsonl"
    log_name: str = "train.log"

    @property
    def name(self) -> str:
        """The directory's own name, of `.` and `..` too."""
        return self.path.name if self.path.name not in ("", "..") else self.path.resolve().name

    @property
    def config_original(self) -> Path:
        return self.path / "config_original.yaml"

    @property
    def config_resolved(self) -> Path:
        return self.path / "config_resolved.json"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def commands(self) -> Path:
        return self.path / "commands.jsonl"

    @property
    def metrics(self) -> Path:
        return self.path / self.metrics_name

    @property
    def samples(self) -> Path:
        return self.path / "samples.jsonl"

    @property
    def log(self) -> Path:
        return self.path / self.log_name

    def log_of(self, process: int) -> Path:
        """The log file of a process of a run of several: that of process 3 is `train.3.log`."""
        return self.log if process == 0 else self.log.with_name(f"{self.log.stem}.{process}{self.log.suffix}")

    @property
    def tokenizer(self) -> Path:
        return self.path / "tokenizer"

    @property
    def checkpoints(self) -> Path:
        return self.path / CHECKPOINTS

    @property
    def program(self) -> Path:
        return self.path / "program"

    @property
    def profile(self) -> Path:
        return self.path / "profile"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def origin(self) -> Path:
        return self.path / "origin.json"

    @property
    def notes(self) -> Path:
        return self.path / "notes.yaml"

    @property
    def receipts(self) -> Path:
        return self.path / "receipts.jsonl"

    @property
    def notices(self) -> Path:
        return self.path / "notices.jsonl"

    def holds_run(self) -> bool:
        """Whether an engine has ever started here."""
        return self.events.exists() or self.is_started()

    def is_started(self) -> bool:
        """Whether an attempt has begun here, so that a new run needs another directory.

        One whose text or device was at fault before its first step leaves a record and nothing to continue.
        """
        return (self.config_resolved.exists() or self.checkpoints.exists()) and not self._holds_only_a_failure()

    def _holds_only_a_failure(self) -> bool:
        try:
            if self.metrics.exists() and self.metrics.stat().st_size:
                return False
            if self.checkpoints.exists() and any(self.checkpoints.iterdir()):
                return False
        except OSError:
            return False
        last = next(self.newest_events(), {})
        ended = last.get("kind") == "run_ended" and last.get("step") == 0
        return ended and last.get("exit_code") in FAILED_AT_START

    def newest_events(self) -> Iterator[dict[str, Any]]:
        """The records at the end of the event log, the newest first; those that cannot be read are left out."""
        try:
            lines = read_tail(self.events, LAST_EVENT_BYTES)[1].splitlines()
        except OSError:
            return
        yield from filter(None, map(parse_line, reversed(lines)))

    def load_resolved(self) -> dict[str, Any]:
        """The configuration the run was last started with, as saved in `config_resolved.json`."""
        try:
            values = parse_json(self.config_resolved.read_text())
        except FileNotFoundError:
            raise RunDirError(f"{self.path} is not a run: it has no {self.config_resolved.name}") from None
        except OSError as error:
            raise RunDirError(f"{self.config_resolved} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise RunDirError(
                f"{self.config_resolved} is damaged ({error}); pass the configuration file to train again"
            ) from None
        if not isinstance(values, dict):
            raise RunDirError(f"{self.config_resolved} is damaged: it holds no table of settings")
        return values


def open_run(path: Path) -> RunDir:
    """The run at `path`.

    Raises:
        RunDirError: there is no run at `path`.
    """
    run = RunDir(path)
    if not path.is_dir():
        raise RunDirError(f"there is no run directory at {path}")
    if not run.holds_run():
        raise RunDirError(f"{path} holds no run: it has neither events.jsonl nor {CHECKPOINTS}/")
    if not run.config_resolved.exists():
        return run
    logging = run.load_resolved().get("logging", {})
    if not isinstance(logging, dict):
        raise RunDirError(f"{run.config_resolved} is damaged: logging is no table of settings")
    return named_run(path, logging)


def named_run(path: Path, logging: dict[str, Any]) -> RunDir:
    """The run directory at `path`, with the file names in the `logging` section of its settings."""
    metrics, log = logging.get("metrics_file", RunDir.metrics_name), logging.get("log_file", RunDir.log_name)
    return RunDir(path, str(metrics), str(log))


def open_run_around(path: Path) -> RunDir:
    """The run at `path`, or the one whose checkpoint is at `path`.

    Raises:
        RunDirError: there is no run.
    """
    is_checkpoint = path.parent.name == CHECKPOINTS and is_step(path.name)
    return open_run(path.parent.parent if is_checkpoint else path)


def is_step(text: str) -> bool:
    """Whether a text is the number of a step."""
    return text.isdecimal() and len(text) <= MOST_DIGITS


def fresh_name(root: Path, source: str) -> Path:
    """`root/NAME-YYYYMMDD-HHMMSS`, with a number behind it if that exists."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(source).stem).strip("-.") or "run"
    return free_path(root / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}")


def list_runs(root: Path) -> list[Path]:
    """The run directories directly inside `root`, newest event first."""
    if not root.is_dir():
        return []
    return sorted((path for path in root.iterdir() if _is_run(path)), key=_last_change, reverse=True)


def _is_run(path: Path) -> bool:
    try:
        # A hidden folder is half of a run: one that is being forked, or one that is being deleted.
        return not path.name.startswith(".") and path.is_dir() and RunDir(path).holds_run()
    except OSError:
        # A folder of another user, or one that was just deleted.
        return False


def _last_change(path: Path) -> float:
    run = RunDir(path)
    for file in (run.events, run.config_resolved, path):
        if file.exists():
            return file.stat().st_mtime
    return 0.0


def write_whole(path: Path, data: bytes) -> None:
    """Replace `path` by `data` so that a reader, or a crash, never sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def fsync_folder(path: Path) -> None:
    """Make a rename inside `path` survive a power cut."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
