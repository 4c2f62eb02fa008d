"""Where an attempt begins: a fresh state, or a checkpoint that may be continued, in a run directory that agrees."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from chomp.checkpoint.items import to_items
from chomp.checkpoint.restore import choose, continued, judge, require_steps_ahead, restore
from chomp.checkpoint.store import CheckpointStore
from chomp.config.compat import Difference
from chomp.config.derive import derived_section
from chomp.data.tokenizers import Tokenizer, load_tokenizer
from chomp.errors import CheckpointError, RunDirError
from chomp.parallel.mesh import Placement
from chomp.record.event_log import read_events
from chomp.record.events import Checkpoint, RunStarted, Warned
from chomp.record.manifest import CheckpointInfo
from chomp.record.notes import change_notes
from chomp.record.rundir import RunDir, write_whole
from chomp.sinks import Reporter
from chomp.sinks.rows import keep_rows_up_to
from chomp.step.state import TrainState, release_latch, release_spike_latch
from chomp.train.blueprint import Blueprint
from chomp.train.clock import seconds_beyond
from chomp.train.control import Interruptible
from chomp.train.machine import changes_since
from chomp.train.request import RunRequest


@dataclass
class Start:
    """Where an attempt begins; `info` and `meta` are those of the checkpoint it continues from."""

    step: int = 0
    info: CheckpointInfo | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    data_state: dict[str, Any] | None = None
    attempt: int = 1

    @property
    def resumed_from(self) -> int | None:
        return self.info.step if self.info is not None else None

    @property
    def unfinished_jobs(self) -> list[str]:
        """Hooks' jobs that a stop cut short before the checkpoint was saved."""
        return list(self.meta.get("owed", ()))

    @property
    def deferred_row(self) -> dict[str, Any] | None:
        """The metrics row that waits for an unfinished evaluation."""
        return self.meta.get("owed_row")


