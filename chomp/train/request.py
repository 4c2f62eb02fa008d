"""A `chomp train` command, and the run directory that it claims."""

from __future__ import annotations

import contextlib
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from chomp.config.load import LoadedConfig
from chomp.errors import RunDirError, command_name
from chomp.parallel.world import World
from chomp.record.commands import discard_commands_of_others
from chomp.record.held_folder import HeldFolder
from chomp.record.lock import RunLock, read_holder
from chomp.record.manifest import Resume, list_checkpoints
from chomp.record.notes import NotesChange
from chomp.record.rundir import FAILED_AT_START, RunDir, fresh_name
from chomp.record.temporary import temporary_folder

# Network file systems show what another host has written after some seconds.
SHARED_WITHIN_SECONDS = 30.0
# At most so many processes are named in a sentence.
MOST_NAMED = 3


@dataclass(frozen=True)
class RunRequest:
    """One `chomp train` command.

    Attributes:
        devices: those to compute on, as `chosen_devices` takes them.
        notes: written when the attempt begins.
        began: when its process was started, by the monotonic clock; `train.max_seconds` counts from there.
        world: the processes of the run, of which this one is started with the same command as all others.
    """

    loaded: LoadedConfig
    run_dir: Path | None = None
    resume: Resume = "none"
    accept: Sequence[str] = field(default=())
    devices: Sequence[str] = ()
    dry_run: bool = False
    notes: NotesChange = field(default_factory=NotesChange)
    began: float = field(default_factory=time.monotonic)
    world: World = field(default_factory=World)


@dataclass
class Claim:
    """A run directory whose lock this process holds, or the leader of the run for it.

    Attributes:
        named: the run directory as the user named it.
        held: the directory itself, which may be renamed.
        exit_code: that of the attempt so far; 2 until it has begun.
        step: the last one that was completed.
        since: Unix time of the claim: older commands were meant for an earlier attempt.
    """

    named: RunDir
    held: HeldFolder
    exit_code: int = 2
    step: int = 0
    since: float = field(default_factory=time.time)

    @property
    def run(self) -> RunDir:
        """The run directory where it is now."""
        return replace(self.named, path=self.held.path)

    @property
    def ended_by(self) -> str | None:
        """The process that has ended the run in place of the leader, which did not answer; None in other runs."""
        holder = read_holder(self.files.lock)
        return holder.ended_by if holder is not None else None

    @property
    def files(self) -> RunDir:
        """The run directory through its descriptor, to write to it wherever it is renamed to."""
        return replace(self.named, path=self.held.through)


@contextlib.contextmanager
def claim_run_dir(request: RunRequest) -> Iterator[Claim]:
    """Lock the run directory; a dry run gets a temporary one.

    A new run that cannot start leaves no trace: it ends with exit code 2, or before its first step with 3 or 4. Where
    the log was there before, another program started the engine, and shows what it left of these.

    Of several processes the leader locks it, and the others find it.

    Raises:
        RunDirError: a run would be overwritten, there is nothing to resume, another engine holds the lock, or a process
            does not see the directory of the leader.
    """
    if request.world.is_leader:
        with _lock_run_dir(request) as claim:
            if not (request.world.is_alone or request.dry_run):
                _show_to_all(claim.run, request.world)
            yield claim
    elif request.dry_run:
        with temporary_folder("chomp-dry-run-") as folder, HeldFolder(folder) as held:
            yield Claim(RunDir(folder), held)
    else:
        run = _find_run_dir_of_leader(request)
        with HeldFolder(run.path) as held:
            yield Claim(run, held)


def _show_to_all(run: RunDir, world: World) -> None:
    """Name the run directory to the other processes, which look there for a file that is made now."""
    proof = run.path / f".shared-{uuid.uuid4().hex}"
    try:
        proof.touch()
    except OSError as error:
        raise cannot_write(run, error) from error
    try:
        world.share([str(run.path.absolute()), proof.name])
        require_seen(run.path, world, world.meet(True))
    finally:
        proof.unlink(missing_ok=True)


def _find_run_dir_of_leader(request: RunRequest) -> RunDir:
    world, logging = request.world, request.loaded.config.logging
    named, proof = world.share(["", ""])
    run = RunDir(Path(named), logging.metrics_file, logging.log_file)
    deadline = time.monotonic() + SHARED_WITHIN_SECONDS
    while not (is_seen := (run.path / proof).exists()) and time.monotonic() < deadline:
        time.sleep(0.1)
    require_seen(run.path, world, world.meet(is_seen))
    return run


