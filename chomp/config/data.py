"""The `data` section."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from chomp.config.fields import MAX_SEED, SET, Section, section, setting


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


SOURCE_SETTINGS = {
    "local_text": ("local_text", "the text itself"),
    "files": ("files", "a list of paths or globs, such as [texts/*.txt]"),
    "hf": ("hf_dataset", "a dataset's name on the hub, such as Zyphra/Zyda-2"),
    "tokens": ("tokens_path", "the path of a token file"),
}
"""The setting without which a backend has no text, and what to write there; `stdlib` needs none.

`chomp.data.sources.BACKEND` opens the text of a backend.
"""


ZYDA = {"hf_dataset": "Zyphra/Zyda-2", "hf_name": "sample-100BT"}
"""What `backend: hf` alone means."""


class DataConfig(Section):
    """Where text comes from and how it becomes fixed-shape batches."""

    @model_validator(mode="before")
    @classmethod
    def _zyda(cls, values: Any) -> Any:
        is_alone = isinstance(values, dict) and values.get("backend") == "hf" and values.get("hf_dataset") is None
        return {**values, **{name: values.get(name) or value for name, value in ZYDA.items()}} if is_alone else values

    backend: Literal["local_text", "files", "hf", "stdlib", "tokens"] = setting(
        "stdlib",
        "Text source: inline text, local files, the hub, Python's standard library, or token files.",
        group="source",
    )
    local_text: str | None = setting(
        None,
        "The text itself, for `backend: local_text`.",
        group="source",
        unset="not set",
        when={"data.backend": ["local_text"]},
    )
    files: list[str] = setting(
        [],
        "Paths and globs for `backend: files`: parquet, Arrow, JSON lines, JSON, CSV, TSV, and any text file; JSON, "
        "CSV and text also compressed (.gz, .zst, .bz2, .xz).",
        group="source",
        when={"data.backend": ["files"]},
    )
    tokens_path: str | None = setting(
        None,
        "A file of token ids, or a folder of `chomp prepare-data`, for `backend: tokens`.",
        group="source",
        unset="not set",
        when={"data.backend": ["tokens"]},
    )
    tokens_eval_path: str | None = setting(
        None,
        "A token file to evaluate on; null uses the folder's `val.bin`, or holds out documents.",
        group="source",
        min_length=1,
        unset="auto",
        when={"data.backend": ["tokens"]},
    )
    tokens_dtype: Literal["auto", "uint8", "uint16", "uint32"] = setting(
        "auto",
        "Integer type of token files, little-endian; `auto`: from `metadata.json`, else uint8 with an `.idx` file, "
        "else uint32.",
        group="source",
        when={"data.backend": ["tokens"]},
    )
    hf_dataset: str | None = setting(
        None,
        "Dataset on the hub, or a local folder in its layout; null: `Zyphra/Zyda-2`, by default its sample-100BT.",
        group="source",
        unset="auto",
        when={"data.backend": ["hf"]},
    )
    hf_name: str | None = setting(
        None, "Configuration (subset) of the dataset.", group="source", unset="default", when={"data.backend": ["hf"]}
    )
    hf_split: str = setting("train", "Split to train on.", group="source", when={"data.backend": ["hf"]})
    hf_eval_split: str | None = setting(
        None,
        "Split to evaluate on; null holds out documents of the training split.",
        group="source",
        unset="held out",
        when={"data.backend": ["hf"]},
    )
    hf_revision: str | None = setting(
        None, "Commit or tag of the dataset.", group="source", unset="newest", when={"data.backend": ["hf"]}
    )
    hf_streaming: bool = setting(
        True, "Stream the dataset instead of downloading it.", group="source", when={"data.backend": ["hf"]}
    )
    text_key: str = setting(
        "text",
        "Column that holds the text.",
        group="source",
        when=[{"data.backend": ["files", "hf"]}, {"data.eval_files": SET, "data.backend": ["local_text", "stdlib"]}],
    )
    on_bad_text: Literal["fail", "replace"] = setting(
        "fail",
        "Invalid UTF-8 or a null text: stop with an error that names the place, or replace it.",
        group="source",
        when=[{"data.backend": ["files", "hf"]}, {"data.eval_files": SET, "data.backend": ["local_text", "stdlib"]}],
    )
    max_retries: int = setting(
        5,
        "Attempts to reopen a failing stream before the run stops.",
        group="source",
        ge=0,
        when={"data.backend": ["hf"]},
    )
    retry_delay_seconds: float = setting(
        1.0,
        "Wait before the first retry; doubles each time.",
        unit="seconds",
        group="source",
        ge=0,
        when={"data.backend": ["hf"]},
    )
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
        "sequential", "`sequential` concatenates and splits; `bin` fits documents into rows.", group="packing"
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
    tokenizer: TokenizerConfig = section(TokenizerConfig, "How text becomes token ids.")
