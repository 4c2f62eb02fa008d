"""What the user asked for, and the run directory it happens in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from chomp.config import sections, settings
from chomp.config.load import LoadedConfig
from chomp.errors import ConfigError, RunDirError
from chomp.record.manifest import list_checkpoints
from chomp.record.rundir import RunDir, fresh_name

Resume = str | int


@dataclass(frozen=True)
class RunRequest:
    """One `chomp train` command."""

    loaded: LoadedConfig
    run_dir: Path | None = None
    resume: Resume = "none"
    accept: Sequence[str] = field(default=())
    dry_run: bool = False


def parse_resume(value: str) -> Resume:
    """`none`, `latest` or a step.

    Raises:
        ConfigError: it is none of these.
    """
    if value in ("none", "latest"):
        return value
    if value.isdecimal():
        return int(value)
    raise ConfigError(f"--resume {value}: expected none, latest or a step number")


def require_known(accept: Sequence[str]) -> None:
    """Refuse a name in `--accept` that no difference can ever have.

    Raises:
        ConfigError: with the nearest known name.
    """
    known = [*settings(), *sections(), "data_fingerprint"]
    for name in accept:
        if name not in known and not name.startswith(("derived.", "data_fingerprint.")):
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"--accept {name}: there is no such setting{hint}")


def choose_run_dir(request: RunRequest) -> RunDir:
    """The directory the run is written to, checked against what is already there.

    Raises:
        RunDirError: a run would be overwritten, or there is nothing to resume.
    """
    config = request.loaded.config
    path = request.run_dir or (Path(config.logging.run_dir) if config.logging.run_dir else None)
    if path is None:
        if request.resume != "none":
            raise RunDirError(
                f"--resume {request.resume} needs the run to resume: pass --run-dir RUN (`chomp runs` lists them)"
            )
        path = fresh_name(Path("runs"), request.loaded.source)
    run = RunDir(path.expanduser(), config.logging.metrics_file, config.logging.log_file)
    if run.path.exists() and not run.path.is_dir():
        raise RunDirError(f"{run.path} is a file; a run directory is needed")
    if request.resume != "none" and not run.holds_run():
        raise RunDirError(f"--resume {request.resume}: {run.path} holds no run; leave --resume out to start one there")
    require_room(request, run)
    return run


def require_room(request: RunRequest, run: RunDir) -> None:
    """A new run goes where no run is; one that failed before it could begin takes no room.

    Raises:
        RunDirError: a run would be overwritten.
    """
    if request.resume == "none" and run.is_started():
        raise RunDirError(
            f"{run.path} already holds a run ({_contents(run)}); continue it with --resume latest, "
            "or choose another --run-dir: it is never overwritten"
        )


def _contents(run: RunDir) -> str:
    steps = [info.step for info in list_checkpoints(run.checkpoints)]
    return f"checkpoints up to step {steps[-1]}" if steps else "no checkpoints yet"
