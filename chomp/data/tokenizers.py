"""Building a tokenizer from configuration or from a snapshot."""

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from chomp.config.data import TokenizerConfig
from chomp.data.byte_tokenizer import ByteTokenizer
from chomp.data.library_errors import translated
from chomp.data.tokenizer import HIGHEST_ID, SETTINGS_FILE, Tokenizer
from chomp.errors import CheckpointError

__all__ = ["ByteTokenizer", "Tokenizer", "build_tokenizer", "load_tokenizer"]

SpecialId = Annotated[int, Field(ge=0)] | None


class _Settings(BaseModel):
    """What every snapshot says of itself."""

    model_config = ConfigDict(extra="forbid", strict=True)

    add_bos: bool
    add_eos: bool
    vocab_size_multiple: int = Field(gt=0, le=HIGHEST_ID)


class _ByteSettings(_Settings):
    kind: Literal["byte"]
    byte_offset: int = Field(ge=0, le=HIGHEST_ID)


class _FastSettings(_Settings):
    kind: Literal["hf", "file"]
    pad_id: SpecialId
    bos_id: SpecialId
    eos_id: SpecialId
    special: list[Annotated[int, Field(ge=0)]]
    strict: bool = False

    @model_validator(mode="after")
    def _has_what_it_adds(self) -> Self:
        if (self.add_bos and self.bos_id is None) or (self.add_eos and self.eos_id is None):
            raise ValueError("an id that is added to documents is null")
        return self


def build_tokenizer(config: TokenizerConfig, snapshot: Path | None = None) -> Tokenizer:
    """The configured tokenizer, or the snapshot's if one is given.

    Raises:
        ConfigError: the section names what the tokenizer does not have.
        DataError: the tokenizer cannot be found, reached or read.
        CheckpointError: the snapshot is missing or damaged.
    """
    if snapshot is not None:
        return load_tokenizer(snapshot)
    if config.kind == "byte":
        return ByteTokenizer(
            offset=config.byte_offset,
            add_bos=config.add_bos,
            add_eos=config.add_eos,
            vocab_size_multiple=config.vocab_size_multiple,
        )
    from chomp.data.tokenizer_files import tokenizer_from_file, tokenizer_from_hub

    return tokenizer_from_hub(config) if config.kind == "hf" else tokenizer_from_file(config)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer that `Tokenizer.save` wrote into `folder`.

    Raises:
        CheckpointError: the folder or a file in it is missing or damaged.
    """

    def damaged(reason: str) -> CheckpointError:
        return CheckpointError(
            f"the tokenizer snapshot {folder} cannot be read: {reason}; restore it from a copy of the run"
        )

    with translated(damaged):
        try:
            content = (folder / SETTINGS_FILE).read_bytes()
            if json.loads(content)["kind"] == "byte":
                byte = _ByteSettings.model_validate_json(content).model_dump(exclude={"kind"})
                return ByteTokenizer(offset=byte.pop("byte_offset"), **byte)
            from chomp.data.fast_tokenizers import FastTokenizer

            return FastTokenizer.from_snapshot(folder, _FastSettings.model_validate_json(content).model_dump())
        except FileNotFoundError as error:
            raise CheckpointError(f"the tokenizer snapshot {folder} has no {Path(error.filename).name}") from None
