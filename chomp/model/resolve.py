"""Fit the model section to the tokenizer: vocabulary size and special ids."""

import logging
from typing import Protocol, runtime_checkable

from chomp.config.model import ModelConfig
from chomp.errors import ConfigError

log = logging.getLogger(__name__)

_SPECIALS = (("pad_token_id", "pad_id"), ("bos_token_id", "bos_id"), ("eos_token_id", "eos_id"))


@runtime_checkable
class TokenizerFacts(Protocol):
    """What a model needs to know of a tokenizer."""

    @property
    def vocab_size(self) -> int:
        """Ids the tokenizer can produce."""

    @property
    def padded_vocab_size(self) -> int:
        """`vocab_size` rounded up to `data.tokenizer.vocab_size_multiple`."""

    @property
    def pad_id(self) -> int | None:
        """Id of padding."""

    @property
    def bos_id(self) -> int | None:
        """Id before a text."""

    @property
    def eos_id(self) -> int | None:
        """Id after a text."""


def resolve_model(
    model: ModelConfig, tokenizer: TokenizerFacts, *, auto_set_special_tokens: bool = True
) -> ModelConfig:
    """Return the model section with vocabulary size and special ids filled from the tokenizer.

    Args:
        model: as configured; null fields are taken from the tokenizer.
        tokenizer: a tokenizer, or anything with its numbers.
        auto_set_special_tokens: the `data.tokenizer` setting. True takes the tokenizer's special ids, and logs where
            that replaces a written one; false keeps the model's and refuses a written one that differs.

    Raises:
        ConfigError: the model is too small for the tokenizer, or a special id contradicts it; names both numbers.
    """
    filled: dict[str, int | None] = {"vocab_size": _vocab_size(model, tokenizer)}
    for field, fact in _SPECIALS:
        filled[field] = _special_id(field, getattr(model, field), getattr(tokenizer, fact), auto_set_special_tokens)
    resolved = model.model_copy(update=filled)
    _check_ids_fit(resolved, tokenizer)
    return resolved


def _vocab_size(model: ModelConfig, tokenizer: TokenizerFacts) -> int:
    if model.vocab_size is None:
        return tokenizer.padded_vocab_size
    if model.vocab_size >= tokenizer.vocab_size:
        return model.vocab_size
    if model.extends_vocabulary:
        return tokenizer.padded_vocab_size
    if model.init_from is not None:
        raise ConfigError(
            f"the weights of model.init_from have {model.vocab_size} rows and the tokenizer needs "
            f"{tokenizer.vocab_size} ids: set model.init_vocab to extend, or choose the tokenizer of the weights."
        )
    raise ConfigError(
        f"model.vocab_size is {model.vocab_size} but the tokenizer needs {tokenizer.vocab_size} ids, rounded to "
        f"{tokenizer.padded_vocab_size}: remove model.vocab_size, or set it to {tokenizer.vocab_size} or more."
    )


def _special_id(field: str, written: int | None, known: int | None, auto: bool) -> int | None:
    if known is None or written == known:
        return written
    if auto:
        if written is not None:
            log.warning("model.%s %d is replaced by the tokenizer's %d", field, written, known)
        return known
    if written is None:
        return None
    raise ConfigError(
        f"model.{field} is {written} but the tokenizer's is {known}: remove model.{field}, or set it to {known}, "
        "or set data.tokenizer.auto_set_special_tokens to true."
    )


def _check_ids_fit(model: ModelConfig, tokenizer: TokenizerFacts) -> None:
    assert model.vocab_size is not None
    if model.output_size != -1 and model.output_size < tokenizer.vocab_size:
        raise ConfigError(
            f"model.output_size is {model.output_size} but the tokenizer needs {tokenizer.vocab_size} ids: "
            "set it to -1, which means model.vocab_size."
        )
    for field, _ in _SPECIALS:
        value = getattr(model, field)
        if value is not None and value >= model.vocab_size:
            raise ConfigError(
                f"model.{field} is {value} but model.vocab_size is {model.vocab_size}: an id must be below it."
            )
