"""The `data` section."""

from __future__ import annotations

from typing import Literal

from chomp.config.fields import MAX_SEED, Section, section, setting
from chomp.config.mixture import MixtureConfig
from chomp.config.source import TextSource


class TokenizerConfig(Section):
    """How text becomes token ids."""

    kind: Literal["byte", "hf", "file"] = setting(
        "byte", "`byte`: UTF-8 bytes; `hf`: a hub name or local folder; `file`: a `tokenizer.json`."
    )
    byte_offset: int = setting(
        3,
        "Ids below this are special in the byte tokenizer: 0 pad, 1 begin, 2 end. Set 0 for files of raw bytes.",
        ge=0,
        when={"data.tokenizer.kind": ["byte"]},
    )
    add_bos: bool = setting(False, "Add the begin-of-text id before each document.")
    add_eos: bool = setting(True, "Add the end-of-text id after each document.")
    hf_name_or_path: str | None = setting(
        None, "Hub name or local folder, for `kind: hf`.", unset="not set", when={"data.tokenizer.kind": ["hf"]}
    )
    hf_revision: str | None = setting(
        None, "Commit or tag of the hub tokenizer.", unset="newest", when={"data.tokenizer.kind": ["hf"]}
    )
    hf_trust_remote_code: bool = setting(
        False, "Let the hub tokenizer run its own Python code.", when={"data.tokenizer.kind": ["hf"]}
    )
    path: str | None = setting(
        None, "The `tokenizer.json`, for `kind: file`.", unset="not set", when={"data.tokenizer.kind": ["file"]}
    )
    vocab_size_multiple: int = setting(128, "Round the vocabulary size up to a multiple of this.", unit="tokens", gt=0)
    auto_set_special_tokens: bool = setting(
        True, "Copy the tokenizer's special ids into `model.*`; false only checks that they are equal."
    )


class DataConfig(TextSource):
    """Where text comes from and how it becomes fixed-shape batches."""

    repeat: bool = setting(True, "Start another pass at the end of the text; false ends the run there.", group="source")

    shuffle: bool = setting(True, "Visit documents in a random order that changes each pass.", group="order")
    shuffle_buffer_size: int = setting(
        10_000,
        "Window of a shuffled stream.",
        unit="documents",
        group="order",
        gt=1,
        when={"data.backend": ["hf"], "data.hf_streaming": [True], "data.shuffle": [True]},
    )
    shuffle_seed: int | None = setting(
        None, "Seed of the order; null uses `train.seed`.", group="order", ge=0, le=MAX_SEED, unset="auto"
    )

    packing_mode: Literal["sequential", "bin"] = setting(
        "bin",
        "`bin` fits documents into rows and spreads those of a long document over batches; `sequential` concatenates "
        "and splits.",
        group="packing",
    )
    packing_buffer_docs: int = setting(
        128,
        "Documents packed together in `bin` mode.",
        unit="documents",
        group="packing",
        gt=0,
        when={"data.packing_mode": ["bin"]},
    )
    packing_max_docs_per_bin: int | None = setting(
        None,
        "Maximum number of documents in one row in `bin` mode.",
        unit="documents",
        group="packing",
        gt=0,
        unset="no limit",
        when={"data.packing_mode": ["bin"]},
    )
    isolate_documents: bool = setting(
        True,
        "Prevent attention and state across documents in one row; false trains on one continuous stream.",
        group="packing",
    )
    mask_boundary_loss: bool = setting(True, "Exclude the first token of each document from the loss.", group="packing")
    train_on_eos: bool = setting(True, "Count the end-of-text token in the loss.", group="packing")
    max_doc_tokens: int | None = setting(
        None,
        "Cut each document after this many tokens; null never cuts.",
        unit="tokens",
        group="packing",
        gt=1,
        unset="no limit",
    )

    eval_files: list[str] = setting(
        [],
        "Files to evaluate on, as `files`; empty holds out a part of the training text. For `files`, `local_text` and "
        "`stdlib`.",
        group="evaluation",
        when={"data.backend": ["files", "local_text", "stdlib"]},
    )
    eval_text: str | None = setting(
        None,
        "Text to evaluate on, in the configuration itself; null holds out a part.",
        group="evaluation",
        unset="not set",
        when={"data.backend": ["files", "local_text", "stdlib"]},
    )
    max_eval_samples: int = setting(
        1000, "Maximum number of documents used for evaluation.", unit="documents", group="evaluation", ge=1
    )
    prefetch: int = setting(2, "Batches prepared ahead of the step.", unit="batches", group="loading", ge=0)
    mixture: MixtureConfig = section(MixtureConfig, "Several sources with weights, in place of one.")
    tokenizer: TokenizerConfig = section(TokenizerConfig, "How text becomes token ids.")
