"""Drawing text from a model, for samples during training and for `chomp generate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import jax
import numpy as np

from chomp.data.spelling import Spelling
from chomp.data.tokenizers import Tokenizer
from chomp.model.base import LanguageModel
from chomp.model.decoding import SamplingParams, tokens_as_they_come

End = Literal["length", "end-of-text", "stop"]

LOWEST_TEMPERATURE = 1e-6


@dataclass(frozen=True)
class SamplingOptions:
    """How tokens are chosen, and when to end.

    Attributes:
        temperature: 0 takes the likeliest.
        stop: texts that end a continuation, which does not hold them.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()

    @property
    def divisor(self) -> float:
        """The temperature to divide logits by; 0, for the likeliest, where the quotient could overflow float32."""
        return self.temperature if self.temperature >= LOWEST_TEMPERATURE else 0.0


@dataclass(frozen=True)
class Written:
    """What the model added to a prompt."""

    prompt: str
    text: str
    tokens: int


def write(
    model: LanguageModel, tokenizer: Tokenizer, prompt_ids: Sequence[int], options: SamplingOptions, seed: int
) -> Written:
    """Continue one prompt until the end-of-text id or `max_new_tokens`, in one compiled program.

    The same model, prompt, options and seed give the same text; `options.stop` is not looked at.
    """
    prompt = np.asarray(prompt_ids, np.int32)[None]
    ids = model.generate(
        jax.numpy.asarray(prompt),
        options.max_new_tokens,
        key=jax.random.key(seed),
        temperature=options.divisor,
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


class Continuation:
    """A streamed continuation of one prompt: iterate over its pieces of text, once.

    The same ids as `write` draws. A piece holds whole characters, and nothing that may be the beginning of a stop text.

    Attributes:
        tokens: ids drawn so far, without the end-of-text id.
        end: why it ended; None until then.
    """

    def __init__(
        self, model: LanguageModel, tokenizer: Tokenizer, prompt_ids: Sequence[int], options: SamplingOptions, seed: int
    ) -> None:
        """Draw nothing yet."""
        self.tokens = 0
        self.end: End | None = None
        draw = SamplingParams(options.divisor, options.top_k, options.top_p)
        self._ids = tokens_as_they_come(model, prompt_ids, options.max_new_tokens, jax.random.key(seed), draw)
        self._eos_id, self._stop = tokenizer.eos_id, options.stop
        self._spelling = Spelling(tokenizer, prompt_ids)

    def __iter__(self) -> Iterator[str]:
        """Yield pieces that are not empty."""
        held = ""
        for piece in self._pieces():
            held += piece
            if found := [place for stop in self._stop if (place := held.find(stop)) >= 0]:
                held, self.end = held[: min(found)], "stop"
                break
            ready = len(held) - longest_beginning(held, self._stop)
            if ready:
                yield held[:ready]
                held = held[ready:]
        self.end = self.end or "length"
        if held:
            yield held

    def _pieces(self) -> Iterator[str]:
        for token in self._ids:
            if token == self._eos_id:
                self.end = "end-of-text"
                break
            self.tokens += 1
            yield self._spelling.add(token)
        yield self._spelling.rest()


def longest_beginning(text: str, stops: Sequence[str]) -> int:
    """Characters at the end of a text with which one of `stops` begins."""
    lengths = (n for stop in stops for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n]))
    return max(lengths, default=0)


def encode_prompt(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    """Ids of a prompt; an empty one is the begin-of-text id alone."""
    ids: Sequence[int] = [int(i) for i in tokenizer.encode_prompt(text)]
    if not ids:
        start = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id
        ids = [start if start is not None else 0]
    return tuple(ids)
