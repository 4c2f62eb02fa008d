"""Saving and restoring training states through Orbax.

A checkpoint is a folder `checkpoints/STEP/` with the items `params`, `opt`, `state`
(arrays) and `data` (the data iterator's state). Orbax writes them under a temporary
name and renames the folder; then `chomp.record.manifest.seal` adds the description and,
last, the manifest. Whatever happens in between, a folder without a manifest is no
checkpoint and is cleared away by the next engine.

An engine writes through the descriptor of its run directory: a save that is under way when the user renames the
directory goes on in it, one after its removal fails, and no folder is made anew at the old path.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shutil
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from chomp.checkpoint.reasons import reason_in_words
from chomp.checkpoint.retention import Retention
from chomp.checkpoint.room import LEAST_SHARE, above_size_limit, bytes_needed, lacking_room, size_of
from chomp.errors import CheckpointError
from chomp.record.events import Checkpoint
from chomp.record.held_folder import HeldFolder, by_name
from chomp.record.manifest import MANIFEST, META, CheckpointInfo, list_checkpoints, seal, verify
from chomp.record.new_folder import free_path
from chomp.record.rundir import CHECKPOINTS, write_whole

log = logging.getLogger("chomp.checkpoint")

SET_ASIDE = "set-aside"
UNFINISHED = re.compile(r"\d+(\.orbax-checkpoint-tmp.*)?")
DATA_FILE = "position.json"
# About how many parts an item is read in to save memory; each part costs about a quarter of a second.
PARTS = 8


@dataclass(frozen=True)
class SaveFailure:
    """A save that did not become a checkpoint."""

    step: int
    reason: str


class DataState:
    """A data iterator's state as one Orbax item (`ocp.StatefulCheckpointable`)."""

    def __init__(self, state: dict[str, Any] | None = None):
        self.state = state

    async def save(self, directory: Any) -> Awaitable[None]:
        text = json.dumps(self.state)

        async def write() -> None:
            folder = await directory.await_creation()
            (Path(folder) / DATA_FILE).write_text(text)

        return write()

    async def load(self, directory: Any) -> Awaitable[None]:
        async def read() -> None:
            self.state = json.loads((Path(directory) / DATA_FILE).read_text())

        return read()


@dataclass(frozen=True)
class HostArray:
    """Restored as a numpy array: a shape and a dtype without a sharding (`ocp.arrays.AbstractArray`)."""

    shape: tuple[int, ...]
    dtype: Any


