"""Starts `chomp train` detached: for the console and for the queue's runner."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chomp.errors import COMMAND_VARIABLE, ChompError, command_name
from chomp.record.lock import live_holder
from chomp.record.rundir import RunDir, open_run


class LaunchError(ChompError):
    """No engine was started, and nothing was left behind."""


class RunInUseError(LaunchError):
    """Another engine holds the run directory."""


@dataclass(frozen=True)
class LaunchRequest:
    """One `chomp train` command and the variables it gets beside this process's own environment.

    Attributes:
        config: the file to train, None to use the run's own settings on a resume.
        run_dir: where the run is written; always named.
        resume: `none`, `latest` or a step.
        environment: variables to set.
        devices: those to compute on, as `--devices` names them; empty for all.
        folder: working directory of the engine; None for this process's own.
        note: and `tags`, of a new run.
    """

    run_dir: Path
    config: Path | None = None
    overrides: tuple[str, ...] = ()
    resume: str = "none"
    accept: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    folder: Path | None = None
    note: str = ""
    tags: tuple[str, ...] = ()


def engine_command(*arguments: str) -> list[str]:
    """`chomp ARGUMENTS` as an argument list for this very Python."""
    # -P: a file of the working folder that is called as a library is not imported instead of it.
    return [sys.executable, "-P", "-m", "chomp", *arguments]


def train_environment(environ: Mapping[str, str], chosen: Mapping[str, str]) -> dict[str, str]:
    """The environment of a run: `chosen` over `environ`, and no output held back, so that the log is current."""
    return {**environ, **chosen, COMMAND_VARIABLE: command_name(), "PYTHONUNBUFFERED": "1"}


def train_command(
    config: Path | None, *, overrides: tuple[str, ...] = (), run_dir: Path | None = None, resume: str = "none"
) -> list[str]:
    """`chomp train …` as an argument list."""
    args = engine_command("train")
    if config is not None:
        # A name that begins with a dash would be read as an option.
        args.append(f"./{config}" if str(config).startswith("-") else str(config))
    for override in overrides:
        args += ["-o", override]
    if run_dir is not None:
        args += ["--run-dir", str(run_dir)]
    if resume != "none":
        args += ["--resume", resume]
    return args


def command(request: LaunchRequest) -> list[str]:
    """The engine's argument list."""
    args = train_command(request.config, overrides=request.overrides, run_dir=request.run_dir, resume=request.resume)
    for name in request.accept:
        args += ["--accept", name]
    if request.devices:
        args += ["--devices", ",".join(request.devices)]
    if request.note:
        args += ["--note", request.note]
    for tag in request.tags:
        args += ["--tag", tag]
    return args


def start(request: LaunchRequest, environ: Mapping[str, str], inherited: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Start the engine detached from this terminal.

    The engine leads a session of its own, so neither Ctrl+C nor a closed terminal reaches it, and
    what it prints is appended to the run's log file. It stays a child of this process, because only
    then does a failing exec become an error here: the caller waits for it, so that an engine
    that ended is no zombie. When this process ends, the system's first process inherits it.

    Args:
        environ: this process's environment.
        inherited: descriptors that the engine keeps open.

    Raises:
        LaunchError: it could not be started; nothing was left behind.
    """
    run = _run(request)
    made = _Made()
    try:
        made.folder(run.path)
        log = made.log(run.log)
        try:
            return subprocess.Popen(
                command(request),
                env=train_environment(environ, request.environment),
                cwd=request.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=tuple(inherited),
            )
        finally:
            os.close(log)
    except (OSError, ValueError) as error:
        made.undo()
        raise LaunchError(f"no engine was started for {run.path}: {reason(error)}") from error


def _run(request: LaunchRequest) -> RunDir:
    """The run directory with the file names that the engine will use.

    Raises:
        LaunchError: an engine would refuse it, so its log is not to be written to.
    """
    path = request.run_dir.expanduser()
    try:
        run = _named(request, path)
    except ChompError as error:
        raise LaunchError(str(error)) from error
    holder = live_holder(run.lock)
    if holder is not None:
        raise RunInUseError(f"{path} is in use by pid {holder.pid}; watch that run, or stop it first")
    if request.resume == "none" and run.is_started():
        raise LaunchError(f"{path} already holds a run, which is never overwritten; resume it, or name another folder")
    return run


def _named(request: LaunchRequest, path: Path) -> RunDir:
    if request.config is None:
        return open_run(path)
    from chomp.config.load import load_config

    logging = load_config(request.config, request.overrides).config.logging
    return RunDir(path, logging.metrics_file, logging.log_file)


def reason(error: OSError | ValueError) -> str:
    """What went wrong, without numbers that only programs know."""
    if not isinstance(error, OSError):
        return str(error)
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what


class _Made:
    """What a start has made so far, so that it can be taken back."""

    def __init__(self) -> None:
        self._folders: list[Path] = []
        self._files: list[Path] = []

    def folder(self, path: Path) -> None:
        """Make a folder and those above it."""
        missing = [one for one in (path, *path.parents) if not one.exists()]
        for one in reversed(missing):
            one.mkdir(exist_ok=True)
            self._folders.append(one)
        if not path.is_dir():
            raise NotADirectoryError(20, "a file is where the run directory should be", str(path))

    def log(self, path: Path) -> int:
        """A descriptor that appends to `path`."""
        existed = path.exists()
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        if not existed:
            self._files.append(path)
        return fd

    def undo(self) -> None:
        """Remove it, except for what another program has put there meanwhile."""
        with contextlib.suppress(OSError):
            for path in self._files:
                path.unlink(missing_ok=True)
            for path in reversed(self._folders):
                path.rmdir()
