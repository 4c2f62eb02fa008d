"""Keeps special tokens out of text: what a text spells never becomes padding, begin or end.

The `tokenizers` library turns text into the id of a special token in two ways. It looks for added tokens in the text;
with `encode_special_tokens` it skips those that are marked special. And a model matches its own pieces: a Unigram or
WordLevel vocabulary that holds `</s>` gives a text that spells it this id. SentencePiece leaves control symbols out of
the pieces that it matches (`src/model_interface.cc`). A `tokenizer.json` cannot express that, but it can cut the text
behind the first character of the token, as a last step before the model: into `<` and `/s>`.
"""

import json
import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from tokenizers import pre_tokenizers

from chomp.data.tokenizer import Ids
from chomp.data.vocabulary import Parts, component_types, pieces_of

# A model matches a token as a whole word, at the beginning of a word, or, without an entry here, anywhere.
ANCHORS = {"WordLevel": (r"\A", r"\z"), "WordPiece": (r"\A", "")}
CHANCE = ("dropout", "alpha", "nbest_size")
"""Settings of a model that choose among segmentations at random."""
BYTE_PIECES = tuple(f"<0x{byte:02X}>" for byte in range(256))
BYTE_PIECE_REST = "0x[0-9A-F]{2}>"


class TextEncoder:
    """Encodes text into ids of which none is special.

    Args:
        backend: taken over.
        parts: what `backend` was made of.
        special: every id without text.

    Attributes:
        inseparable: special ids of a single character, which text yields all the same.
    """

    def __init__(self, backend: tokenizers.Tokenizer, parts: Parts, special: Collection[int]):
        separated = keep_out_of_text(parts, special, backend.model)
        self.inseparable = separated.inseparable
        self.backend = backend if separated.parts == parts else from_parts(separated.parts)
        self._cutting = self.backend if separated.cut is None else from_parts(separated.cut)
        for made in (self.backend, self._cutting):
            made.encode_special_tokens = True
        self._is_cut = separated.cut is not None
        self._spelled = separated.spelled
        self._is_trace = np.zeros(1 + max(separated.traces, default=0), bool)
        self._is_trace[list(separated.traces)] = True

    def encode(self, texts: list[str]) -> list[Ids]:
        """Ids of each text alone."""
        if not self._is_cut:
            return _encoded(self.backend, texts)
        if self._spelled is None:
            return _encoded(self._cutting, texts)
        # The cut takes a quarter of the time of all the rest, and few texts need it.
        found = _encoded(self.backend, texts)
        to_cut = [number for number, text in enumerate(texts) if self._must_cut(text, found[number])]
        for number, ids in zip(to_cut, _encoded(self._cutting, [texts[number] for number in to_cut]), strict=True):
            found[number] = ids
        return found

    def _must_cut(self, text: str, ids: Ids) -> bool:
        if not self._is_trace[ids[ids < len(self._is_trace)]].any():
            return False
        normalizer = self.backend.normalizer
        assert self._spelled is not None
        return self._spelled.search(text if normalizer is None else normalizer.normalize_str(text)) is not None

    def encode_with_places(self, text: str) -> Iterator[tuple[int, tuple[int, int]]]:
        """Ids of a text, each with the place of its characters."""
        encoding = self._cutting.encode(text, add_special_tokens=False)
        return zip(encoding.ids, encoding.offsets, strict=True)


def _encoded(backend: tokenizers.Tokenizer, texts: list[str]) -> list[Ids]:
    # Unlike `encode_batch` this does not work out offsets, which saves a quarter of the time.
    encodings = backend.encode_batch_fast(texts, add_special_tokens=False)
    return [np.fromiter(ids := encoding.ids, np.int32, len(ids)) for encoding in encodings]


def from_parts(parts: Parts) -> tokenizers.Tokenizer:
    """The tokenizer that a `tokenizer.json` describes."""
    return tokenizers.Tokenizer.from_str(json.dumps(parts))


class Separated(NamedTuple):
    """A `tokenizer.json` whose special tokens do not come from text.

    Attributes:
        parts: all of it but the cut.
        cut: all of it; None where nothing has to be cut.
        spelled: matches the texts to cut, after their normalization; None where only the library can tell them.
        traces: a text to cut has one of these ids without the cut.
        inseparable: special ids of a single character, which text still yields.
    """

    parts: Parts
    cut: Parts | None
    spelled: re.Pattern[str] | None
    traces: frozenset[int]
    inseparable: frozenset[int]