class CheckpointStore:
    """The checkpoints of one run, written by one engine.

    One save is under way at a time. A failed save is reported through `on_event` as soon
    as it is known and kept for `take_failure`; it never raises out of a background thread
    unseen.

    Args:
        folder: where they are; for a run that this process holds, the folder `checkpoints` in `held`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        retention: Retention,
        on_event: Callable[[Checkpoint], None],
        held: HeldFolder | None = None,
    ):
        self._folder = folder.absolute()
        self._held = held
        # What Orbax and the file system are given; Orbax takes absolute paths only.
        self._way = held.through / CHECKPOINTS if held is not None else self._folder
        self._retention = retention
        self._on_event = on_event
        self._worker: threading.Thread | None = None
        self._failure: SaveFailure | None = None
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        """Where the checkpoints are now, as a user reads it."""
        return self._held.absolute / CHECKPOINTS if self._held is not None else self._folder

    def prepare(self) -> None:
        """Create the folder and clear away what a killed engine left unfinished.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        try:
            self._way.mkdir(parents=True, exist_ok=True)
            for path in self._way.iterdir():
                # Only names that a save gives: a copy that a user put here is not the engine's to remove.
                if path.is_dir() and UNFINISHED.fullmatch(path.name) and not (path / MANIFEST).exists():
                    log.info("removing the unfinished checkpoint %s", path.name)
                    shutil.rmtree(path)
        except OSError as error:
            raise CheckpointError(f"cannot write checkpoints to {self.folder}: {error.strerror}") from None

    def prove(self, items: Mapping[str, Any], last_step: int) -> str | None:
        """Prove that checkpoints of `items` can be saved: there is room for one, and a tiny one is saved and deleted.

        Returns:
            A sentence if there may be too little room for the first one, whose size is not known exactly.

        Raises:
            CheckpointError: none can be saved.
        """
        needed, size = bytes_needed(self.infos()), size_of(items)
        first = partial(lacking_room, self._way, self.folder, why=f"has {size:,} bytes before compression")
        lacking = lacking_room(self._way, self.folder, needed) if needed else first(int(size * LEAST_SHARE))
        problem = lacking or above_size_limit(items) or self._try(last_step)
        if problem is not None:
            # Of a run that has not begun, nothing stays that looks like one.
            with contextlib.suppress(OSError):
                self._way.rmdir()
            raise CheckpointError(f"no checkpoint can be saved: {problem}; mend that, or choose another --run-dir")
        tight = None if needed else first(size)
        return f"there may be too little room: {tight}" if tight is not None else None

    def _try(self, last_step: int) -> str | None:
        """Save and delete a tiny checkpoint; the reason if that fails.

        Its name is that of no step (a leading zero), and as long as the longest. A killed engine leaves it unfinished.
        """
        trial = self._way / f"0{last_step}"
        try:
            ocp.save_checkpointables(trial, {"params": {"trial": np.zeros(1)}, "data": DataState({})}, overwrite=True)
            write_whole(trial / META, b"{}")
            shutil.rmtree(trial)
        except Exception as error:
            log.error("a tiny checkpoint could not be saved", exc_info=error)
            self._clear_away(trial.name)
            return self._reason(error)
        return None

    def infos(self) -> list[CheckpointInfo]:
        """The run's checkpoints, oldest first."""
        folder = self.folder
        return [replace(info, path=folder / info.path.name) for info in list_checkpoints(self._way)]

    def has(self, step: int) -> bool:
        """Whether `step` is saved, according to its description."""
        return any(info.step == step and info.meta for info in self.infos())

    def will_stay(self, step: int, eval_loss: float | None) -> bool:
        """Whether a checkpoint saved now would be kept for good."""
        return self._retention.stays(step, eval_loss, self.infos())

    def save(
        self, step: int, items: Mapping[str, Any], data_state: dict[str, Any], meta: dict[str, Any], *, wait: bool
    ) -> float:
        """Start saving; device arrays are copied before this returns, so they may be donated afterwards.

        Args:
            step: the step whose state this is.
            items: array trees by item name; `chomp.checkpoint.items.to_items` makes them.
            data_state: the data iterator's state after that step's batch.
            meta: JSON-able description, with at least `step`.
            wait: return only when the checkpoint is committed or has failed.

        Returns:
            Seconds for which the caller was blocked.
        """
        started = time.monotonic()
        self.wait()
        if self.has(step):
            return time.monotonic() - started
        obstacle = self._obstacle()
        if obstacle is not None:
            self._fail(step, obstacle)
            return time.monotonic() - started
        self._on_event(Checkpoint(state="saving", step=step))
        target = self._way / str(step)
        try:
            response = ocp.save_checkpointables_async(target, {**items, "data": DataState(data_state)}, overwrite=True)
        except Exception as error:  # noqa: BLE001 - Orbax raises many kinds; every one is reported as a failed save
            self._fail(step, error)
            return time.monotonic() - started
        blocked = None if wait else time.monotonic() - started
        self._worker = threading.Thread(
            target=self._finish, args=(response, target, meta, started, blocked), daemon=True, name=f"checkpoint-{step}"
        )
        self._worker.start()
        if wait:
            self.wait()
        return time.monotonic() - started if blocked is None else blocked

    def _obstacle(self) -> Exception | None:
        """Why a save need not be tried: the run directory is gone, or the disk has less room than a checkpoint takes.

        A disk that fills up during a save also fails the event log and the metrics.
        """
        try:
            self._way.mkdir(exist_ok=True)
        except OSError as error:
            return error
        return lacking_room(self._way, self.folder, bytes_needed(self.infos()))

    def _finish(self, response: Any, target: Path, meta: dict[str, Any], started: float, blocked: float | None) -> None:
        """Complete a save that began at `started`; the caller waited `blocked` seconds, or waits still (None)."""
        step = int(target.name)
        try:
            response.result()
            size = seal(target, meta)
        except Exception as error:  # noqa: BLE001 - as above; a thread has no caller to raise to
            self._fail(step, error)
            return
        seconds = time.monotonic() - started
        self._on_event(
            Checkpoint(
                state="committed",
                step=step,
                bytes=size,
                seconds=round(seconds, 3),
                blocked_seconds=round(seconds if blocked is None else blocked, 4),
            )
        )
        self._delete_surplus()

    def _delete_surplus(self) -> None:
        for info in self._retention.surplus(self.infos()):
            try:
                # Without its manifest it is no checkpoint, whatever interrupts the rest.
                (self._way / info.path.name / MANIFEST).unlink()
                shutil.rmtree(self._way / info.path.name)
            except OSError as error:
                log.warning("cannot delete checkpoint %d: %s", info.step, error.strerror)
                continue
            self._on_event(Checkpoint(state="deleted", step=info.step, bytes=info.bytes))

    def _fail(self, step: int, error: Exception) -> None:
        reason = self._reason(error)
        log.error("saving step %d failed: %s", step, reason, exc_info=error)
        self._clear_away(str(step))
        with self._lock:
            self._failure = SaveFailure(step, reason)
        self._on_event(Checkpoint(state="failed", step=step, reason=reason))

    def _reason(self, error: Exception) -> str:
        """The reason of a failure, with the path that the user knows."""
        return by_name(reason_in_words(error), self.folder.parent)

    def _clear_away(self, name: str) -> None:
        """Remove what is left of a failed save."""
        for path in [self._way / name, *self._way.glob(f"{name}.orbax-checkpoint-tmp*")]:
            shutil.rmtree(path, ignore_errors=True)

    def take_failure(self) -> SaveFailure | None:
        """The failure since the last call, once."""
        with self._lock:
            failure, self._failure = self._failure, None
        return failure

    def is_busy(self) -> bool:
        """Whether a save is under way."""
        return self._worker is not None and self._worker.is_alive()

    def wait(self) -> None:
        """Return when no save is under way."""
        while self.is_busy():
            assert self._worker is not None
            # Joined in slices, so that a signal handler of the main thread gets its turn.
            self._worker.join(0.1)

    def load(
        self,
        info: CheckpointInfo,
        abstract: Mapping[str, Any],
        *,
        verified: bool = False,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read a checkpoint whose bytes are as they were written.

        Args:
            info: which one.
            abstract: by item name, trees of `jax.ShapeDtypeStruct` with the shardings to restore to; items left out are
                not read.
            verified: the caller has just verified the bytes.

        Returns:
            The item trees, and the data iterator's state.

        Raises:
            CheckpointError: bytes are missing or changed; the files are named.
        """
        problems = [] if verified else verify(info.path)
        if problems:
            raise CheckpointError(f"checkpoint {info.step} ({info.path}) is damaged: {'; '.join(problems)}")
        data_state = DataState()
        loaded = self._read(info, {**abstract, "data": data_state})
        assert data_state.state is not None
        return {name: loaded[name] for name in abstract}, data_state.state

    def load_to_host(
        self, info: CheckpointInfo, item: str, abstract: Mapping[str, jax.ShapeDtypeStruct]
    ) -> dict[str, np.ndarray]:
        """Read one item of a verified checkpoint as numpy arrays with little memory beside them.

        Orbax reads the arrays of one call at once, and each takes up to three times its size meanwhile: as it is
        stored, decompressed, and where it goes.

        Raises:
            CheckpointError: it cannot be read.
        """
        arrays: dict[str, np.ndarray] = {}
        for names in in_parts({name: like.size * like.dtype.itemsize for name, like in abstract.items()}):
            wanted = {
                name: HostArray(like.shape, like.dtype) if name in names else ocp.PLACEHOLDER
                for name, like in abstract.items()
            }
            read = self._read(info, {item: wanted})[item]
            arrays |= {name: read[name] for name in names}
        return arrays

    def _read(self, info: CheckpointInfo, wanted: Mapping[str, Any]) -> dict[str, Any]:
        try:
            # Orbax takes only names that are UTF-8.
            with HeldFolder(info.path.parent) as held:
                return ocp.load_checkpointables(held.through / info.path.name, dict(wanted))
        except Exception as error:
            log.exception("reading checkpoint %d failed", info.step)
            reason = by_name(reason_in_words(error), info.path.parent)
            raise CheckpointError(f"checkpoint {info.step} ({info.path}) cannot be read: {reason}") from error

    def set_aside(self, after: int, label: str) -> list[int]:
        """Move the checkpoints of steps above `after` out of the way of a run that continues from there.

        They lie in `set-aside/LABEL` then, or under that name with a number if it is taken.
        """
        beyond = [info for info in self.infos() if info.step > after]
        if not beyond:
            return []
        # The name may be taken: attempts are counted in the event log, which a user may have cut short.
        place = free_path(self._way / SET_ASIDE / label)
        place.mkdir(parents=True)
        for info in beyond:
            (self._way / info.path.name).rename(place / info.path.name)
        return [info.step for info in beyond]


def in_parts(sizes: Mapping[str, int]) -> list[set[str]]:
    """Names in groups of at most an eighth of all bytes, or of one larger array, the largest arrays first.

    What an array takes to be read is most for the largest, so it comes while nothing else is held.
    """
    most, room = sum(sizes.values()) // PARTS, 0
    parts: list[set[str]] = []
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        if sizes[name] > room or not parts:
            parts.append(set())
            room = most
        parts[-1].add(name)
        room -= sizes[name]
    return parts


def with_sharding(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """`tree` of `ShapeDtypeStruct` with every leaf to be restored to `sharding`."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)
