"""Rules of the `data` section."""

from __future__ import annotations

from collections.abc import Iterator

from chomp.config.problems import Problem
from chomp.config.schema import Config
from chomp.config.source import SOURCE_SETTINGS, TextSource

# Padding, begin and end of text, below the bytes.
SPECIAL_IDS = 3
NAMED_EVALUATION = ("files", "local_text", "stdlib")
"""Backends that read `data.eval_files` and `data.eval_text`."""
_TOKENIZERS = {
    "hf": ("hf_name_or_path", "a hub name or a local folder"),
    "file": ("path", "the path of a tokenizer.json"),
}


def _source(config: Config) -> Iterator[Problem]:
    data = config.data
    if data.mixture.sources:
        return
    yield from source_problems("data", data)
    # A file that names text and forgets the backend would silently train on something else. With a
    # backend written out, the other settings may wait there for `-o data.backend=…`.
    if "backend" not in data.model_fields_set:
        yield from forgotten_backend("data", data)


def source_problems(path: str, source: TextSource) -> Iterator[Problem]:
    """What a source lacks; its settings are at `path`."""
    if source.backend in SOURCE_SETTINGS:
        name, what = SOURCE_SETTINGS[source.backend]
        value = getattr(source, name)
        if not value or not _has_text(value):
            yield Problem(
                f"{path}.{name}",
                f"{path}.backend is {source.backend} and this is empty; write {what}",
                also=(f"{path}.backend",),
            )


def forgotten_backend(path: str, source: TextSource) -> Iterator[Problem]:
    """Settings that name a text of another backend than the default."""
    for backend, (name, _) in SOURCE_SETTINGS.items():
        if getattr(source, name):
            yield Problem(
                f"{path}.{name}",
                f"is set, but {path}.backend is not and its default, {source.backend}, does not read it; "
                f"write {path}.backend: {backend}",
                also=(f"{path}.backend",),
            )


def _has_text(value: str | list[str]) -> bool:
    return all(item.strip() for item in ([value] if isinstance(value, str) else value))


def _tokenizer(config: Config) -> Iterator[Problem]:
    tokenizer = config.data.tokenizer
    if tokenizer.kind in _TOKENIZERS:
        name, what = _TOKENIZERS[tokenizer.kind]
        if not (getattr(tokenizer, name) or "").strip():
            yield Problem(
                f"data.tokenizer.{name}",
                f"data.tokenizer.kind is {tokenizer.kind} and this is empty; write {what}",
                also=("data.tokenizer.kind",),
            )
    if "kind" not in tokenizer.model_fields_set:
        for kind, (name, _) in _TOKENIZERS.items():
            if getattr(tokenizer, name):
                yield Problem(
                    f"data.tokenizer.{name}",
                    "is set, but data.tokenizer.kind is not and its default, "
                    f"{tokenizer.kind}, does not read it; write data.tokenizer.kind: {kind}",
                    also=("data.tokenizer.kind",),
                )


def _byte_offset(config: Config) -> Iterator[Problem]:
    tokenizer = config.data.tokenizer
    if tokenizer.kind != "byte" or tokenizer.byte_offset >= SPECIAL_IDS:
        return
    if tokenizer.byte_offset:
        yield Problem(
            "data.tokenizer.byte_offset",
            f"{tokenizer.byte_offset} leaves no ids for padding, begin and end; write {SPECIAL_IDS} or more, or 0",
        )
    for name in ("add_bos", "add_eos"):
        if not tokenizer.byte_offset and getattr(tokenizer, name):
            yield Problem(
                f"data.tokenizer.{name}",
                "true needs a special id, and data.tokenizer.byte_offset: 0 leaves none; write false",
                also=("data.tokenizer.byte_offset",),
            )


def _boundaries(config: Config) -> Iterator[Problem]:
    data = config.data
    if data.isolate_documents and not data.mask_boundary_loss:
        yield Problem(
            "data.mask_boundary_loss",
            "false needs data.isolate_documents: false; an isolated document's first token has "
            "nothing before it to be predicted from",
            also=("data.isolate_documents",),
        )


def _evaluation(config: Config) -> Iterator[Problem]:
    data = config.data
    for name in ("eval_files", "eval_text"):
        if getattr(data, name) and data.mixture.sources:
            yield Problem(
                f"data.{name}",
                "data.mixture is set, and each of its sources has text of its own to evaluate on; name files in "
                "data.mixture.sources.NAME.eval_files, or leave this out, and each source holds out a part",
                also=("data.mixture.sources",),
            )
        elif getattr(data, name):
            yield from unread_evaluation("data", name, data.backend)
    if data.eval_files and data.eval_text:
        yield Problem("data.eval_text", "data.eval_files names the evaluation text already; write one of the two")


def unread_evaluation(path: str, name: str, backend: str) -> Iterator[Problem]:
    """Evaluation text that a backend does not read; the text's settings are at `path`."""
    if backend not in NAMED_EVALUATION:
        other = "hf_eval_split" if backend == "hf" else "tokens_eval_path"
        yield Problem(
            f"{path}.{name}",
            f"{path}.backend is {backend}, which does not read it; name the evaluation text in {path}.{other}",
            also=(f"{path}.backend",),
        )


def _packing_note(config: Config) -> Iterator[str]:
    data = config.data
    if data.packing_mode == "sequential" and data.packing_max_docs_per_bin is not None:
        yield "data.packing_max_docs_per_bin is not used: data.packing_mode is sequential"
    if data.max_doc_tokens is not None:
        yield f"data.max_doc_tokens truncates every document after {data.max_doc_tokens} tokens"


def _eos_note(config: Config) -> Iterator[str]:
    tokenizer, data = config.data.tokenizer, config.data
    if not data.isolate_documents and not tokenizer.add_eos and not tokenizer.add_bos:
        yield "no token separates documents: data.tokenizer.add_eos and add_bos are both false"


RULES = (_source, _tokenizer, _byte_offset, _boundaries, _evaluation)
NOTES = (_packing_note, _eos_note)
