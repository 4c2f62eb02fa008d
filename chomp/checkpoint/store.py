"""Saving and restoring training states through Orbax.

A checkpoint is a folder `checkpoints/STEP/` with the items `params`, `opt`, `state`
(arrays) and `data` (the data iterator's state). Orbax writes them under a temporary
name and renames the folder; then `chomp.record.manifest.seal` adds the description and,
last, the manifest. Whatever happens in between, a folder without a manifest is no
checkpoint and is cleared away by the next engine.

An engine writes through the descriptor of its run directory: a save that is under way when the user renames the
directory goes on in it, one after its removal fails, and no folder is made anew at the old path.

Of several processes each writes the parts of the arrays that its devices hold, and the leader all the rest. What a
process reads from the file system before a save is the leader's answer in all of them, and a save that fails in one
fails in all.
"""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from orbax.checkpoint import v1 as ocp

from chomp.checkpoint.data_item import DataState
from chomp.checkpoint.reasons import reason_in_words
from chomp.checkpoint.retention import Retention
from chomp.checkpoint.room import above_size_limit, bytes_needed, judge_room, lacking_room, size_of
from chomp.checkpoint.together import FailedPartError, Meeting, Together
from chomp.errors import CheckpointError
from chomp.parallel.world import World
from chomp.record.events import Checkpoint
from chomp.record.held_folder import HeldFolder, by_name
from chomp.record.manifest import MANIFEST, META, CheckpointInfo, FileTable, list_checkpoints, seal
from chomp.record.new_folder import free_path
from chomp.record.rundir import CHECKPOINTS, write_whole

log = logging.getLogger("chomp.checkpoint")

SET_ASIDE = "set-aside"
UNFINISHED = re.compile(r"\d+(\.orbax-checkpoint-tmp.*)?")


@dataclass(frozen=True)
class SaveFailure:
    """A save that did not become a checkpoint.

    Attributes:
        of_process: one process of several could not write its part.
    """

    step: int
    reason: str
    of_process: bool = False


