"""Computes steps of a run again, in memory: from a checkpoint or from the start, without a change in its directory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax

from chomp.config.compat import compare
from chomp.config.derive import Derived
from chomp.data.batch import Batch
from chomp.data.packing.base import Part
from chomp.data.pipeline import DataPipeline, build_data
from chomp.errors import DataError
from chomp.generate.load import described
from chomp.model.device import chosen_devices
from chomp.record.manifest import CheckpointInfo
from chomp.record.rundir import RunDir
from chomp.record.timeline import Timeline
from chomp.step.state import TrainState, slow_down
from chomp.step.train_step import StepMetrics
from chomp.train.blueprint import Blueprint, build_blueprint
from chomp.train.compilation import CompileWatch, compile_step
from chomp.train.machine import changes_since
from chomp.train.program import PROGRAM, Obtain, RunProgram, compile_only, keeps_program
from chomp.train.recorded_mesh import lay_out, recorded_mesh
from chomp.train.restorer import load_state


class Computed(NamedTuple):
    """One step, computed again; `metrics` are on the host."""

    step: int
    metrics: StepMetrics


class Recomputation:
    """Trains steps of a run again with the settings of one of its checkpoints.

    Attributes:
        blueprint: what is trained.
        data: the text, which is that of the checkpoint.
        state: of step `step`.
        data_state: the data iterator's state behind that step's batch.
        doubts: sentences on why the numbers may not be those of the run bit for bit: another machine or mesh, another
            program. Empty where nothing is known to be otherwise.
        notes: sentences about the compiled step.
    """

    def __init__(self, run: RunDir, described_by: CheckpointInfo, timeline: Timeline, devices: Sequence[str] = ()):
        """Open the text.

        Args:
            described_by: the checkpoint with the settings; its bytes are not read.
            devices: as `chosen_devices` takes them. Used are as many as the checkpoint was computed on; where they are
                fewer, all of them, on another mesh.

        Raises:
            CheckpointError: the run's tokenizer is not that of the checkpoint.
            ConfigError: so few devices cannot share the rows of a step.
            DataError: the text is not that of the checkpoint, or cannot be read.
        """
        identity = described_by.meta["identity"]
        found = described(run, described_by)
        platform = jax.devices()[0].platform
        placement = lay_out(found.config, described_by.meta.get("device", {}), chosen_devices(devices))
        changed = changes_since(described_by.meta, placement)
        self.doubts = [f"{changed}: losses may differ from those of the run in their last digits"] if changed else []
        blueprint = build_blueprint(found.config, platform, found.tokenizer, placement)
        self.blueprint: Blueprint = blueprint.with_derived(_derived_of(identity, blueprint.derived))
        self._timeline, self._run = timeline, run
        self.data: DataPipeline = build_data(self.blueprint.config, self.blueprint.derived, found.tokenizer)
        self._require_text(identity)
        self.state: TrainState | None = None
        self.data_state: dict[str, Any] = {}
        self.step = 0
        self.notes: tuple[str, ...] = ()
        self._program: Any = None

    def _require_text(self, identity: dict[str, Any]) -> None:
        was = {"data_fingerprint": identity["data_fingerprint"]}
        changed = compare(was, {"data_fingerprint": self.data.fingerprint})
        if changed:
            self.data.close()
            named = changed[0]
            raise DataError(
                f"the text is not the text that {self._run.path} was trained on: {named.path} was {named.saved!r} and "
                f"is {named.now!r}; restore the files"
            )

    def begin(self, info: CheckpointInfo | None) -> None:
        """Go to a checkpoint, whose bytes are verified, or to the start.

        Raises:
            CheckpointError: the checkpoint cannot be read.
        """
        self.state = None
        if info is None:
            self.state, self.step = self.blueprint.first_state(), 0
            self.data_state = self.data.packing_iterator().get_state()
            return
        self.state, self.data_state = load_state(info, self.blueprint)
        self.step = info.step

    def train(self, last: int) -> Iterator[Computed]:
        """Compute the steps after `step` up to `last`.

        Raises:
            DataError: the text ends before, or cannot be read.
        """
        if self.step >= last:
            return
        self._compile()
        placement, accum = self.blueprint.placement, self.blueprint.accum
        with self._batches() as batches:
            for step in range(self.step + 1, last + 1):
                self._slow_down(step - 1)
                batch = self._next(batches, step)
                self.state, metrics = self._program(self.state, placement.place(batch, accum))
                self.step, self.data_state = step, batches.get_state()
                yield Computed(step, jax.device_get(metrics))

    def read(self, last: int) -> Iterator[int]:
        """Read the batches of the steps after `step` up to `last`, and compute nothing: the state stays as it is.

        Raises:
            DataError: the text ends before, or cannot be read.
        """
        with self._batches() as batches:
            for step in range(self.step + 1, last + 1):
                self._next(batches, step)
                self.step, self.data_state = step, batches.get_state()
                yield step

    def next_batch(self) -> tuple[Batch, list[Part]]:
        """The batch of the step after `step`, and the documents in it.

        Raises:
            DataError: the text ends before, or cannot be read.
        """
        packer = self.data.packing_iterator()
        packer.set_state(self.data_state)
        return self._next(packer, self.step + 1), packer.parts

    @contextmanager
    def _batches(self) -> Iterator[Any]:
        batches = self.data.train_iterator()
        try:
            batches.set_state(self.data_state)
            yield batches
        finally:
            batches.close()

    def _next(self, batches: Any, step: int) -> Batch:
        self._leave_out(batches, step)
        batch: Batch | None = next(batches, None)
        if batch is None:
            raise DataError(f"the text ends before step {step} (data.repeat is false)")
        return batch

    def _leave_out(self, batches: Any, step: int) -> None:
        for _ in range(self._timeline.batches_before(step)):
            next(batches, None)

    def _slow_down(self, step: int) -> None:
        jump = self._timeline.jump_at(step)
        if jump is not None:
            assert self.state is not None
            self.state = slow_down(self.state, jump.lr_factor, jump.until_step)

    def _compile(self) -> None:
        if self._program is not None:
            return
        watch = CompileWatch()
        try:
            compiled = compile_step(
                self.blueprint.train_step(), self.state, self.blueprint.batch_shape, watch, self._obtain(),
                self.blueprint.placement, mixture=self.blueprint.derived.mixture,
            )  # fmt: skip
        finally:
            watch.close()
        self._program, self.notes = compiled.step, compiled.notes
        if self._keeps_program() and not compiled.in_run:
            self.doubts += compiled.notes

    def _keeps_program(self) -> bool:
        return keeps_program(self.blueprint.config.train.keep_program, jax.devices()[0].platform)

    def _obtain(self) -> Obtain:
        """The run's kept program if the run keeps one; nothing is kept."""
        if not self._keeps_program():
            return compile_only
        return RunProgram(self._run.program / PROGRAM, placement=self.blueprint.placement).load_or_compile

    def close(self) -> None:
        """Stop reading."""
        self.data.close()


def _derived_of(identity: dict[str, Any], derived: Derived) -> Derived:
    """The derived numbers with the schedule of the checkpoint, which a longer run keeps."""
    saved = identity["derived"]["optim"]
    return dataclasses.replace(derived, **{name: saved[name] for name in ("decay_steps_effective", "schedule_steps")})


def same_settings(one: CheckpointInfo, other: CheckpointInfo) -> bool:
    """Whether two checkpoints have the same settings and mesh, so that one `Recomputation` does for both."""
    meshes = [recorded_mesh(info.meta.get("device", {})) for info in (one, other)]
    return bool(one.meta["identity"] == other.meta["identity"] and meshes[0] == meshes[1])
