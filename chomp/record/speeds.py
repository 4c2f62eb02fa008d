"""The measured time of a step by model, batch and device, kept for the user on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from chomp.config import Config
from chomp.config.rules.arithmetic import grad_accum, is_deterministic
from chomp.record.formatting import decimal, duration
from chomp.record.rundir import write_whole
from chomp.record.user_files import state_file


@dataclass(frozen=True)
class MeasuredSpeed:
    """The newest measurement of one kind of step.

    Attributes:
        t: Unix time.
        run: the run directory's name.
        steps: that were measured.
        step_seconds: their mean, with the wait for data; without evaluation, samples and saves.
        overhead_seconds: of evaluation, samples and saves, by step.
    """

    t: float
    run: str
    steps: int
    step_seconds: float
    overhead_seconds: float = 0.0


def steps_within(limit_seconds: float, speed_seconds: float, step: int, steps: int) -> int:
    """The last step that an attempt which continues from `step` reaches in a time.

    Args:
        limit_seconds: from the first step on.
        speed_seconds: of a step, with its share of evaluation, samples and saves.
        steps: of the whole run.
    """
    return min(steps, step + int(limit_seconds / speed_seconds))


def reach_words(limit_seconds: float, speed_seconds: float | None, step: int, steps: int) -> str:
    """How far a run gets in a time, as a sentence; `speed_seconds` is None where none was measured."""
    if speed_seconds is None:
        return "how far the job gets is not known: no speed of such steps was measured on this machine"
    reached = steps_within(limit_seconds, speed_seconds, step, steps)
    if reached >= steps:
        needs = duration((steps - step) * speed_seconds)
        return f"the job reaches its last step, {steps:,}, after about {needs} of training at the last measured speed"
    less = "less the time of start-up and compilation, at the last measured speed"
    if reached <= step:
        return f"the job does not complete a step: one takes about {decimal(speed_seconds, 2)} s at the measured speed"
    return f"the job ends at about step {reached:,} of {steps:,}, {less}"


_CODEC = TypeAdapter(MeasuredSpeed)


def speed_file(config: Config, device: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The file of all steps that take equally long on this machine; None for a user without a home.

    Args:
        config: its model is resolved.
        device: in the words of `device_words`.
    """
    train, data = config.train, config.data
    said = {
        "device": device,
        "model": config.model.model_dump(),
        "objective": config.objective.model_dump(),
        "optim": [config.optim.name, config.optim.muon.model_dump()],
        "batch": [train.batch_size, train.seq_len, grad_accum(config)],
        "data": [data.isolate_documents, data.packing_mode],
        "deterministic": [is_deterministic(config), train.strict_determinism],
    }
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:24]
    host = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in platform.node())
    return state_file(f"speeds-{host or 'machine'}/{digest}.json", environ)


def keep_speed(path: Path | None, speed: MeasuredSpeed) -> None:
    """Replace what was measured before.

    Raises:
        OSError: it cannot be written.
    """
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(path, _CODEC.dump_json(speed))


def load_speed(path: Path | None) -> MeasuredSpeed | None:
    """What was measured last; None where nothing is kept that can be read."""
    try:
        speed = _CODEC.validate_json(path.read_bytes()) if path is not None else None
    except (OSError, ValidationError):
        return None
    return speed if speed is not None and speed.step_seconds > 0 else None