class CheckpointStore:
    """The checkpoints of one run, written by one engine.

    One save is under way at a time. A failed save is reported through `on_event` as soon
    as it is known and kept for `take_failure`; it never raises out of a background thread
    unseen.

    Args:
        folder: where they are; for a run that this process holds, the folder `checkpoints` in `held`.
        world: the processes of the run, which call the methods of their stores in the same order.
    """

    def __init__(
        self,
        folder: Path,
        *,
        retention: Retention,
        on_event: Callable[[Checkpoint], None],
        held: HeldFolder | None = None,
        world: World | None = None,
    ):
        self._folder = folder.absolute()
        self._held = held
        self._together = Together(world or World(), self._reason)
        # What Orbax and the file system are given; Orbax takes absolute paths only, equal in all processes.
        self._way = self._folder
        if held is not None:
            through = held.through_high_number() if self._together.several else held.through
            self._way = through / CHECKPOINTS
        self._retention = retention
        self._on_event = on_event
        self._worker: threading.Thread | None = None
        self._failure: SaveFailure | None = None
        self._lock = threading.Lock()
        # Of several processes: steps whose save failed while a process may still write, and why.
        self._left: dict[int, str] = {}

    @property
    def folder(self) -> Path:
        """Where the checkpoints are now, as a user reads it."""
        return self._held.absolute / CHECKPOINTS if self._held is not None else self._folder

    def prepare(self) -> None:
        """Create the folder and clear away what a killed engine left unfinished.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        self._together.led(self._prepare)

    def _prepare(self) -> None:
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
        size = size_of(items)
        room = self._together.led(lambda: judge_room(self._way, self.folder, bytes_needed(self.infos()), size))
        problem = (
            room["problem"] or self._together.first_problem(above_size_limit(items)) or self._try(last_step, items)
        )
        if problem is not None:
            # Of a run that has not begun, nothing stays that looks like one.
            with contextlib.suppress(OSError):
                self._way.rmdir()
            raise CheckpointError(f"no checkpoint can be saved: {problem}; mend that, or choose another --run-dir")
        return room["doubt"]

    def _try(self, last_step: int, items: Mapping[str, Any]) -> str | None:
        """Save and delete a tiny checkpoint; the reason if that fails.

        Its name is that of no step (a leading zero), and as long as the longest. A killed engine leaves it unfinished.
        """
        trial = self._way / f"0{last_step}"
        # Of several processes each takes part, for which Orbax needs an array that all of them hold.
        array = items["state"]["rng"] if self._together.several else np.zeros(1)
        try:
            self._save_trial(trial, {"params": {"trial": array}, "data": self._data_item({})})
        except Exception as error:
            log.error("a tiny checkpoint could not be saved", exc_info=error)
            self._clear_away(trial.name)
            return self._reason(error)
        return None

    def _save_trial(self, trial: Path, items: Mapping[str, Any]) -> None:
        if not self._together.several:
            ocp.save_checkpointables(trial, dict(items), overwrite=True)
            write_whole(trial / META, b"{}")
            shutil.rmtree(trial)
            return
        response = ocp.save_checkpointables_async(trial, dict(items), overwrite=True)
        self._complete(self._together.meeting("save"), response, trial, {"step": 0})
        self._clear_away(trial.name)

    def infos(self) -> list[CheckpointInfo]:
        """The run's checkpoints, oldest first, as this process sees them."""
        folder = self.folder
        return [replace(info, path=folder / info.path.name) for info in list_checkpoints(self._way)]

    def common_infos(self) -> list[CheckpointInfo]:
        """The run's checkpoints, oldest first, as the leader sees them."""
        if not self._together.several:
            return self.infos()
        folder = self.folder
        told = self._together.led(lambda: [{**asdict(info), "path": None} for info in self.infos()])
        return [
            CheckpointInfo(**{**info, "path": folder / str(info["step"]), "tags": tuple(info["tags"])}) for info in told
        ]

    def verify(self, path: Path) -> list[str]:
        """What is wrong with the bytes of the checkpoint at `path`, of which each process reads a part."""
        return self._together.verify(path)

    def sees(self, step: int) -> bool:
        """Whether this process sees `step` saved, according to its description."""
        return any(info.step == step and bool(info.meta) for info in self.infos())

    def has(self, step: int) -> bool:
        """The same as the leader sees it; all processes ask."""
        return self._together.led(lambda: self.sees(step))

    def will_stay(self, step: int, rank: float | None) -> bool:
        """Whether a checkpoint saved now would be kept for good."""
        return self._together.led(lambda: self._retention.stays(step, rank, self.infos()))

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
        obstacle = self._together.led(lambda: self._obstacle(step))
        if obstacle is not None:
            self._report_failure(step, obstacle)
            return time.monotonic() - started
        self._on_event(Checkpoint(state="saving", step=step))
        target = self._way / str(step)
        try:
            response = ocp.save_checkpointables_async(
                target, {**items, "data": self._data_item(data_state)}, overwrite=True
            )
        except Exception as error:
            self._fail(step, error)
            if self._together.several:
                # The other processes wait for this one in Orbax: it must leave, which ends the run.
                raise CheckpointError(f"step {step} could not be saved: {self._reason(error)}") from error
            return time.monotonic() - started
        meeting = self._together.meeting("save")
        blocked = None if wait else time.monotonic() - started
        self._worker = threading.Thread(
            target=self._finish,
            args=(meeting, response, target, meta, started, blocked),
            daemon=True,
            name=f"checkpoint-{step}",
        )
        self._worker.start()
        if wait:
            self.wait()
        return time.monotonic() - started if blocked is None else blocked

    def _data_item(self, data_state: dict[str, Any]) -> DataState:
        return DataState(data_state, writes=self._together.leads)

    def _obstacle(self, step: int) -> str | None:
        """Why a save need not be tried: the run directory is gone, or the disk has less room than a checkpoint takes.

        A disk that fills up during a save also fails the event log and the metrics.
        """
        if step in self._left:
            # A process may still write to its folder.
            return self._left[step]
        for earlier in self._left:
            self._clear_away(str(earlier))
        try:
            self._way.mkdir(exist_ok=True)
        except OSError as error:
            return self._reason(error)
        lacking = lacking_room(self._way, self.folder, bytes_needed(self.infos()))
        return self._reason(lacking) if lacking is not None else None

    def _complete(self, meeting: Meeting[FileTable], response: Any, target: Path, meta: dict[str, Any]) -> int:
        """Wait for a save and seal it; its bytes."""
        if not self._together.several:
            response.result()
            return seal(target, meta)
        return self._together.complete(meeting, response, target, meta)

    def _finish(
        self,
        meeting: Meeting[FileTable],
        response: Any,
        target: Path,
        meta: dict[str, Any],
        started: float,
        blocked: float | None,
    ) -> None:
        """Complete a save that began at `started`; the caller waited `blocked` seconds, or waits still (None)."""
        step = int(target.name)
        try:
            size = self._complete(meeting, response, target, meta)
        except Exception as error:  # noqa: BLE001 - as above; a thread has no caller to raise to
            self._fail(step, error)
            if self._together.several:
                self._left[step] = self._reason(error)
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
        if self._together.leads:
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
        log.error("step %d", step, exc_info=error)
        self._report_failure(step, self._reason(error), of_process=isinstance(error, FailedPartError))

    def _report_failure(self, step: int, reason: str, *, of_process: bool = False) -> None:
        log.error("saving step %d failed: %s", step, reason)
        self._clear_away(str(step))
        with self._lock:
            self._failure = SaveFailure(step, reason, of_process)
        self._on_event(Checkpoint(state="failed", step=step, reason=reason))

    def _reason(self, error: Exception) -> str:
        """The reason of a failure, with the path that the user knows."""
        reason = str(error) if isinstance(error, FailedPartError) else reason_in_words(error)
        return by_name(reason, self.folder.parent)

    def _clear_away(self, name: str) -> None:
        """Remove what is left of a failed save."""
        if not self._together.leads:
            return
        for path in [self._way / name, *self._way.glob(f"{name}.orbax-checkpoint-tmp*")]:
            shutil.rmtree(path, ignore_errors=True)

    def take_failure(self) -> SaveFailure | None:
        """The failure since the last call, once."""
        with self._lock:
            failure, self._failure = self._failure, None
        return failure

    def is_busy(self) -> bool:
        """Whether a save is under way, or one that failed in another process may be."""
        return bool(self._left) or self._works()

    def _works(self) -> bool:
        return self._worker is not None and self._worker.is_alive()

    def wait(self) -> None:
        """Return when no save is under way."""
        while self._works():
            assert self._worker is not None
            # Joined in slices, so that a signal handler of the main thread gets its turn.
            self._worker.join(0.1)

    def set_aside(self, after: int, label: str) -> list[int]:
        """Move the checkpoints of steps above `after` out of the way of a run that continues from there.

        They lie in `set-aside/LABEL` then, or under that name with a number if it is taken.
        """
        return self._together.led(lambda: self._set_aside(after, label))

    def _set_aside(self, after: int, label: str) -> list[int]:
        beyond = [info for info in self.infos() if info.step > after]
        if not beyond:
            return []
        # The name may be taken: attempts are counted in the event log, which a user may have cut short.
        place = free_path(self._way / SET_ASIDE / label)
        place.mkdir(parents=True)
        for info in beyond:
            (self._way / info.path.name).rename(place / info.path.name)
        return [info.step for info in beyond]
