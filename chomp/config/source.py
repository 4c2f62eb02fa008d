"""One text: where it comes from, for the `data` section and for each source of a mixture."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from chomp.config.fields import SET, Section, setting

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


class TextSource(Section):
    """Where a text comes from."""

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
        when={".backend": ["local_text"]},
    )
    files: list[str] = setting(
        [],
        "Paths and globs for `backend: files`: parquet, Arrow, JSON lines, JSON, CSV, TSV, and any text file; JSON, "
        "CSV and text also compressed (.gz, .zst, .bz2, .xz).",
        group="source",
        when={".backend": ["files"]},
    )
    tokens_path: str | None = setting(
        None,
        "A file of token ids, or a folder of `chomp prepare-data`, for `backend: tokens`.",
        group="source",
        unset="not set",
        when={".backend": ["tokens"]},
    )
    tokens_eval_path: str | None = setting(
        None,
        "A token file to evaluate on; null uses the folder's `val.bin`, or holds out documents.",
        group="source",
        min_length=1,
        unset="auto",
        when={".backend": ["tokens"]},
    )
    tokens_dtype: Literal["auto", "uint8", "uint16", "uint32"] = setting(
        "auto",
        "Integer type of token files, little-endian; `auto`: from `metadata.json`, else uint8 with an `.idx` file, "
        "else uint32.",
        group="source",
        when={".backend": ["tokens"]},
    )
    hf_dataset: str | None = setting(
        None,
        "Dataset on the hub, or a local folder in its layout; null: `Zyphra/Zyda-2`, by default its sample-100BT.",
        group="source",
        unset="auto",
        when={".backend": ["hf"]},
    )
    hf_name: str | None = setting(
        None, "Configuration (subset) of the dataset.", group="source", unset="default", when={".backend": ["hf"]}
    )
    hf_split: str = setting("train", "Split to train on.", group="source", when={".backend": ["hf"]})
    hf_eval_split: str | None = setting(
        None,
        "Split to evaluate on; null holds out documents of the training split.",
        group="source",
        unset="held out",
        when={".backend": ["hf"]},
    )
    hf_revision: str | None = setting(
        None, "Commit or tag of the dataset.", group="source", unset="newest", when={".backend": ["hf"]}
    )
    hf_streaming: bool = setting(
        True, "Stream the dataset instead of downloading it.", group="source", when={".backend": ["hf"]}
    )
    text_key: str = setting(
        "text",
        "Column that holds the text.",
        group="source",
        when=[{".backend": ["files", "hf"]}, {".eval_files": SET, ".backend": ["local_text", "stdlib"]}],
    )
    on_bad_text: Literal["fail", "replace"] = setting(
        "fail",
        "Invalid UTF-8 or a null text: stop with an error that names the place, or replace it.",
        group="source",
        when=[{".backend": ["files", "hf"]}, {".eval_files": SET, ".backend": ["local_text", "stdlib"]}],
    )
    max_retries: int = setting(
        5,
        "Attempts to reopen a failing stream before the run stops.",
        group="source",
        ge=0,
        when={".backend": ["hf"]},
    )
    retry_delay_seconds: float = setting(
        1.0,
        "Wait before the first retry; doubles each time.",
        unit="seconds",
        group="source",
        ge=0,
        when={".backend": ["hf"]},
    )
