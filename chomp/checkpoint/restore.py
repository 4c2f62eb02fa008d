"""Choosing the checkpoint to continue from, judging whether it may be continued, and restoring its state."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from chomp.checkpoint.items import EXTRAS, from_items, to_items
from chomp.checkpoint.reading import load
from chomp.config import Config
from chomp.config.compat import Difference, blocking, compare, format_table
from chomp.config.derive import Derived, derived_section
from chomp.errors import CheckpointError
from chomp.optim.schedule import make_schedule
from chomp.parallel.mesh import ONE_DEVICE, Placement
from chomp.record.manifest import CheckpointInfo, DamagedCheckpoint, Resume, newest_good, parameters_alone, verify
from chomp.step.state import TrainState, slow_down, with_extras

Verify = Callable[[Path], list[str]]


def choose(
    infos: Sequence[CheckpointInfo], resume: Resume, verified: Verify = verify
) -> tuple[CheckpointInfo | None, list[DamagedCheckpoint]]:
    """The checkpoint that `--resume` names, its bytes verified.

    `latest` takes the newest good one and lists the damaged ones that are newer; without any
    checkpoint it means step 0 (None).

    Args:
        infos: oldest first.
        resume: the option's value.
        verified: what is wrong with the bytes of the checkpoint in a folder.

    Raises:
        CheckpointError: the named step is missing or damaged, or all of several are damaged.
    """
    if isinstance(resume, int):
        return _named(infos, resume, verified), []
    info, refused = newest_good(infos, verified)
    if info is None and refused:
        listed = "\n".join(f"  step {r.step}: {r.reason}" for r in refused)
        raise CheckpointError(f"every checkpoint of this run is damaged:\n{listed}")
    return info, refused


def _named(infos: Sequence[CheckpointInfo], step: int, verified: Verify) -> CheckpointInfo:
    by_step = {info.step: info for info in infos}
    if step not in by_step:
        have = ", ".join(str(s) for s in sorted(by_step)) or "none"
        raise CheckpointError(f"--resume {step}: there is no checkpoint of that step (there is: {have})")
    problems = verified(by_step[step].path)
    if problems:
        good, _ = newest_good([info for info in infos if info.step < step], verified)
        offer = f"the newest good one before it is --resume {good.step}" if good else "no earlier checkpoint is good"
        raise CheckpointError(
            f"--resume {step}: checkpoint {by_step[step].path} is damaged: {'; '.join(problems)}; {offer}"
        )
    return by_step[step]


def identity(config: Config, derived: Derived, fingerprint: dict[str, Any], tokenizer_digest: str) -> dict[str, Any]:
    """All that a checkpoint is judged by, as one nested table; saved in its `meta.json`."""
    return {
        **config.model_dump(),
        "derived": derived_section(derived),
        "data_fingerprint": fingerprint,
        "tokenizer_digest": tokenizer_digest,
    }


def judge(saved: dict[str, Any], now: dict[str, Any], accept: Sequence[str]) -> list[Difference]:
    """The differences between a checkpoint and the current settings, if they allow resuming.

    Raises:
        CheckpointError: with every differing setting in one table.
    """
    differences = compare(saved, now)
    blocked = blocking(differences, accept)
    if blocked:
        fixed = any(d.severity == "incompatible" for d in blocked)
        advice = (
            "start a new run for the settings that cannot change"
            if fixed
            else "pass --accept for each setting that you mean to change"
        )
        raise CheckpointError(f"the checkpoint was made with other settings; {advice}:\n{format_table(blocked)}")
    return differences


def require_steps_ahead(steps: int, at: int) -> None:
    """A run may be made shorter, but not shorter than it already is.

    Raises:
        CheckpointError: the checkpoint lies beyond the last step.
    """
    if at > steps:
        raise CheckpointError(
            f"train.steps is {steps}, but the checkpoint is of step {at}; raise train.steps, or continue from an "
            "earlier one with --resume STEP"
        )


def continued(saved: dict[str, Any], config: Config, derived: Derived, step: int) -> tuple[Derived, tuple[str, ...]]:
    """The derived numbers with which a checkpoint is continued, and sentences about its learning rate.

    Args:
        saved: the checkpoint's identity.
        step: the step it was made at.
    """
    derived, kept = carried_horizon(saved, config, derived, step)
    return derived, tuple(sentence for sentence in (kept, decay_behind(saved, config, derived, step)) if sentence)


def carried_horizon(
    saved: dict[str, Any],
    config: Config,
    derived: Derived,
    step: int,
) -> tuple[Derived, str | None]:
    """Keep the saved learning-rate horizon where a changed `train.steps` would bend the steps behind us.

    A cosine over "all remaining steps" is another curve in a longer run, from its first
    step on. The run that is continued has followed the old curve, so the old curve stays.

    Args:
        saved: the checkpoint's identity.
        step: the step it was made at.

    Returns:
        The derived numbers to train with, and a sentence for the user if the horizon was carried.
    """
    if config.optim.decay_steps is not None or saved["optim"]["decay_steps"] is not None:
        return derived, None

    def lr_at(numbers: Derived, count: int) -> float:
        return float(make_schedule(config.optim, numbers, config.optim.lr)(count))

    old = saved["derived"]["optim"]
    before = dataclasses.replace(derived, **{name: old[name] for name in ("decay_steps_effective", "schedule_steps")})
    if all(lr_at(before, count) == lr_at(derived, count) for count in (0, step // 2, max(0, step - 1))):
        return derived, None
    return before, (
        f"the learning rate keeps its schedule, which ends at step {before.schedule_steps}, and stays at its last "
        "value after that; to stretch it, set optim.decay_steps, which has to be accepted (--accept optim.decay_steps)"
    )


def decay_behind(saved: dict[str, Any], config: Config, derived: Derived, step: int) -> str | None:
    """A sentence if a `wsd` decay would have begun before a checkpoint that is of the stable phase.

    The learning rate then falls at once to where that decay would be: hardly what a branch of a stable run is for.

    Args:
        saved: the checkpoint's identity.
        step: the step it was made at.
    """
    old = saved["derived"]["optim"]
    was_stable = saved["optim"]["schedule"] == "wsd" and old["schedule_steps"] - old["decay_steps_effective"] >= step
    begins = derived.schedule_steps - derived.decay_steps_effective
    if config.optim.schedule != "wsd" or not was_stable or begins >= step:
        return None
    left = derived.schedule_steps - step
    return (
        f"the decay of {derived.decay_steps_effective} steps ends with step {derived.schedule_steps}, so that it would "
        f"have begun at step {begins}, before the checkpoint of step {step}: the learning rate is not "
        f"continuous there; raise train.steps to {step + derived.decay_steps_effective}, or set optim.decay_steps to "
        f"{left} or less"
    )


def restore(
    info: CheckpointInfo, like: TrainState, placement: Placement = ONE_DEVICE
) -> tuple[TrainState, dict[str, Any]]:
    """The state in a checkpoint whose bytes are verified, and the data state beside it.

    Args:
        like: shapes of the state, from `abstract_state`.
        placement: where its arrays go, whatever mesh it was saved from.

    Raises:
        CheckpointError: it cannot be read.
    """
    if not (info.path / "opt").is_dir():
        raise CheckpointError(parameters_alone(info.path))
    # A setting may have been turned on since: its part of the state begins here.
    stored = {name: item for name, item in to_items(like).items() if name not in EXTRAS or (info.path / name).is_dir()}
    items, data_state = load(info, placement.abstract(stored), verified=True)
    state = with_extras(from_items(items, like), like)
    # After a rollback the learning rate is reduced for a while, which the arrays do not record.
    rollbacks = info.meta.get("rollbacks", {})
    return slow_down(state, rollbacks.get("lr_factor", 1.0), rollbacks.get("until_step", 0)), data_state
