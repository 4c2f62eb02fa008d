"""chomp's tokenizers as files that the `tokenizers` and `transformers` libraries read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chomp.data.byte_level import byte_level
from chomp.data.fast_tokenizers import VOCABULARY_FILE, FastTokenizer
from chomp.data.tokenizer import Tokenizer
from chomp.data.vocabulary import Parts, named_roles, spellings


def write_tokenizer(tokenizer: Tokenizer, folder: Path, *, longest: int) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json`; both libraries encode a prompt as training encoded documents.

    Args:
        longest: tokens of a training row.
    """
    content = tokenizer_json(tokenizer)
    (folder / VOCABULARY_FILE).write_bytes(content)
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": longest,
        "clean_up_tokenization_spaces": False,
        "add_bos_token": tokenizer.add_bos,
        "add_eos_token": False,
        # Text that spells a special token stays text, as in training.
        "split_special_tokens": True,
        **named_roles(content, tokenizer.special_ids()),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(described, indent=1) + "\n")


def tokenizer_json(tokenizer: Tokenizer) -> bytes:
    """The content of a `tokenizer.json` that puts in front of a prompt what training puts in front of a document.

    `data.tokenizer.add_bos` alone decides that: what the original tokenizer puts around text has no part in it.
    """
    parts = tokenizer.separated() if isinstance(tokenizer, FastTokenizer) else byte_level(tokenizer)
    return json.dumps({**parts, "post_processor": _beginning(tokenizer, parts)}, ensure_ascii=False).encode()


def _beginning(tokenizer: Tokenizer, parts: Parts) -> dict[str, Any]:
    """The step that puts the begin-of-text id, or nothing, in front of a text or of a pair of texts."""
    start: list[dict[str, Any]] = []
    tokens: dict[str, Any] = {}
    if tokenizer.add_bos:
        assert tokenizer.bos_id is not None
        name = spellings(parts)[tokenizer.bos_id]
        start.append({"SpecialToken": {"id": name, "type_id": 0}})
        tokens[name] = {"id": name, "ids": [tokenizer.bos_id], "tokens": [name]}
    first, second = ({"Sequence": {"id": text, "type_id": number}} for number, text in enumerate("AB"))
    template = {"single": [*start, first], "pair": [*start, first, second], "special_tokens": tokens}
    return {"type": "TemplateProcessing", **template}
