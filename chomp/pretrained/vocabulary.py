"""The tokenizer of a run beside that of the weights it starts from, and rows for ids that are new."""

from __future__ import annotations

from chomp.config.pretrained import Pretrained
from chomp.data.byte_level import parts_of
from chomp.data.fast_tokenizers import VOCABULARY_FILE
from chomp.data.tokenizer import Tokenizer
from chomp.data.tokenizers import load_tokenizer
from chomp.data.vocabulary import Parts, read_object, spellings
from chomp.record.rundir import open_run_around

SHOWN = 24
"""Characters of a token that a message shows."""


def vocabulary_note(tokenizer: Tokenizer, source: Pretrained) -> str | None:
    """A sentence if ids do not mean what they meant to the weights; None if they do, or where that is not known.

    Raises:
        ChompError: the tokenizer beside the weights is damaged.
    """
    parts = _parts_of(source)
    if parts is None:
        return None
    theirs, ours = spellings(parts), spellings(parts_of(tokenizer))
    others = [index for index, token in theirs.items() if ours.get(index) != token]
    if not others:
        return None
    first = min(others)
    here = repr(ours[first][:SHOWN]) if first in ours else "missing"
    return (
        f"{len(others):,} of the {len(theirs):,} ids of the tokenizer of {source.path} are other text in this run's "
        f"tokenizer (id {first} is {theirs[first][:SHOWN]!r} there and {here} here): their rows begin with what the "
        "weights learned of that text"
    )


def _parts_of(source: Pretrained) -> Parts | None:
    if source.layout == "run":
        return parts_of(load_tokenizer(open_run_around(source.path).tokenizer))
    file = source.folder / VOCABULARY_FILE
    return read_object(file) if file.is_file() else None
