"""Where an attempt begins: a fresh state, or a checkpoint that may be continued; and a run directory that says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax

from chomp.checkpoint.items import from_items, to_items
from chomp.checkpoint.resume import choose_checkpoint, continued, judge, require_steps_ahead
from chomp.checkpoint.store import CheckpointStore, with_sharding
from chomp.config import Config
from chomp.config.compat import Difference
from chomp.config.derive import Derived, derived_section
from chomp.data.tokenizers import Tokenizer, load_tokenizer
from chomp.errors import CheckpointError, RunDirError
from chomp.model.build import ModelDef
from chomp.optim.build import Optimizer
from chomp.record.event_log import read_events
from chomp.record.events import Checkpoint, RunStarted, Warned
from chomp.record.manifest import CheckpointInfo
from chomp.record.rundir import RunDir, write_whole
from chomp.sinks import Reporter
from chomp.sinks.rows import keep_rows_up_to
from chomp.step.state import TrainState, abstract_state, init_state, release_latch, slow_down
from chomp.train.control import interruptibly
from chomp.train.facts import device_facts, package_versions
from chomp.train.history import seconds_beyond
from chomp.train.progress import Progress
from chomp.train.request import RunRequest


@dataclass
class Start:
    """Where an attempt begins; `info` and `meta` are those of the checkpoint it continues from."""

    step: int = 0
    info: CheckpointInfo | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    position: dict[str, Any] | None = None
    attempt: int = 1

    @property
    def resumed_from(self) -> int | None:
        return self.info.step if self.info is not None else None

    @property
    def owed(self) -> list[str]:
        """Jobs that the attempt before was stopped in the middle of."""
        return list(self.meta.get("owed", ()))


class Opening:
    """The steps from a locked run directory to the state that training starts with."""

    def __init__(
        self, request: RunRequest, run: RunDir, store: CheckpointStore, reporter: Reporter, check: Callable[[], None]
    ) -> None:
        self._request = request
        self._run = run
        self._store = store
        self._reporter = reporter
        self._check = check

    def find_start(self, identity: dict[str, Any], config: Config, derived: Derived) -> tuple[Start, Derived]:
        """Choose and judge the checkpoint; its arrays are not read yet.

        Returns:
            The start, and the derived numbers to train with.

        Raises:
            CheckpointError: there is no checkpoint to continue from, or it may not be continued.
        """
        attempts = sum(isinstance(event, RunStarted) for event in read_events(self._run.events))
        start = Start(attempt=attempts + 1)
        if self._request.resume == "none":
            return start, derived
        start.info = self._choose()
        if start.info is None:
            self._warn(f"{self._run.path} has no checkpoint yet: starting again at step 0 in the same directory")
            return start, derived
        start.step, start.meta = start.info.step, start.info.meta
        saved = start.meta["identity"]
        derived, sentences = continued(saved, config, derived, start.step)
        for sentence in sentences:
            self._warn(sentence, topic="schedule")
        self._tell_accepted(judge(saved, {**identity, "derived": derived_section(derived)}, self._request.accept))
        self._tell_changed_machine(start.meta)
        require_steps_ahead(config.train.steps, start.step)
        return start, derived

    def _choose(self) -> CheckpointInfo | None:
        info, refused = interruptibly(lambda: choose_checkpoint(self._store.infos(), self._request.resume), self._check)
        for refusal in refused:
            self._reporter.publish(Checkpoint(state="refused", step=refusal.step, reason=refusal.reason))
        if refused and info is not None:
            self._warn(f"resuming from step {info.step}, the newest checkpoint whose bytes are intact")
        return info

    def _tell_accepted(self, differences: list[Difference]) -> None:
        for difference in differences:
            if difference.severity == "needs_accept":
                was, now = difference.saved, difference.now
                self._warn(f"accepted: {difference.path} was {was!r}, is now {now!r}")

    def _tell_changed_machine(self, meta: dict[str, Any]) -> None:
        """Another device or another library may round otherwise: the run goes on, but not bit for bit."""
        before = {**meta.get("versions", {}), "device": meta.get("device", {}).get("name")}
        now = {**package_versions(), "device": device_facts()["name"]}
        changed = [name for name in now if name in before and before[name] != now[name]]
        if changed:
            listed = ", ".join(f"{name} {before[name]} is now {now[name]}" for name in changed)
            self._warn(f"{listed}: later losses may differ in their last digits from those of an unbroken run")

    def load_or_init(self, start: Start, model_def: ModelDef, optimizer: Optimizer, config: Config) -> TrainState:
        """The state to train from; fills in the data position of a checkpoint."""
        if start.info is None:
            return init_state(model_def, optimizer, config.train.seed)
        state, start.position = restore(self._store, start.info, model_def, optimizer)
        # Saved between two skipped steps, it would hold still for ever under a policy that halts.
        return state if config.debug.nonfinite == "skip" else release_latch(state)

    def settle_directory(self, start: Start, config: Config, derived: Derived, tokenizer: Tokenizer) -> None:
        """Write what describes the run, and clear away what lies beyond the step it continues from.

        Raises:
            RunDirError: the directory cannot be written.
        """
        try:
            self._store.prepare()
            self._describe(config, derived, tokenizer)
            if self._request.resume != "none":
                self._go_back_to(start)
        except OSError as error:
            raise RunDirError(f"cannot write {error.filename or self._run.path}: {error.strerror}") from error

    def _describe(self, config: Config, derived: Derived, tokenizer: Tokenizer) -> None:
        run, loaded = self._run, self._request.loaded
        # A resume without a configuration takes the resolved one: the user's own file is still the original.
        if loaded.source != str(run.config_resolved) or not run.config_original.exists():
            write_whole(run.config_original, loaded.text.encode())
        resolved = {**config.model_dump(), "derived": derived_section(derived)}
        write_whole(run.config_resolved, json.dumps(resolved, indent=2).encode())
        if not self._has_snapshot(tokenizer):
            tokenizer.save(run.tokenizer)

    def _has_snapshot(self, tokenizer: Tokenizer) -> bool:
        if not self._run.tokenizer.is_dir():
            return False
        try:
            return load_tokenizer(self._run.tokenizer).digest() == tokenizer.digest()
        except CheckpointError:
            # Torn by a kill; the tokenizer at hand, whose digest was judged, takes its place.
            return False

    def _go_back_to(self, start: Start) -> None:
        moved = self._store.set_aside(start.step, f"before-attempt-{start.attempt}")
        if moved:
            steps = ", ".join(map(str, moved))
            place = self._run.checkpoints / "set-aside"
            self._warn(f"what was saved beyond step {start.step} (step {steps}) was moved to {place}")
        # What a stop cut short is done again, and its rows are written again.
        keep_rows_up_to(self._run.metrics, start.step - ("eval" in start.owed))
        keep_rows_up_to(self._run.samples, start.step - ("sample" in start.owed))

    def earlier_budget(self, start: Start) -> dict[str, float]:
        """Seconds by category up to the restored checkpoint, and what was done beyond it as `lost`."""
        totals = dict(start.meta.get("time_budget_seconds", {}))
        if start.attempt > 1:
            lost = seconds_beyond(read_events(self._run.events), float(start.meta.get("saved_at", 0.0)))
            totals["lost"] = totals.get("lost", 0.0) + lost
        return totals

    def _warn(self, message: str, topic: str = "resume") -> None:
        self._reporter.publish(Warned(topic=topic, message=message))


def restore(
    store: CheckpointStore, info: CheckpointInfo, model_def: ModelDef, optimizer: Optimizer
) -> tuple[TrainState, dict[str, Any]]:
    """The state that a checkpoint of verified bytes holds, and the data position beside it.

    Raises:
        CheckpointError: it cannot be read.
    """
    like = abstract_state(model_def, optimizer)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    items, position = store.load(info, with_sharding(to_items(like), sharding), verified=True)
    rollbacks = Progress.from_meta(info.step, info.meta).rollbacks
    return slow_down(from_items(items, like), rollbacks.lr_factor, rollbacks.until_step), position
