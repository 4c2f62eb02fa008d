"""A new run that begins with a checkpoint of another one."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chomp.config.compat import NOT_SETTINGS
from chomp.errors import CheckpointError, RunDirError
from chomp.record.line_files import parse_line
from chomp.record.manifest import (
    MANIFEST,
    UNSEALED,
    CheckpointInfo,
    find_checkpoint,
    listed_names,
    parameters_alone,
    read_info,
    verify,
)
from chomp.record.notes import Notes, read_notes, write_notes
from chomp.record.origin import Origin, write_origin
from chomp.record.rundir import RunDir, fsync_folder, named_run, open_run, write_whole

_STEP = re.compile(rb'^\{"step":(\d+)[,}]')


def fork_run(run: RunDir, step: int, new: Path) -> RunDir:
    """Make a run directory that holds one checkpoint of `run` and everything needed to continue from it.

    The checkpoint's sealed files are hard links where the file system allows it: no program
    writes to them in place, and deleting one name leaves the other. All other files are copies.

    Args:
        run: the origin; it may be live.
        step: which of its checkpoints.
        new: where the new run will be; nothing may be there yet.

    Raises:
        RunDirError: `new` exists, or cannot be written.
        CheckpointError: there is no such checkpoint, it is damaged, or it is an average, without an optimizer state.
    """
    info = find_checkpoint(run, step)
    if "averaged" in info.meta:
        raise CheckpointError(parameters_alone(info.path))
    try:
        with building_run(new, [run]) as building:
            _build(run, info, building)
    except OSError as error:
        if not info.path.exists():
            raise CheckpointError(f"checkpoint {info.path} was deleted while it was being forked") from error
        raise RunDirError(f"cannot fork to {new}: {error.strerror}: {error.filename or new}") from error
    return open_run(new)


@contextmanager
def building_run(new: Path, origins: Sequence[RunDir]) -> Iterator[Path]:
    """A folder that becomes the run directory `new` at the end; after an error nothing of it stays.

    Under its hidden name it is no run yet: a command that is killed leaves nothing that looks like one.

    Args:
        origins: the runs that it is made from.

    Raises:
        RunDirError: `new` exists, or lies inside an origin.
    """
    if os.path.lexists(new):
        raise RunDirError(f"{new} already exists; the new run needs a new name")
    for run in origins:
        if new.resolve().is_relative_to(run.path.resolve()):
            raise RunDirError(f"{new} lies inside {run.path}; the new run needs a place of its own")
    building = new.with_name(f".{new.name}.forking-{os.getpid()}-{time.time_ns()}")
    try:
        building.mkdir(parents=True)
        yield building
        building.rename(new)
        fsync_folder(new.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def copy_description(run: RunDir, info: CheckpointInfo, building: Path) -> RunDir:
    """Copy what describes a run into a new one: the settings of a checkpoint, the tokenizer, the tags.

    Tags say what a run belongs to, and so does one that is made from it; name and note are of one run.
    """
    settings = _settings(info)
    new = named_run(building, settings.get("logging", {}))
    write_whole(new.config_resolved, json.dumps(settings, indent=2).encode())
    if run.config_original.exists():
        shutil.copyfile(run.config_original, new.config_original)
    if run.tokenizer.is_dir():
        shutil.copytree(run.tokenizer, new.tokenizer, copy_function=shutil.copyfile)
    tags = read_notes(run).tags
    if tags:
        write_notes(new, Notes(tags=tags))
    return new


def _build(run: RunDir, info: CheckpointInfo, building: Path) -> None:
    """Fill the new directory."""
    copy = RunDir(building).checkpoints / str(info.step)
    _link_checkpoint(info.path, copy)
    # Verified in the fork: whatever happens to the origin from now on, these are the bytes.
    problems = verify(copy)
    if problems:
        raise CheckpointError(f"checkpoint {info.path} is damaged: {'; '.join(problems)}")
    new = copy_description(run, read_info(copy), building)
    if run.program.is_dir():
        # The fork's engine uses it if its own step is the same, and otherwise replaces it, never in place.
        new.program.mkdir()
        for file in run.program.glob("[!.]*"):
            _link_or_copy(file, new.program / file.name)
    _copy_rows(run.metrics, new.metrics, info.step)
    _copy_rows(run.samples, new.samples, info.step)
    digest = hashlib.sha256((copy / MANIFEST).read_bytes()).hexdigest()
    write_origin(
        new, Origin(run.path.resolve().name, str(run.path.resolve()), info.step, digest, round(time.time(), 3))
    )


def _link_checkpoint(source: Path, target: Path) -> None:
    """The checkpoint's folders, its sealed files as links, the others as copies."""
    sealed = listed_names(source)
    for folder in [source, *(path for path in source.rglob("*") if path.is_dir())]:
        (target / folder.relative_to(source)).mkdir(parents=True, exist_ok=True)
    for name in sealed:
        try:
            _link_or_copy(source / name, target / name)
        except FileNotFoundError:
            # `verify` names it.
            continue
    for name in UNSEALED:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except FileNotFoundError:
        raise
    except OSError:
        # Another disk, a file system without links, or too many of them.
        shutil.copyfile(source, target)


def _settings(info: CheckpointInfo) -> dict[str, Any]:
    """The settings the checkpoint was made with, as `config_resolved.json` holds them."""
    identity = info.meta.get("identity")
    if not isinstance(identity, dict):
        raise CheckpointError(f"checkpoint {info.path} does not say which settings it was made with")
    settings = {name: value for name, value in identity.items() if name not in NOT_SETTINGS}
    if isinstance(settings.get("logging"), dict):
        # The place of the origin, not of this run.
        settings["logging"] = {**settings["logging"], "run_dir": None}
    return settings


def _copy_rows(source: Path, target: Path, step: int) -> None:
    """Copy the rows of steps up to `step`, without a torn last line."""
    if not source.exists():
        return
    with source.open("rb") as rows, target.open("wb") as kept:
        for line in rows:
            reached = _step_of(line)
            if reached is not None and reached <= step and line.endswith(b"\n"):
                kept.write(line)


def _step_of(line: bytes) -> int | None:
    # As the engine writes them, which is quicker than to parse a million rows.
    found = _STEP.match(line)
    if found:
        return int(found[1])
    step = (parse_line(line) or {}).get("step")
    return step if isinstance(step, int) else None
