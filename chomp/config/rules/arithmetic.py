"""The formulas that rules and derived numbers share."""

from __future__ import annotations

from chomp.config.schema import Config

BYTE_VALUES = 256


def grad_accum(config: Config) -> int:
    """Micro-batches per step, from `grad_accum` or from `batch_tokens`."""
    train = config.train
    if train.batch_tokens is not None:
        return max(1, train.batch_tokens // (train.batch_size * train.seq_len))
    return train.grad_accum if train.grad_accum is not None else 1


def byte_ids(config: Config) -> int:
    """Ids of the byte tokenizer: the special ones and one for each byte value."""
    return config.data.tokenizer.byte_offset + BYTE_VALUES


def round_up(count: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is not below `count`."""
    return -(-count // multiple) * multiple


def vocab_size(config: Config) -> int | None:
    """Rows of the embedding, where they can be known without loading a tokenizer."""
    model, tokenizer = config.model, config.data.tokenizer
    needed = byte_ids(config) if tokenizer.kind == "byte" else None
    own = None if needed is None else round_up(needed, tokenizer.vocab_size_multiple)
    if model.vocab_size is None or (model.extends_vocabulary and needed is not None and needed > model.vocab_size):
        return own
    return model.vocab_size


def has_dropout(config: Config) -> bool:
    """Whether any dropout rate is above zero."""
    model = config.model
    return max(model.dropout, model.attention_dropout, model.hidden_dropout) > 0


def is_deterministic(config: Config) -> bool:
    """Whether the model runs without dropout: as written, or following the rates."""
    written = config.train.deterministic
    return written if written is not None else not has_dropout(config)


def wsd_decay_steps(config: Config) -> int:
    """Steps of the final decay: as written, or a fifth of the run."""
    return config.optim.decay_steps if config.optim.decay_steps is not None else max(1, config.train.steps // 5)
