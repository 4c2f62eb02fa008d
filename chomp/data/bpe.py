"""Training a byte-level BPE vocabulary with the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Iterable

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from chomp.errors import ConfigError, DataError

PAD, END = "<pad>", "<eos>"
SPECIAL = (PAD, END)
SMALLEST = 256 + len(SPECIAL)
"""A byte-level vocabulary begins with every byte, so that any text can be spelled."""
LEAST_COUNT = 2


def train_bpe(texts: Iterable[str], vocab_size: int) -> tokenizers.Tokenizer:
    """A byte-level BPE of at most `vocab_size` ids: padding 0, end of text 1, the bytes, then merges.

    Text is divided into words as GPT-2 does (Radford et al. 2019); a pair is merged that occurs twice at least. The
    same texts give the same vocabulary, whatever the number of threads.

    Args:
        texts: read once.

    Raises:
        ConfigError: `vocab_size` has no room for the bytes.
        DataError: there is no text.
    """
    if vocab_size < SMALLEST:
        raise ConfigError(f"a vocabulary of {vocab_size} ids has no room for 256 bytes and {len(SPECIAL)} special ids")
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    # Text that spells a special token is text, here too.
    backend.encode_special_tokens = True
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=LEAST_COUNT,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    seen = 0

    def counted() -> Iterable[str]:
        nonlocal seen
        for text in texts:
            seen += len(text)
            yield text

    backend.train_from_iterator(counted(), trainer=trainer)
    if not seen:
        raise DataError("there is no text to train a tokenizer on")
    return backend