def require_seen(path: Path, world: World, seen: list[bool]) -> None:
    blind = [member for member, sees in zip(world.members, seen, strict=True) if not sees]
    if blind:
        named = ", ".join(map(str, blind[:MOST_NAMED])) + (" and others" if len(blind) > MOST_NAMED else "")
        raise RunDirError(
            f"{named} did not see within {SHARED_WITHIN_SECONDS:.0f} s what {world.members[0]} wrote to the run "
            f"directory {path}; choose a --run-dir on a file system that all hosts share, under the same path"
        )


@contextlib.contextmanager
def _lock_run_dir(request: RunRequest) -> Iterator[Claim]:
    with contextlib.ExitStack() as stack:
        if request.dry_run:
            run = RunDir(stack.enter_context(temporary_folder("chomp-dry-run-")) / "run")
        else:
            run = _choose_run_dir(request)
        lock = RunLock(run.lock)
        is_new = not run.path.exists()
        ours = [path for path in _written(request, run) if not path.exists()]
        try:
            run.path.mkdir(parents=True, exist_ok=True)
            held = stack.enter_context(HeldFolder(run.path))
            lock.acquire()
        except OSError as error:
            raise cannot_write(run, error) from error
        discard_commands_of_others(run.commands)
        claim = Claim(run, held)
        try:
            # Checked again under the lock: another engine may have begun, and ended, since the directory was chosen.
            _require_room(request, run)
            yield claim
        finally:
            # Still under the lock: what is removed belongs to this attempt.
            failed_early = claim.exit_code in FAILED_AT_START and claim.step == 0 and run.log in ours
            if (claim.exit_code == 2 or (failed_early and request.resume == "none")) and not run.is_started():
                _remove_traces(run, ours, is_new=is_new)
            lock.release()


def cannot_write(run: RunDir, error: OSError) -> RunDirError:
    """The error of a run directory that cannot be written."""
    return RunDirError(f"cannot write the run directory {run.path}: {error.strerror}")


def _written(request: RunRequest, run: RunDir) -> list[Path]:
    """What an attempt writes before its first step; notes and commands may be of the user."""
    notes = [run.notes] if request.notes else []
    described = [run.config_original, run.config_resolved, run.tokenizer, *notes]
    logs = [run.log_of(index) for index in range(request.world.count)]
    return [run.events, *logs, run.lock, run.metrics, *described, run.checkpoints]


def _remove_traces(run: RunDir, ours: list[Path], *, is_new: bool) -> None:
    """A typo in the configuration must not leave a run behind that the corrected command is then refused for.

    Only files that this attempt made (`ours`) are removed, and folders that are empty; the run's folder only if it is
    new.
    """
    # A read-only disk, say, is not the mistake that is being reported.
    with contextlib.suppress(OSError):
        for path in ours:
            if path == run.tokenizer:
                shutil.rmtree(path, ignore_errors=True)
            elif path != run.checkpoints:
                path.unlink(missing_ok=True)
            elif path.is_dir():
                path.rmdir()
        if is_new and not any(run.path.iterdir()):
            run.path.rmdir()


def _choose_run_dir(request: RunRequest) -> RunDir:
    """The directory the run is written to, checked against what is already there.

    Raises:
        RunDirError: a run would be overwritten, or there is nothing to resume.
    """
    config = request.loaded.config
    path = request.run_dir or (Path(config.logging.run_dir) if config.logging.run_dir else None)
    if path is None:
        if request.resume != "none":
            raise RunDirError(
                f"--resume {request.resume} needs the run to resume: pass --run-dir RUN "
                f"(`{command_name()} runs` lists them)"
            )
        path = fresh_name(Path("runs"), request.loaded.source)
    run = RunDir(path.expanduser(), config.logging.metrics_file, config.logging.log_file)
    if run.path.exists() and not run.path.is_dir():
        raise RunDirError(f"{run.path} is a file; a run directory is needed")
    if request.resume != "none" and not run.holds_run():
        raise RunDirError(f"--resume {request.resume}: {run.path} holds no run; leave --resume out to start one there")
    _require_room(request, run)
    return run


def _require_room(request: RunRequest, run: RunDir) -> None:
    """A new run needs a directory without a run; one that failed before it could begin does not count.

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
