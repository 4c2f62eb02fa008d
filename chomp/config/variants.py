"""Other ways to compute the same step: its micro-batch, what the backward pass recomputes, the chunk of the head.

Each keeps the tokens of a step, and changes what is learned only by rounding.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from chomp.config.derive import check
from chomp.config.problems import InvalidConfig
from chomp.config.rules.arithmetic import grad_accum
from chomp.config.schema import Config
from chomp.config.spec import flatten


@dataclass(frozen=True)
class Policy:
    """What the backward pass recomputes.

    Attributes:
        settings: the settings that choose it, by dotted name.
        recomputed: share of the forward pass that is computed twice.
    """

    settings: Mapping[str, Any]
    recomputed: float


def _remat(name: str) -> Mapping[str, Any]:
    # `use_checkpoint` is an older name of `full` that wins over `remat`.
    return {"model.remat": name, "model.use_checkpoint": False}


POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        "none": Policy(_remat("none"), 0.0),
        "attention": Policy(_remat("attention"), 0.1),
        "dots": Policy(_remat("dots"), 0.3),
        "full": Policy(_remat("full"), 1.0),
    }
)
"""All policies by name, from least recomputation to most."""

HEAD_CHUNKS = (4096, 2048, 1024, 512)

CHOICES = (
    "train.batch_size",
    "train.grad_accum",
    *dict.fromkeys(name for policy in POLICIES.values() for name in policy.settings),
    "model.loss_chunk_size",
)
"""All settings in which variants differ."""


@dataclass(frozen=True)
class Variant:
    """One way to compute the step of a configuration.

    Attributes:
        policy: a name in `POLICIES`.
        head_chunk: `model.loss_chunk_size`.
        settings: what differs from the configuration, by dotted name.
        config: the configuration with these settings.
    """

    batch_size: int
    grad_accum: int
    policy: str
    head_chunk: int | None
    settings: Mapping[str, Any] = field(compare=False)
    config: Config = field(repr=False, compare=False)

    @property
    def options(self) -> str:
        """`-o KEY=VALUE` for each setting that differs."""
        words = {name: value if isinstance(value, str) else json.dumps(value) for name, value in self.settings.items()}
        return " ".join(f"-o {name}={word}" for name, word in words.items())


def as_written(config: Config) -> Variant:
    """The configuration itself; settings that are those of no policy recompute most."""
    names = list(POLICIES)[::-1]
    policy = next((name for name in names if _holds(config, POLICIES[name].settings)), names[0])
    accum = grad_accum(config)
    return Variant(config.train.batch_size, accum, policy, config.model.loss_chunk_size, {}, config)


def variants(config: Config) -> Iterator[Variant]:
    """All that the rules of the configuration allow, `as_written` among them."""
    for batch_size in batch_sizes(config):
        for policy in policies(config):
            for chunk in head_chunks(config, batch_size):
                found = vary(config, batch_size, policy, chunk)
                if found is not None:
                    yield found


def batch_sizes(config: Config) -> list[int]:
    """Micro-batches that divide the rows of a step, the largest first."""
    rows = config.train.batch_size * grad_accum(config)
    if config.objective.token_filter_keep < 1:
        # The filter chooses among the tokens of one micro-batch: another one is another objective.
        return [config.train.batch_size]
    small = [number for number in range(1, int(rows**0.5) + 1) if rows % number == 0]
    return sorted({*small, *(rows // number for number in small)}, reverse=True)


def policies(config: Config) -> list[str]:
    """Policies that the architecture has, from least recomputation to most."""
    return [as_written(config).policy] if config.model.backend == "dummy" else list(POLICIES)


def head_chunks(config: Config, batch_size: int) -> list[int | None]:
    """Chunks that divide the work of the head, the largest first; None is all tokens of the micro-batch at once."""
    written, tokens = config.model.loss_chunk_size, batch_size * config.train.seq_len
    smaller = {chunk for chunk in (*HEAD_CHUNKS, written) if chunk is not None and chunk < tokens}
    whole = written if written is not None and written >= tokens else None
    return [whole, *sorted(smaller, reverse=True)] if config.model.backend != "dummy" else [written]


def vary(config: Config, batch_size: int, policy: str, head_chunk: int | None) -> Variant | None:
    """`config` computed in another way; None where its rules forbid that.

    Args:
        batch_size: a divisor of the rows of a step.
    """
    accum = config.train.batch_size * grad_accum(config) // batch_size
    split = {"train.batch_size": batch_size, "train.grad_accum": accum}
    if config.train.batch_tokens is not None or batch_size == config.train.batch_size:
        del split["train.grad_accum"]
    wanted = {**split, **POLICIES[policy].settings, "model.loss_chunk_size": head_chunk}
    settings = {name: value for name, value in wanted.items() if not _holds(config, {name: value})}
    changed = _with(config, settings)
    try:
        check(changed)
    except InvalidConfig:
        return None
    return Variant(batch_size, accum, policy, head_chunk, settings, changed)


def _holds(config: Config, settings: Mapping[str, Any]) -> bool:
    values = flatten(config.model_dump())
    return all(values[name] == value for name, value in settings.items())


def _with(config: Config, settings: Mapping[str, Any]) -> Config:
    sections: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        section, _, key = name.partition(".")
        sections.setdefault(section, {})[key] = value
    return config.model_copy(
        update={name: getattr(config, name).model_copy(update=values) for name, values in sections.items()}
    )
