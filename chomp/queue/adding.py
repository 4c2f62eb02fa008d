"""New jobs, checked before they are written: for `chomp queue add`, the console and sweeps."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from chomp.config import Config
from chomp.config.compat import require_known
from chomp.config.load import parse_config, parse_resolved, read_text
from chomp.errors import command_name
from chomp.queue.folder import QueueFolder
from chomp.queue.job import Job, QueueError
from chomp.record.manifest import parse_resume
from chomp.record.notes import Notes, NotesChange
from chomp.record.rundir import RunDir, open_run

# Of a folder that any file system takes and no shell misreads.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class NewJob:
    """A job to be.

    Attributes:
        config: a configuration file, or a preset's name; None where a run is resumed with its own settings.
        text: what to train in place of the text in that file.
        runs: where the run's directory is made.
        run_dir: the run's directory; None for a free name.
        name: of the job, and of a new run's directory.
        gpus: how many it needs; 0 trains on the CPU; None takes one, or the CPU where there is none.
        folder: the engine's working directory.
        note: of the run, with its `tags`.
    """

    config: Path | None = None
    text: str | None = None
    overrides: tuple[str, ...] = ()
    name: str | None = None
    runs: Path = Path("runs")
    run_dir: Path | None = None
    resume: str = "none"
    accept: tuple[str, ...] = ()
    after: tuple[int, ...] = ()
    not_before: datetime | None = None
    for_seconds: float | None = None
    gpus: int | None = None
    restarts: int = 3
    urgent: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path = field(default_factory=Path.cwd)
    note: str = ""
    tags: tuple[str, ...] = ()
    sweep: str | None = None
    trial: int | None = None


def add_job(queue: QueueFolder, new: NewJob) -> Job:
    """Check a job and write it as the last of the queue.

    Raises:
        ConfigError: its configuration is wrong.
        RunDirError: there is no run to resume.
        QueueError: its run directory is taken, or the job cannot be written.
    """
    require_known(new.accept)
    NotesChange(note=new.note, add_tags=new.tags).of(Notes())
    text, source, config = _configuration(new)
    named = config.logging.run_dir if text is not None else None
    run_dir = _run_dir(queue, new, Path(named) if named is not None else None)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(source).stem).strip("-.")
    values: dict[str, Any] = {
        "name": new.name or (run_dir.name if run_dir is not None else stem),
        "config": text,
        "source": source,
        "overrides": list(new.overrides),
        "runs": queue.shorten(new.runs),
        "run_dir": queue.shorten(run_dir) if run_dir is not None else None,
        "resume": new.resume,
        "accept": list(new.accept),
        "after": list(new.after),
        "not_before": new.not_before,
        "for_seconds": new.for_seconds,
        "gpus": 1 if new.gpus is None else new.gpus,
        "gpu_only": bool(new.gpus),
        "restarts": new.restarts,
        "urgent": new.urgent,
        "environment": dict(new.environment),
        "folder": queue.shorten(new.folder),
        "note": new.note,
        "tags": list(new.tags),
        "sweep": new.sweep,
        "trial": new.trial,
    }
    return queue.add(values)


def config_of(new: NewJob) -> Config:
    """The checked configuration of a job to be.

    Raises:
        ConfigError: it is wrong.
        RunDirError: there is no run to resume.
        QueueError: none is given.
    """
    return _configuration(new)[2]


def _configuration(new: NewJob) -> tuple[str | None, str, Config]:
    """The text to train, the path that it is from, and its settings.

    The text is None where a run goes on with its own settings.
    """
    if new.text is not None or new.config is not None:
        source = str(new.config or "configuration.yaml")
        text = new.text if new.text is not None else read_text(Path(source))
        return text, source, parse_config(text, source=source, overrides=new.overrides).config
    if new.run_dir is None or new.resume == "none":
        raise QueueError(f"no configuration given; write {command_name()} queue add CONFIG, or --resume RUN")
    run = open_run(new.run_dir)
    resolved = parse_resolved(run.load_resolved(), source=str(run.config_resolved), overrides=new.overrides)
    return None, run.name, resolved.config


def _run_dir(queue: QueueFolder, new: NewJob, named: Path | None) -> Path | None:
    """The run's directory where the user names it or the job, or where the configuration does (`named`)."""
    if new.name is not None and not _NAME.fullmatch(new.name):
        raise QueueError(f"--name {new.name!r}: a name has letters, digits, dots, dashes and underscores, 100 at most")
    parse_resume(new.resume)
    path = new.run_dir or (new.runs / new.name if new.name is not None else named)
    if path is None:
        return None
    path = path.expanduser()
    if new.resume == "none" and RunDir(path).is_started():
        raise QueueError(f"{path} already holds a run, which is never overwritten; choose another name")
    for job in queue.read().jobs:
        is_taken = job.run_dir is not None and queue.resolve(job.run_dir) == path.absolute()
        if is_taken and (new.resume == "none" or not job.is_ended):
            raise QueueError(f"{path} is the run directory of job {job.title}; choose another name")
    return path
