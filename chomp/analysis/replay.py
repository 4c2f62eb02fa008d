"""`chomp replay`: computes stretches between checkpoints again and compares them with what the run saved."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np

from chomp.analysis.receipt import what_differs
from chomp.analysis.recorded_rows import expected_rows, rows_between
from chomp.checkpoint.data_item import read_position
from chomp.checkpoint.items import to_items
from chomp.checkpoint.reading import load_to_host
from chomp.data.progress import ProgressMeter
from chomp.errors import CheckpointError, DeviceError
from chomp.model.device import chosen_devices
from chomp.record.event_log import read_events
from chomp.record.manifest import CheckpointInfo, DamagedCheckpoint, list_checkpoints, verify
from chomp.record.rundir import RunDir
from chomp.record.timeline import Timeline, read_timeline
from chomp.step.state import TrainState
from chomp.train.machine import device_facts
from chomp.train.metrics import numbers_of, shortest_repr
from chomp.train.recompute import Recomputation, same_settings
from chomp.train.recorded_mesh import RecordedMesh, recorded_mesh


@dataclass(frozen=True)
class Stretch:
    """The steps between two checkpoints, or from the start (None) to the first one."""

    first: CheckpointInfo | None
    last: CheckpointInfo

    @property
    def begin(self) -> int:
        """The step after which it begins."""
        return self.first.step if self.first is not None else 0

    @property
    def steps(self) -> int:
        return self.last.step - self.begin


@dataclass(frozen=True)
class RowDifference:
    """The first number of a metrics row that is not what was computed now."""

    step: int
    name: str
    recorded: float | None
    recomputed: float | None


@dataclass(frozen=True)
class ArrayDifference:
    """The first array of a checkpoint that is not what was computed now.

    Attributes:
        index: of its first element that differs.
        elements: that differ, `of` so many.
        arrays: that differ in the checkpoint.
    """

    name: str
    index: tuple[int, ...]
    recorded: float
    recomputed: float
    elements: int
    of: int
    arrays: int


@dataclass(frozen=True)
class Outcome:
    """What one stretch gave.

    Attributes:
        rows: metrics rows compared.
        missing_rows: steps whose rows the run wrote, and that are not in its file.
        arrays, bytes: of the checkpoint at its end, all compared.
        row, array: the first differences; None where all agree.
        is_position_same: whether the data position agrees.
    """

    begin: int
    end: int
    rows: int
    missing_rows: tuple[int, ...]
    arrays: int
    bytes: int
    row: RowDifference | None
    array: ArrayDifference | None
    is_position_same: bool

    @property
    def is_certified(self) -> bool:
        return self.row is None and self.array is None and self.is_position_same

    def difference(self) -> str:
        """The first difference in words; empty where there is none."""
        row, array = self.row, self.array
        if row is not None:
            return (
                f"metrics row of step {row.step}: {row.name} is {_said(row.recorded)} in the run and "
                f"{_said(row.recomputed)} computed again"
            )
        agree = f"; the {self.rows} metrics rows before it agree" if self.rows else ""
        if array is not None:
            place = f"[{', '.join(map(str, array.index))}]" if array.index else ""
            more = f" and {array.arrays - 1} more arrays" if array.arrays > 1 else ""
            return (
                f"checkpoint of step {self.end}: {array.name}{place} is {array.recorded!r} in the checkpoint and "
                f"{array.recomputed!r} computed again ({array.elements:,} of {array.of:,} numbers differ{more}){agree}"
            )
        return (
            "" if self.is_position_same else f"checkpoint of step {self.end}: the position in the text differs{agree}"
        )


def _said(value: float | None) -> str:
    return "not finite" if value is None else repr(value)


@dataclass(frozen=True)
class Plan:
    """What of a run can be computed again.

    Attributes:
        stretches: oldest first.
        left_out: a sentence for each that cannot.
        damaged: checkpoints that cannot be read. A stretch neither begins nor ends at one, nor does it pass one.
    """

    stretches: tuple[Stretch, ...]
    left_out: tuple[str, ...]
    damaged: tuple[DamagedCheckpoint, ...] = ()


def plan_replay(run: RunDir, timeline: Timeline, devices: int) -> Plan:
    """The stretches between neighbouring checkpoints of a run that so many devices can compute.

    Raises:
        CheckpointError: there is none.
        DeviceError: there is none, for there are too few devices.
    """
    listed = list_checkpoints(run.checkpoints)
    damaged = {info.step: "; ".join(verify(info.path)) for info in listed if "identity" not in info.meta}
    # An intact checkpoint without settings is no state to compute from or to.
    infos = [info for info in listed if damaged.get(info.step) != ""]
    starts: list[CheckpointInfo | None] = [None, *infos] if not run.origin.exists() else list(infos)
    ends = infos if not run.origin.exists() else infos[1:]
    stretches, left_out, few = [], list[str](), list[str]()
    for first, last in zip(starts, ends, strict=False):
        stretch = Stretch(first, last)
        if last.step in damaged or stretch.begin in damaged:
            step = last.step if last.step in damaged else stretch.begin
            left_out.append(f"{_cannot(stretch)}: {words_of_damage(run, step, damaged[step])}")
            continue
        why = _lost_resume(timeline, stretch)
        too_few = "" if why else mesh_of(last).why_not_on(devices)
        if why or too_few:
            left_out.append(f"{_cannot(stretch)}: {why or too_few}")
            few += left_out[-1:] if too_few else []
        elif stretch.steps:
            stretches.append(stretch)
    found = tuple(DamagedCheckpoint(step, reason) for step, reason in damaged.items() if reason)
    if not stretches and few and not found:
        raise DeviceError(few[0])
    if not stretches and not found:
        raise CheckpointError(
            left_out[0] if left_out else f"{run.path} has no two states to compute from one to the other"
        )
    return Plan(tuple(stretches), tuple(left_out), found)


def _cannot(stretch: Stretch) -> str:
    return f"steps {stretch.begin + 1:,} to {stretch.last.step:,} cannot be computed again"


def words_of_damage(run: RunDir, step: int, reason: str) -> str:
    """`checkpoint PATH is damaged: FILE …`."""
    return f"checkpoint {run.checkpoints / str(step)} is damaged: {reason}"


def mesh_of(info: CheckpointInfo) -> RecordedMesh:
    """The mesh on which a checkpoint was computed."""
    return recorded_mesh(info.meta.get("device", {}))


def _lost_resume(timeline: Timeline, stretch: Stretch) -> str:
    """Which resume within a stretch changed what is computed, in words; empty if none did."""
    mesh = mesh_of(stretch.last)
    before = timeline.attempt_of(stretch.begin + 1)
    for one in timeline.began_within(stretch.begin, stretch.last.step):
        other = before is not None and recorded_mesh(before.started.device)[:2] != mesh[:2]
        if one.started.accepted or other:
            names = "mesh" if other else ", ".join(one.started.accepted)
            return f"the run was resumed at step {one.began:,} with another {names}, and that checkpoint is gone"
        before = one
    return ""


def choose(stretches: Sequence[Stretch], steps: int, seed: int) -> list[Stretch]:
    """Stretches drawn at random until they have `steps` steps, at least one, oldest first."""
    drawn, chosen, total = random.Random(seed).sample(stretches, len(stretches)), list[Stretch](), 0
    for stretch in drawn:
        if chosen and total >= steps:
            break
        chosen.append(stretch)
        total += stretch.steps
    return sorted(chosen, key=lambda one: one.begin)


class Replayer:
    """Computes stretches of a run again.

    Args:
        devices: as `chosen_devices` takes them.
        warn: gets a sentence about the compiled step.
    """

    def __init__(self, run: RunDir, devices: Sequence[str], warn: Callable[[str], None]):
        self.run = run
        self._devices, self._warn = devices, warn
        self.timeline = read_timeline(events := read_events(run.events))
        # Under `halt` a refused step is counted in the state that is saved before it, unless that was saved already.
        self._halted = any(getattr(event, "action", None) == "halt" for event in events)
        self._plan = plan_replay(run, self.timeline, len(chosen_devices(devices)))
        self._described = [info for info in list_checkpoints(run.checkpoints) if "identity" in info.meta]
        self._verified: dict[int, str] = {one.step: one.reason for one in self._plan.damaged}
        self._recomputation: tuple[CheckpointInfo, Recomputation] | None = None

    @property
    def plan(self) -> Plan:
        return self._plan

    @property
    def damaged(self) -> list[DamagedCheckpoint]:
        """The checkpoints that were found damaged so far, oldest first."""
        return [DamagedCheckpoint(step, reason) for step, reason in sorted(self._verified.items()) if reason]

    def replay(self, chosen: Sequence[Stretch]) -> Iterator[Outcome]:
        """Compute these stretches, and with one that differs also the one before it.

        If the checkpoint at the beginning of a stretch was changed, the end of the stretch before shows what in it was.
        A stretch that begins or ends at a damaged checkpoint is not computed: `damaged` has the checkpoint.

        Raises:
            DeviceError: a stretch that several processes computed differs, which shows nothing.
        """
        meter = ProgressMeter("computing again", "steps", sum(stretch.steps for stretch in chosen))
        done: set[int] = set()
        for stretch in chosen:
            if not self._is_intact(stretch):
                continue
            outcome = self._replay(stretch, meter)
            self._require_comparable(stretch, outcome)
            done.add(stretch.begin)
            before = next((one for one in self._plan.stretches if one.last.step == stretch.begin), None)
            is_new = before is not None and before.begin not in done
            if not outcome.is_certified and before is not None and is_new and self._is_intact(before):
                done.add(before.begin)
                yield self._replay(before, meter)
            yield outcome

    def _replay(self, stretch: Stretch, meter: ProgressMeter) -> Outcome:
        work = self._work_of(stretch.last)
        recorded, compared, difference = rows_between(self.run.metrics, stretch.begin, stretch.last.step), 0, None
        expected = expected_rows(stretch.begin, stretch.last.step, self._described, self.timeline)
        work.begin(stretch.first)
        for computed in work.train(stretch.last.step):
            meter.add(1)
            row = recorded.get(computed.step)
            if row is not None and difference is None:
                difference = _differing_number(computed.step, row, numbers_of(computed.metrics))
                compared += difference is None
        for note in work.notes:
            self._warn(note)
        assert work.state is not None
        array, arrays, size = self._compare(work.state, stretch.last)
        same_position = json.loads(json.dumps(work.data_state)) == read_position(stretch.last.path)
        missing = tuple(step for step in expected if step not in recorded)
        return Outcome(
            stretch.begin, stretch.last.step, compared, missing, arrays, size, difference, array, same_position
        )

    def _require_comparable(self, stretch: Stretch, outcome: Outcome) -> None:
        """One process may order sums otherwise than several did: where it does, a difference accuses nothing."""
        attempts = [
            self.timeline.attempt_of(stretch.begin + 1), *self.timeline.began_within(stretch.begin, stretch.last.step)
        ]  # fmt: skip
        facts = [stretch.last.meta.get("device", {}), *(one.started.device for one in attempts if one is not None)]
        several = max(recorded_mesh(each).processes for each in facts)
        if not outcome.is_certified and several > 1:
            raise DeviceError(
                f"steps {stretch.begin + 1:,} to {stretch.last.step:,} can be neither certified nor refuted here: "
                f"{several} processes computed them, and one process orders sums otherwise ({outcome.difference()})"
            )

    def _is_intact(self, stretch: Stretch) -> bool:
        """Whether the bytes of both checkpoints of a stretch are as they were written; each is verified once."""
        for info in (stretch.first, stretch.last):
            if info is not None and info.step not in self._verified:
                self._verified[info.step] = "; ".join(verify(info.path))
        return not any(info is not None and self._verified[info.step] for info in (stretch.first, stretch.last))

    def _work_of(self, info: CheckpointInfo) -> Recomputation:
        if self._recomputation is not None:
            of, work = self._recomputation
            if same_settings(of, info):
                return work
            self.close()
        work = Recomputation(self.run, info, self.timeline, self._devices)
        self._recomputation = info, work
        return work

    def _compare(self, state: TrainState, info: CheckpointInfo) -> tuple[ArrayDifference | None, int, int]:
        """The first array that differs, how many were compared, and their bytes."""
        first, differing, count, size = None, 0, 0, 0
        for item, arrays in to_items(state).items():
            if item == "state" and self._halted:
                arrays = {name: array for name, array in arrays.items() if name != "skipped"}
            abstract = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in arrays.items()}
            saved = load_to_host(info, item, abstract)
            for name, array in arrays.items():
                found = differing_elements(f"{item}/{name}", saved[name], np.asarray(array))
                count, size, differing = count + 1, size + array.nbytes, differing + (found is not None)
                first = first or found
        if first is not None:
            first = ArrayDifference(**{**asdict(first), "arrays": differing})
        return first, count, size

    def what_differs(self, infos: Sequence[CheckpointInfo]) -> list[str]:
        """What is not as it was when these checkpoints were computed: versions, device, flags."""
        if self._recomputation is None:
            return []
        placement, found = self._recomputation[1].blueprint.placement, list[str]()
        for info in infos:
            attempt = self.timeline.attempt_of(info.step)
            found += what_differs(info.meta, attempt.started if attempt is not None else None, placement)
        return list(dict.fromkeys(found))

    def device_facts(self) -> dict[str, Any]:
        """What the steps were computed on now; {} if none were."""
        if self._recomputation is None:
            return {}
        return device_facts(self._recomputation[1].blueprint.placement)

    def close(self) -> None:
        """Stop reading."""
        if self._recomputation is not None:
            self._recomputation[1].close()
            self._recomputation = None


def _differing_number(step: int, row: Mapping[str, Any], numbers: Mapping[str, float]) -> RowDifference | None:
    for name, value in numbers.items():
        now = value if math.isfinite(value) else None
        if name in row and row[name] != now:
            return RowDifference(step, name, row[name], now)
    return None


def differing_elements(name: str, saved: np.ndarray, now: np.ndarray) -> ArrayDifference | None:
    """The elements of two arrays whose bytes differ; None if all are the same."""
    size = now.dtype.itemsize
    ours, theirs = (np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(-1, size) for array in (now, saved))
    differs = (ours != theirs).any(axis=1)
    if not differs.any():
        return None
    index = tuple(int(one) for one in np.unravel_index(int(differs.argmax()), now.shape)) if now.ndim else ()
    return ArrayDifference(
        name, index, shortest_repr(saved[index]), shortest_repr(now[index]), int(differs.sum()), now.size, 1
    )
