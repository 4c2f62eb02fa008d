"""What trials may change after the part that all of them share, and how long that part is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chomp.config import Config
from chomp.config.compat import NOT_SETTINGS, compare
from chomp.config.derive import derive, derived_section
from chomp.config.load import parse_resolved
from chomp.config.rules.arithmetic import wsd_decay_steps
from chomp.sweep.spec import Prefix, SweepError, SweepSpec, override, overrides_of


def prefix_steps(prefix: Prefix, config: Config) -> int | None:
    """How many steps the sweep trains itself before its trials; None where it continues an existing run."""
    if prefix.tokens is not None:
        return -(-prefix.tokens // derive(config).tokens_per_step)
    return prefix.steps


def prefix_overrides(spec: SweepSpec, step: int) -> tuple[str, ...]:
    """What the prefix changes in the configuration: nothing of the space, and its last checkpoint is kept."""
    return (*spec.overrides, f"checkpoint.keep_every={step}")


def after_prefix(spec: SweepSpec, config: Config, values: Mapping[str, Any]) -> tuple[str, ...]:
    """What a trial changes in the prefix's settings."""
    kept = override("checkpoint.keep_every", config.checkpoint.keep_every)
    return (kept, *overrides_of(spec, values))


def to_accept(identity: Mapping[str, Any], source: str, overrides: tuple[str, ...]) -> tuple[str, ...]:
    """What a resume from a checkpoint must accept with these values.

    Args:
        identity: the settings of the checkpoint.
        source: where they are from, for messages.

    Raises:
        ConfigError: the values do not fit each other.
        SweepError: one of them cannot change at a resume.
    """
    saved = {name: value for name, value in identity.items() if name not in NOT_SETTINGS}
    now = settings_of(parse_resolved(saved, source=source, overrides=overrides).config)
    differences = compare(saved, now)
    fixed = [one for one in differences if one.severity == "incompatible"]
    if fixed:
        raise SweepError(f"{fixed[0].path} cannot change after a prefix: {fixed[0].why}")
    return tuple(one.path for one in differences if one.severity == "needs_accept")


def settings_of(config: Config) -> dict[str, Any]:
    """A configuration as a checkpoint keeps it."""
    whole: dict[str, Any] = json.loads(json.dumps({**config.model_dump(), "derived": derived_section(derive(config))}))
    return whole


def check_prefix(spec: SweepSpec, config: Config, source: str) -> None:
    """Refuse a prefix before it is trained for hours: its trials could not continue it.

    Args:
        config: with which it is trained.

    Raises:
        ConfigError, SweepError: it is as long as the run, reaches into a decay, or a trial changes what it cannot.
    """
    assert spec.prefix is not None
    step = prefix_steps(spec.prefix, config)
    if step is None:
        return
    if not config.checkpoint.enabled:
        raise SweepError(f"{source}: checkpoint.enabled must be true: the trials continue a checkpoint of the prefix")
    points = [spec.grid_point(number) for number in range(spec.count if spec.method == "grid" else 0)]
    _check_length(step, config, f"{source}: prefix")
    for number, values in enumerate(points):
        overrides = after_prefix(spec, config, values)
        to_accept(settings_of(config), source, overrides)
        trial = parse_resolved(config.model_dump(), source=source, overrides=overrides).config
        _check_length(step, trial, f"{source}: trial {number}")


def _check_length(step: int, config: Config, where: str) -> None:
    end = config.train.steps
    if config.optim.schedule == "wsd" and step > (begins := end - wsd_decay_steps(config)):
        raise SweepError(f"{where}: the prefix ends at step {step:,}, and the learning rate decays from {begins:,} on")
    if step >= end:
        raise SweepError(f"{where}: the prefix ends at step {step:,}, which leaves none of train.steps ({end:,})")
