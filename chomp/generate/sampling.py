"""Drawing text from a model, for samples during training and for `chomp generate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from chomp.data.tokenizers import Tokenizer
from chomp.model.base import LanguageModel


@dataclass(frozen=True)
class SamplingOptions:
    """How tokens are chosen; `temperature` 0 takes the likeliest."""

    max_new_tokens: int
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None


@dataclass(frozen=True)
class Written:
    """What the model added to a prompt."""

    prompt: str
    text: str
    tokens: int


def write(
    model: LanguageModel, tokenizer: Tokenizer, prompt_ids: Sequence[int], options: SamplingOptions, seed: int
) -> Written:
    """Continue one prompt until the end-of-text id or `max_new_tokens`.

    The same model, prompt, options and seed give the same text.
    """
    prompt = np.asarray(prompt_ids, np.int32)[None]
    ids = model.generate(
        jax.numpy.asarray(prompt),
        options.max_new_tokens,
        key=jax.random.key(seed),
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        eos_id=tokenizer.eos_id,
    )
    new = np.asarray(ids)[0, prompt.shape[1] :]
    if tokenizer.eos_id is not None and (ends := np.flatnonzero(new == tokenizer.eos_id)).size:
        new = new[: ends[0]]
    whole, start = tokenizer.decode(np.concatenate([prompt[0], new])), tokenizer.decode(prompt[0])
    # Decoded together, so that a character split between prompt and continuation is not lost.
    text = whole[len(start) :] if whole.startswith(start) else tokenizer.decode(new)
    return Written(start, text, int(new.size))


def encode_prompt(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    """Ids of a prompt; an empty one is the begin-of-text id alone."""
    ids: Sequence[int] = [int(i) for i in tokenizer.encode(text)]
    if not ids:
        start = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id
        ids = [start if start is not None else 0]
    return tuple(ids)
