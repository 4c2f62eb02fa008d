"""Numbers that follow from the configuration, and the check that its numbers fit together.

All other code reads these numbers from here, so that no rule has a second copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chomp.config.model import ROPE_BASE
from chomp.config.problems import InvalidConfig
from chomp.config.rules import NOTES, RULES, doubtful
from chomp.config.rules.arithmetic import grad_accum, is_deterministic, vocab_size, wsd_decay_steps
from chomp.config.schema import Config


@dataclass(frozen=True)
class Derived:
    """What a checked configuration amounts to.

    Attributes:
        grad_accum: micro-batches per step.
        tokens_per_step: tokens read by one step, `grad_accum * batch_size * seq_len`.
        total_tokens: tokens read by the whole run.
        decay_steps_effective: steps during which the learning rate falls.
        schedule_steps: the step at which the schedule has reached its last value: warm-up and
            decay for `cosine` (may lie beyond `train.steps`), `train.steps` for `wsd`.
        vocab_size: rows of the embedding; None until an `hf` or `file` tokenizer is loaded.
        deterministic: whether the model runs without dropout.
        shuffle_seed: seed of the document order.
        mixture: whether several sources are mixed.
    """

    grad_accum: int
    tokens_per_step: int
    total_tokens: int
    decay_steps_effective: int
    schedule_steps: int
    vocab_size: int | None
    deterministic: bool
    shuffle_seed: int
    mixture: bool = False


def derive(config: Config) -> Derived:
    """Compute the derived numbers of a configuration that passes `check`."""
    train, optim = config.train, config.optim
    accum = grad_accum(config)
    tokens = accum * train.batch_size * train.seq_len
    if optim.schedule == "wsd":
        decay, end = wsd_decay_steps(config), train.steps
    else:
        decay = optim.decay_steps if optim.decay_steps is not None else max(1, train.steps - optim.warmup_steps)
        end = optim.warmup_steps + decay
    return Derived(
        grad_accum=accum,
        tokens_per_step=tokens,
        total_tokens=tokens * train.steps,
        decay_steps_effective=decay,
        schedule_steps=end,
        vocab_size=vocab_size(config),
        deterministic=is_deterministic(config),
        shuffle_seed=train.seed if config.data.shuffle_seed is None else config.data.shuffle_seed,
        mixture=bool(config.data.mixture.sources),
    )


def prompt_tokens(config: Config) -> int:
    """Tokens of a sample's prompt from held-out text."""
    return config.train.generate_input_len or max(1, config.train.seq_len // 2)


def sample_tokens(config: Config) -> int:
    """Tokens that a sample generates."""
    return config.train.generate_max_tokens or config.model.chunk_size + 16


def effective(config: Config) -> dict[str, Any]:
    """What a configuration that passes `check` amounts to in settings that may be null, by dotted path."""
    derived = derive(config)
    values = {
        "data.shuffle_seed": derived.shuffle_seed,
        "model.vocab_size": derived.vocab_size,
        "model.num_kv_heads": config.model.num_heads,
        "model.rope_base": ROPE_BASE,
        "train.batch_tokens": derived.tokens_per_step,
        "train.deterministic": derived.deterministic,
        "train.grad_accum": derived.grad_accum,
        "train.generate_input_len": prompt_tokens(config),
        "train.generate_max_tokens": sample_tokens(config),
    }
    # With `epochs` the number of steps is known only when the run starts.
    return values if config.train.epochs else values | {"optim.decay_steps": derived.decay_steps_effective}


def check(config: Config) -> None:
    """Refuse values that are each allowed and do not fit together.

    Raises:
        InvalidConfig: one problem for each violated rule.
    """
    problems = [problem for rule in RULES for problem in rule(config)]
    if problems:
        raise InvalidConfig(problems)


def notes(config: Config) -> tuple[str, ...]:
    """What is allowed but may surprise, one sentence each."""
    return tuple(note for rule in NOTES for note in rule(config))


def doubts(config: Config) -> tuple[str, ...]:
    """Those of the notes that name values which are hardly ever meant."""
    return tuple(note for rule in doubtful.NOTES for note in rule(config))


def derived_section(derived: Derived) -> dict[str, dict[str, Any]]:
    """The `derived` part of `config_resolved.json`, nested like the configuration."""
    return {
        "model": {"vocab_size": derived.vocab_size},
        "data": {"shuffle_seed": derived.shuffle_seed, **({"mixture": True} if derived.mixture else {})},
        "train": {
            "grad_accum": derived.grad_accum,
            "tokens_per_step": derived.tokens_per_step,
            "total_tokens": derived.total_tokens,
            "deterministic": derived.deterministic,
        },
        "optim": {
            "decay_steps_effective": derived.decay_steps_effective,
            "schedule_steps": derived.schedule_steps,
        },
    }
