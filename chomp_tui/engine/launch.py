"""Starts `chomp train` detached from the console."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chomp.device import check_xla_flags
from chomp.errors import ChompError
from chomp.record.lock import live_holder
from chomp.record.rundir import RunDir, open_run
from chomp_tui.engine.process import engine_command, train_environment
from chomp_tui.platform.background import start_thread

# By text of flags, why the installed XLA refuses them, None where it accepts them.
_verdicts: dict[str, str | None] = {}


class LaunchError(ChompError):
    """No engine was started, and nothing was left behind."""


@dataclass(frozen=True)
class LaunchRequest:
    """One `chomp train` command and the variables it gets beside the console's own environment.

    Attributes:
        config: the file to train, None to use the run's own settings on a resume.
        run_dir: where the run is written; the console always names it.
        resume: `none`, `latest` or a step.
        environment: variables to set, from the device screen.
    """

    run_dir: Path
    config: Path | None = None
    overrides: tuple[str, ...] = ()
    resume: str = "none"
    accept: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


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
    return args


def prove_flags(environ: Mapping[str, str]) -> str | None:
    """Why XLA does not start with `XLA_FLAGS` of `environ`, in one sentence, or None; may take seconds.

    Asks a child process, once for each text of flags.
    """
    flags = _flags(environ)
    if not flags or flags in _verdicts:
        return _verdicts.get(flags)
    try:
        check = check_xla_flags(environ)
    except (OSError, ValueError) as error:
        return f"the flags cannot be tested: {reason(error)}"
    # Not a child that hung: it may not hang another time.
    if check.accepted or check.rejected:
        _verdicts[flags] = check.message or None
    return check.message or None


def _flags(environ: Mapping[str, str]) -> str:
    return environ.get("XLA_FLAGS", "").strip()


def start(request: LaunchRequest, environ: Mapping[str, str]) -> int:
    """Start the engine detached from this terminal; returns its pid.

    The engine leads a session of its own, so neither Ctrl+C nor a closed terminal reaches it, and
    what it prints is appended to the run's log file. It stays a child of this process, because only
    then does a failing exec become an error here; a daemon thread waits for it, so that an engine
    that ended is no zombie, and when this process ends the system's first process inherits it.

    Flags that `prove_flags` rejected are refused here. Flags that it has not tested are tested by the engine
    before anything else, which ends with the same sentence.

    Raises:
        LaunchError: it could not be started; nothing was left behind.
    """
    environ = train_environment(environ, request.environment)
    refusal = _verdicts.get(_flags(environ))
    if refusal is not None:
        raise LaunchError(f"no engine was started for {request.run_dir}: {refusal}")
    run = _run(request)
    made = _Made()
    try:
        made.folder(run.path)
        log = made.log(run.log)
        try:
            child = subprocess.Popen(
                command(request),
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)
    except (OSError, ValueError) as error:
        made.undo()
        raise LaunchError(f"no engine was started for {run.path}: {reason(error)}") from error
    start_thread(child.wait, f"engine-{child.pid}")
    return child.pid


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
        raise LaunchError(f"{path} is in use by pid {holder.pid}; watch that run, or stop it first")
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
