"""The settings and the origin of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chomp.errors import RunDirError
from chomp.record.origin import Origin, read_origin
from chomp.record.rundir import RunDir

# The main settings of a run, by section.
TELLING: Mapping[str, tuple[str, ...]] = {
    "model": ("backend", "model_dim", "num_layers", "num_heads", "vocab_size", "param_dtype", "compute_dtype"),
    "data": ("backend", "packing_mode", "files", "hf_dataset", "tokens_path"),
    "train": ("steps", "batch_size", "seq_len", "grad_accum", "seed", "eval_every", "generate_every", "log_every"),
    "optim": ("name", "lr", "schedule", "warmup_steps", "weight_decay", "grad_clip_norm"),
    "checkpoint": ("save_every", "save_every_seconds", "keep_every", "keep_best"),
}
LONGEST_VALUE = 200


@dataclass(frozen=True)
class RunFacts:
    """What was read once.

    Attributes:
        settings: telling settings by section, as text.
    """

    origin: Origin | None = None
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    problem: str | None = None


def read_facts(run: RunDir) -> RunFacts:
    """Read a run's facts; what is missing or damaged is left out."""
    origin = read_origin(run)
    if not run.config_resolved.exists():
        return RunFacts(origin)
    try:
        return RunFacts(origin, telling(run.load_resolved()))
    except RunDirError as error:
        return RunFacts(origin, problem=str(error))


def telling(resolved: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The telling settings of a resolved configuration."""
    found: dict[str, dict[str, str]] = {}
    for section, names in TELLING.items():
        values = resolved.get(section)
        if isinstance(values, Mapping):
            lines = {name: _text(values[name]) for name in names if values.get(name) is not None}
            if lines:
                found[section] = lines
    return found


def _text(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