def keep_out_of_text(parts: Parts, special: Collection[int], model: Any) -> Separated:
    """Keep special tokens, and pieces that spell a byte, out of text; the ids of all other text stay the same.

    Args:
        special: every id without text.
        model: the `tokenizers.models.Model` of `parts`.
    """
    found = [(token, index) for token, index in pieces_of(parts) if index in special and _matches(model, token, index)]
    alone = frozenset(index for token, index in found if len(token) == 1) - {unknown_id(parts)}
    kept = {
        **parts,
        "added_tokens": _marked(parts, special),
        "model": {key: None if key in CHANCE else value for key, value in parts["model"].items()},
    }
    tokens = sorted(token for token, _ in found if len(token) > 1)
    bytes_match = parts["model"].get("byte_fallback") and any(
        _matches(model, token, index) for token, index in pieces_of(parts) if token in BYTE_PIECES
    )
    rests = [(token[0], re.escape(token[1:])) for token in tokens] + [("<", BYTE_PIECE_REST)] * bool(bytes_match)
    if not rests:
        return Separated(kept, None, None, frozenset(), alone)
    before, last = parts["pre_tokenizer"], _cut(rests, parts["model"]["type"])
    steps = before["pretokenizers"] if before and before["type"] == "Sequence" else [before] if before else []
    if last not in steps:
        steps = [*steps, last]
    cut = {**kept, "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}}
    # Steps before the model write spaces and bytes in other characters.
    is_plain = all(token.isascii() and token.isprintable() and " " not in token for token in tokens)
    spelled = re.compile("|".join(re.escape(first) + rest for first, rest in rests)) if is_plain else None
    firsts = {first for first, _ in rests}
    traces = {index for token, index in pieces_of(parts) if not firsts.isdisjoint(token)}
    if (unknown := unknown_id(parts)) is not None:
        traces.add(unknown)
    return Separated(kept, cut, spelled, frozenset(traces), alone)


def _matches(model: Any, token: str, index: int) -> bool:
    """Whether the model gives `index` to a text that spells the token."""
    if type(model).__name__ != "BPE":
        return bool(token)
    try:
        return any(piece.id == index for piece in model.tokenize(token))
    except Exception:  # noqa: BLE001 - the library raises it for a text that the model cannot spell at all
        return False


def _marked(parts: Parts, special: Collection[int]) -> list[dict[str, Any]]:
    """The added tokens: those of `special` are marked, and none of them is missing."""
    added = [{**token, "special": token["special"] or token["id"] in special} for token in parts["added_tokens"]]
    missing = set(special) - {token["id"] for token in added}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return added + [
        {"id": index, "content": token, **flags, "special": True}
        for token, index in pieces_of(parts)
        if index in missing
    ]


def _cut(rests: list[tuple[str, str]], model: str) -> dict[str, Any]:
    """A step of splitting that cuts behind the first character of each token, given with a pattern of its rest."""
    start, end = ANCHORS.get(model, ("", ""))
    by_first: dict[str, list[str]] = {}
    for first, rest in rests:
        by_first.setdefault(first, []).append(rest + end)
    pattern = "|".join(f"{start}{re.escape(first)}(?={'|'.join(found)})" for first, found in by_first.items())
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "MergedWithPrevious", "invert": False}


def unknown_id(parts: Parts) -> int | None:
    """The id of text that the vocabulary lacks, or None."""
    model = parts["model"]
    if model["type"] == "Unigram":
        index: int | None = model.get("unk_id")
        return index
    return next((index for token, index in pieces_of(parts) if token == model.get("unk_token")), None)


def covers_all_text(parts: Parts) -> bool:
    """Whether the vocabulary has every byte, so that no text is unknown to it."""
    model = parts["model"]
    if model["type"] != "BPE" or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        return False
    if model.get("byte_fallback") and model["vocab"].keys() >= set(BYTE_PIECES):
        return True
    is_byte_level = "ByteLevel" in component_types(parts["pre_tokenizer"]) | component_types(parts["normalizer"])
    return is_byte_level and model["vocab"].keys() >= set(pre_tokenizers.ByteLevel.alphabet())


def with_unknown(parts: Parts) -> tuple[Parts, int]:
    """A BPE with an id for unknown text, which a BPE without one leaves out, and that id: one above all others."""
    # An added token that the vocabulary lacks would get another id from a larger vocabulary.
    vocab = parts["model"]["vocab"] | {token["content"]: token["id"] for token in parts["added_tokens"]}
    index, name = 1 + max(vocab.values()), "\0unknown"
    return {**parts, "model": {**parts["model"], "vocab": {**vocab, name: index}, "unk_token": name}}, index
