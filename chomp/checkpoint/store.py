"""Saving and restoring training states through Orbax.

A checkpoint is a folder `checkpoints/STEP/` with the items `params`, `opt`, `state`
(arrays) and `data` (the data iterator's state). Orbax writes them under a temporary
name and renames the folder; then `chomp.record.manifest.seal` adds the description and,
last, the manifest. Whatever happens in between, a folder without a manifest is no
checkpoint and is cleared away by the next engine.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from chomp.checkpoint.retention import Retention
from chomp.errors import CheckpointError
from chomp.record.events import Checkpoint
from chomp.record.manifest import MANIFEST, CheckpointInfo, list_checkpoints, seal, verify
from chomp.record.new_folder import free_path

log = logging.getLogger("chomp.checkpoint")

SET_ASIDE = "set-aside"
UNFINISHED = re.compile(r"\d+(\.orbax-checkpoint-tmp.*)?")
DATA_FILE = "position.json"
# Arrays are compressed, so that a checkpoint may take a little more than the one before it.
SPACE_MARGIN = 1.1
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
    """

    def __init__(self, folder: Path, *, retention: Retention, on_event: Callable[[Checkpoint], None]):
        # Orbax takes absolute paths only.
        self.folder = folder.absolute()
        self._retention = retention
        self._on_event = on_event
        self._worker: threading.Thread | None = None
        self._failure: SaveFailure | None = None
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Create the folder and clear away what a killed engine left unfinished.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in self.folder.iterdir():
                # Only names that a save gives: a copy that a user put here is not the engine's to remove.
                if path.is_dir() and UNFINISHED.fullmatch(path.name) and not (path / MANIFEST).exists():
                    log.info("removing the unfinished checkpoint %s", path.name)
                    shutil.rmtree(path)
        except OSError as error:
            raise CheckpointError(f"cannot write checkpoints to {self.folder}: {error.strerror}") from None

    def infos(self) -> list[CheckpointInfo]:
        """The run's checkpoints, oldest first."""
        return list_checkpoints(self.folder)

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
        lacking = self._lacking_space()
        if lacking is not None:
            self._fail(step, lacking)
            return time.monotonic() - started
        self._on_event(Checkpoint(state="saving", step=step))
        target = self.folder / str(step)
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

    def _lacking_space(self) -> CheckpointError | None:
        """The error if the disk has less space than the newest checkpoint takes; None if it has enough.

        A disk that fills up during a save also fails the event log and the metrics.
        """
        newest = next((info.bytes for info in reversed(self.infos()) if info.bytes), 0)
        needed = int(newest * SPACE_MARGIN)
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError:
            # The save itself will say what is wrong with the folder.
            return None
        if free >= needed:
            return None
        return CheckpointError(f"{self.folder} has {free:,} bytes free, and a checkpoint needs {needed:,}")

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
                (info.path / MANIFEST).unlink()
                shutil.rmtree(info.path)
            except OSError as error:
                log.warning("cannot delete checkpoint %d: %s", info.step, error.strerror)
                continue
            self._on_event(Checkpoint(state="deleted", step=info.step, bytes=info.bytes))

    def _fail(self, step: int, error: Exception) -> None:
        reason = reason_in_words(error)
        log.error("saving step %d failed: %s", step, reason, exc_info=error)
        for path in [self.folder / str(step), *self.folder.glob(f"{step}.orbax-checkpoint-tmp*")]:
            shutil.rmtree(path, ignore_errors=True)
        with self._lock:
            self._failure = SaveFailure(step, reason)
        self._on_event(Checkpoint(state="failed", step=step, reason=reason))

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
            return ocp.load_checkpointables(info.path.absolute(), dict(wanted))
        except Exception as error:
            log.exception("reading checkpoint %d failed", info.step)
            raise CheckpointError(
                f"checkpoint {info.step} ({info.path}) cannot be read: {reason_in_words(error)}"
            ) from error

    def set_aside(self, after: int, label: str) -> list[int]:
        """Move the checkpoints of steps above `after` out of the way of a run that continues from there.

        They lie in `set-aside/LABEL` then, or under that name with a number if it is taken.
        """
        beyond = [info for info in self.infos() if info.step > after]
        if not beyond:
            return []
        # The name may be taken: attempts are counted in the event log, which a user may have cut short.
        place = free_path(self.folder / SET_ASIDE / label)
        place.mkdir(parents=True)
        for info in beyond:
            info.path.rename(place / info.path.name)
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


def reason_in_words(error: BaseException) -> str:
    """One line for an error of the file system or of the libraries that write to it."""
    texts = []
    cause: BaseException | None = error
    while cause is not None and cause not in texts:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror + (f": {cause.filename}" if cause.filename else "")
        texts.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    whole = " ".join(texts)
    for sign, words in (
        ("No space left", "No space left on device"),
        ("RESOURCE_EXHAUSTED", "No space left on device"),
        ("Read-only file system", "Read-only file system"),
        ("Permission denied", "Permission denied"),
        ("File too large", "File too large: a size limit was reached"),
    ):
        if sign in whole:
            return words
    first = next((line.strip() for line in texts[0].splitlines() if line.strip()), type(error).__name__)
    return first[:300]
