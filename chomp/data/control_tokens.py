"""Keeps special tokens out of text: what a text spells never becomes padding, begin or end.

The `tokenizers` library turns text into the id of a special token in two ways. It looks for added tokens in the text;
with `encode_special_tokens` it skips those that are marked special. And a model matches its own pieces: a Unigram or
WordLevel vocabulary that holds `</s>` gives a text that spells it this id. SentencePiece leaves control symbols out of
the pieces that it matches (`src/model_interface.cc`). A `tokenizer.json` cannot express that, but it can cut the text
behind the first character of the token, as a last step before the model: into `<` and `/s>`.
"""

import re
from collections.abc import Collection
from typing import Any, NamedTuple

from tokenizers import pre_tokenizers

from chomp.data.vocabulary import Parts, component_types, pieces_of

# A model matches a token as a whole word, at the beginning of a word, or, without an entry here, anywhere.
ANCHORS = {"WordLevel": (r"\A", r"\z"), "WordPiece": (r"\A", "")}
CHANCE = ("dropout", "alpha", "nbest_size")
"""Settings of a model that choose among segmentations at random."""
BYTE_PIECES = tuple(f"<0x{byte:02X}>" for byte in range(256))
BYTE_PIECE_REST = "0x[0-9A-F]{2}>"


class Separated(NamedTuple):
    """A `tokenizer.json` whose special tokens do not come from text.

    Attributes:
        inseparable: special ids of a single character, which text still yields.
    """

    parts: Parts
    inseparable: frozenset[int]


def keep_out_of_text(parts: Parts, special: Collection[int], model: Any) -> Separated:
    """Keep special tokens, and pieces that spell a byte, out of text; the ids of all other text stay the same.

    Args:
        special: every id without text.
        model: the `tokenizers.models.Model` of `parts`.
    """
    found = [(token, index) for token, index in pieces_of(parts) if index in special and _matches(model, token, index)]
    alone = {index for token, index in found if len(token) == 1} - {unknown_id(parts)}
    kept = {
        **parts,
        "added_tokens": _marked(parts, special),
        "model": {key: None if key in CHANCE else value for key, value in parts["model"].items()},
    }
    cut = _cut(parts, [token for token, _ in found if len(token) > 1], model)
    before = parts["pre_tokenizer"]
    if cut is None or before == cut or (before and cut in before.get("pretokenizers", [])):
        return Separated(kept, frozenset(alone))
    kept["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [before, cut]} if before else cut
    return Separated(kept, frozenset(alone))


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


def _cut(parts: Parts, tokens: list[str], model: Any) -> dict[str, Any] | None:
    """A last step of splitting, which cuts behind the first character of each token."""
    start, end = ANCHORS.get(parts["model"]["type"], ("", ""))
    rests: dict[str, list[str]] = {}
    for token in sorted(tokens):
        rests.setdefault(token[0], []).append(re.escape(token[1:]) + end)
    if parts["model"].get("byte_fallback"):
        ids = {token: index for token, index in pieces_of(parts) if token in BYTE_PIECES}
        if any(_matches(model, token, index) for token, index in ids.items()):
            rests.setdefault("<", []).append(BYTE_PIECE_REST)
    if not rests:
        return None
    pattern = "|".join(f"{start}{re.escape(first)}(?={'|'.join(rest)})" for first, rest in rests.items())
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "MergedWithPrevious", "invert": False}


def unknown_id(parts: Parts) -> int | None:
    """The id of text that the vocabulary lacks, or None."""
    model = parts["model"]
    if model["type"] == "Unigram":
        index: int | None = model["unk_id"]
        return index
    return next((index for token, index in pieces_of(parts) if token == model["unk_token"]), None)


def lacks_unknown(parts: Parts) -> bool:
    """Whether there is text that the model has no id for."""
    model = parts["model"]
    if unknown_id(parts) is not None:
        return False
    if model["type"] != "BPE" or model["continuing_subword_prefix"] or model["end_of_word_suffix"]:
        return True
    if model["byte_fallback"]:
        return not model["vocab"].keys() >= set(BYTE_PIECES)
    is_byte_level = "ByteLevel" in component_types(parts["pre_tokenizer"]) | component_types(parts["normalizer"])
    return not (is_byte_level and model["vocab"].keys() >= set(pre_tokenizers.ByteLevel.alphabet()))


def with_unknown(parts: Parts) -> tuple[Parts, int]:
    """A BPE with an id for unknown text, which a BPE without one leaves out, and that id: one above all others."""
    # An added token that the vocabulary lacks would get another id from a larger vocabulary.
    vocab = parts["model"]["vocab"] | {token["content"]: token["id"] for token in parts["added_tokens"]}
    index, name = 1 + max(vocab.values()), "\0unknown"
    return {**parts, "model": {**parts["model"], "vocab": {**vocab, name: index}, "unk_token": name}}, index