class Restorer:
    """The steps from a locked run directory to the state that training starts with."""

    def __init__(
        self, request: RunRequest, run: RunDir, store: CheckpointStore, reporter: Reporter, interruptible: Interruptible
    ) -> None:
        self._request = request
        self._run = run
        self._store = store
        self._reporter = reporter
        self._interruptible = interruptible

    def find_start(self, blueprint: Blueprint, data_fingerprint: dict[str, Any]) -> tuple[Start, Blueprint]:
        """Choose and judge the checkpoint; its arrays are not read yet.

        Returns:
            The start, and the blueprint with the schedule to train with.

        Raises:
            CheckpointError: there is no checkpoint to continue from, or it may not be continued.
        """
        attempts = self._request.world.decide(
            lambda: sum(isinstance(event, RunStarted) for event in read_events(self._run.events))
        )
        start = Start(attempt=attempts + 1)
        if self._request.resume == "none":
            return start, blueprint
        start.info = self._choose()
        if start.info is None:
            self._warn(f"{self._run.path} has no checkpoint yet: starting again at step 0 in the same directory")
            return start, blueprint
        start.step, start.meta = start.info.step, start.info.meta
        saved = start.meta["identity"]
        derived, sentences = continued(saved, blueprint.config, blueprint.derived, start.step)
        blueprint = blueprint.with_derived(derived)
        for sentence in sentences:
            self._warn(sentence, topic="schedule")
        self._warn_of_accepted(judge(saved, blueprint.identity(data_fingerprint), self._request.accept))
        self._warn_of_changed_machine(start.meta, blueprint.placement)
        self._warn_of_lost_determinism(saved, blueprint)
        require_steps_ahead(blueprint.config.train.steps, start.step)
        return start, blueprint

    def _choose(self) -> CheckpointInfo | None:
        store, resume = self._store, self._request.resume
        info, refused = self._interruptible(lambda: choose(store.common_infos(), resume, store.verify))
        for refusal in refused:
            self._reporter.publish(Checkpoint(state="refused", step=refusal.step, reason=refusal.reason))
        if refused and info is not None:
            self._warn(f"resuming from step {info.step}, the newest checkpoint whose bytes are intact")
        return info

    def _warn_of_accepted(self, differences: list[Difference]) -> None:
        for difference in differences:
            if difference.severity == "needs_accept":
                was, now = difference.saved, difference.now
                self._warn(f"accepted: {difference.path} was {was!r}, is now {now!r}")

    def _warn_of_changed_machine(self, meta: dict[str, Any], placement: Placement) -> None:
        """Another device, mesh or library may round differently: the run continues, but not bit for bit."""
        changed = changes_since(meta, placement)
        if changed:
            self._warn(f"{changed}: later losses may differ in their last digits from those of an uninterrupted run")

    def _warn_of_lost_determinism(self, saved: dict[str, Any], blueprint: Blueprint) -> None:
        """XLA may choose other kernels for the same step."""
        if saved.get("train", {}).get("strict_determinism") and not blueprint.config.train.strict_determinism:
            self._warn(
                "the run was trained with train.strict_determinism, and this attempt is not: on a GPU its numbers may "
                "differ from run to run"
            )

    def load_or_init(self, start: Start, blueprint: Blueprint) -> TrainState:
        """The state to train from; fills in the data state of a checkpoint."""
        if start.info is None:
            self._warn_of_weights(blueprint)
            return blueprint.first_state()
        state, start.data_state = load_state(start.info, blueprint)
        return state

    def _warn_of_weights(self, blueprint: Blueprint) -> None:
        """Say what the weights of `model.init_from` were trained with, where that is something else."""
        assert blueprint.tokenizer is not None
        for sentence in blueprint.weights.notes(blueprint.tokenizer) if blueprint.weights is not None else ():
            self._warn(sentence, topic="weights")

    def settle_directory(self, start: Start, blueprint: Blueprint, state: TrainState) -> None:
        """Write what describes the run, and set aside what lies beyond the step it continues from.

        Raises:
            RunDirError: the directory cannot be written.
            CheckpointError: no checkpoint of `state` can be saved in it.
        """
        steps = blueprint.config.train.steps
        try:
            self._store.prepare()
            if blueprint.config.checkpoint.enabled and start.step < steps:
                tight = self._interruptible(lambda: self._store.prove(to_items(state), steps))
                if tight is not None:
                    self._warn(tight, topic="checkpoint")
            if self._request.world.is_leader:
                self._describe(blueprint)
            if self._request.resume != "none":
                self._go_back_to(start)
        except OSError as error:
            raise RunDirError(f"cannot write {error.filename or self._run.path}: {error.strerror}") from error

    def _describe(self, blueprint: Blueprint) -> None:
        run, loaded, tokenizer = self._run, self._request.loaded, blueprint.tokenizer
        assert tokenizer is not None
        # A resume without a configuration takes the resolved one: the user's own file is still the original.
        if loaded.source != str(run.config_resolved) or not run.config_original.exists():
            write_whole(run.config_original, loaded.text.encode())
        resolved = {**blueprint.config.model_dump(), "derived": derived_section(blueprint.derived)}
        write_whole(run.config_resolved, json.dumps(resolved, indent=2).encode())
        change_notes(run, self._request.notes)
        if not self._has_snapshot(tokenizer):
            tokenizer.save(run.tokenizer)

    def _has_snapshot(self, tokenizer: Tokenizer) -> bool:
        if not self._run.tokenizer.is_dir():
            return False
        try:
            return load_tokenizer(self._run.tokenizer).digest() == tokenizer.digest()
        except CheckpointError:
            # Torn by a kill; the tokenizer in memory, whose digest was judged, replaces it.
            return False

    def _go_back_to(self, start: Start) -> None:
        moved = self._store.set_aside(start.step, f"before-attempt-{start.attempt}")
        if moved:
            steps = ", ".join(map(str, moved))
            place = self._run.checkpoints / "set-aside"
            self._warn(f"checkpoints beyond step {start.step} (step {steps}) were moved to {place}")
        if not self._request.world.is_leader:
            return
        # Jobs that a stop cut short are done again, and their rows are written again.
        keep_rows_up_to(self._run.metrics, start.step - ("eval" in start.unfinished_jobs))
        keep_rows_up_to(self._run.samples, start.step - ("sample" in start.unfinished_jobs))

    def earlier_budget(self, start: Start) -> dict[str, float]:
        """Seconds by category up to the restored checkpoint, and what was done beyond it as `lost`."""
        totals = dict(start.meta.get("time_budget_seconds", {}))
        if start.attempt > 1:
            lost = seconds_beyond(read_events(self._run.events), float(start.meta.get("saved_at", 0.0)))
            totals["lost"] = totals.get("lost", 0.0) + lost
        return totals

    def _warn(self, message: str, topic: str = "resume") -> None:
        self._reporter.publish(Warned(topic=topic, message=message))


def load_state(info: CheckpointInfo, blueprint: Blueprint) -> tuple[TrainState, dict[str, Any]]:
    """The state in a verified checkpoint as training continues from it, and the data state beside it.

    Raises:
        CheckpointError: it cannot be read.
    """
    state, data_state = restore(info, blueprint.state, blueprint.placement)
    # Saved between two skipped steps, its latches would hold for ever under policies that do not skip.
    debug = blueprint.config.debug
    state = state if debug.nonfinite == "skip" else release_latch(state)
    return (state if debug.spikes == "skip" else release_spike_latch(state)), data_state
