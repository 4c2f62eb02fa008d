"""Text that the model writes while it learns."""

from __future__ import annotations

from dataclasses import dataclass

from chomp.config import Config
from chomp.data.pipeline import DataPipeline
from chomp.data.tokenizers import Tokenizer
from chomp.generate.sampling import SamplingOptions, encode_prompt


@dataclass(frozen=True)
class PromptSet:
    """The prompts of a run: the same at every step, so that samples can be compared."""

    ids: tuple[tuple[int, ...], ...]


def build_prompts(config: Config, data: DataPipeline, tokenizer: Tokenizer) -> PromptSet:
    """The configured prompts, or the beginning of a held-out document that the model never trains on."""
    if config.train.generate_prompts:
        return PromptSet(tuple(encode_prompt(tokenizer, text) for text in config.train.generate_prompts))
    length = config.train.generate_input_len or max(1, config.train.seq_len // 2)
    for text in data.iter_heldout_texts():
        # A few characters per token are enough to cut from; the whole document may be large.
        ids = tuple(int(i) for i in tokenizer.encode(text[: length * 16])[:length])
        if ids:
            return PromptSet((ids,))
    return PromptSet(((tokenizer.bos_id if tokenizer.bos_id is not None else 0,),))


def sampling_options(config: Config) -> SamplingOptions:
    """How samples are drawn during training."""
    train = config.train
    return SamplingOptions(
        max_new_tokens=train.generate_max_tokens or config.model.chunk_size + 16,
        temperature=train.generate_temperature,
        top_k=train.generate_top_k,
        top_p=train.generate_top_p,
    )
