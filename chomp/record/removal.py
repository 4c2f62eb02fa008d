"""Deleting runs and checkpoints so that half of one never looks like a whole."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from chomp.errors import CheckpointError, RunDirError
from chomp.record.lock import holder_name, locked
from chomp.record.manifest import MANIFEST
from chomp.record.rundir import RunDir


def delete_run(path: Path) -> None:
    """Delete a run directory with everything in it.

    Raises:
        RunDirError: an engine holds it, or it cannot be deleted (wholly); names what is left.
    """
    with _unused(RunDir(path)):
        hidden = path.with_name(f".{path.name}.deleted-{os.getpid()}")
        try:
            path.rename(hidden)
        except OSError as error:
            raise RunDirError(f"{path} cannot be deleted: {error.strerror}") from error
    try:
        shutil.rmtree(hidden)
    except OSError as error:
        where = error.filename or hidden
        raise RunDirError(f"{path} is gone from the list, but {where} cannot be deleted: {error.strerror}") from error


def delete_checkpoint(run: RunDir, step: int) -> None:
    """Delete one checkpoint of a run that no engine writes.

    Raises:
        RunDirError: an engine holds the run.
        CheckpointError: there is no such checkpoint, or it cannot be deleted.
    """
    folder = run.checkpoints / str(step)
    with _unused(run):
        try:
            # Without its manifest it is no checkpoint, whatever interrupts the rest; the next engine clears it away.
            (folder / MANIFEST).unlink()
            shutil.rmtree(folder)
        except FileNotFoundError as error:
            raise CheckpointError(f"{run.path} has no checkpoint of step {step} any more") from error
        except OSError as error:
            raise CheckpointError(f"checkpoint {folder} cannot be deleted: {error.strerror}") from error


@contextlib.contextmanager
def _unused(run: RunDir) -> Iterator[None]:
    """Keep engines out meanwhile, without writing to the lock: it may still name a holder on another machine."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(run.lock))
        except FileNotFoundError:
            # No engine was ever here.
            pass
        except BlockingIOError as error:
            raise RunDirError(f"{run.path} is in use by {holder_name(run.lock)}: stop it first") from error
        except OSError as error:
            raise RunDirError(f"{run.lock} cannot be read: {error.strerror}") from error
        yield
