"""The table of formats, each a module of its own.

Every format is a folder. It is written beside its place and moved there when all of it is on the disk, so that a folder
with the final name is complete.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from chomp.config import Config
from chomp.data.tokenizer import Tokenizer
from chomp.errors import ConfigError, DataError
from chomp.export import gguf, huggingface, int8, megalodon, mhc, stablehlo
from chomp.export.options import ExportOptions
from chomp.generate.load import TrainedModel
from chomp.record.new_folder import NewFolder
from chomp.record.rundir import fsync_folder


class Exporter(Protocol):
    """A module that writes models in one format."""

    WHAT: str
    """One line for people."""

    def unsupported_reason(self, config: Config, tokenizer: Tokenizer, options: ExportOptions) -> str | None:
        """Say why a model of this configuration and tokenizer cannot be written so, or None."""
        ...

    def write(self, trained: TrainedModel, options: ExportOptions, folder: Path) -> None:
        """Write files into an empty folder; raises OSError, or a ChompError that says what is wrong."""
        ...


FORMATS: Mapping[str, Exporter] = {
    "hf": huggingface,
    "gguf": gguf,
    "mhc": mhc,
    "megalodon-jax": megalodon,
    "int8": int8,
    "stablehlo": stablehlo,
}


def unsupported_reason(name: str, config: Config, tokenizer: Tokenizer, options: ExportOptions) -> str | None:
    """Say why a model cannot be written in a format, or None, without its parameters."""
    why = FORMATS[name].unsupported_reason(config, tokenizer, options)
    if why is None and options.dtype == "q8_0" and name != "gguf":
        return f"{name} has no q8_0; only gguf has"
    return why


def export(trained: TrainedModel, name: str, folder: Path, options: ExportOptions) -> dict[str, int]:
    """Write a model in one format; bytes of each file, by its path in the folder.

    Raises:
        ConfigError: the format cannot express the model.
        DataError: something is at `folder` already, the disk does not take it, or its loss cannot be measured.
    """
    if (why := unsupported_reason(name, trained.config, trained.tokenizer, options)) is not None:
        raise ConfigError(why)
    if os.path.lexists(folder):
        raise DataError(f"{folder} exists; name another folder, or delete it")
    place = NewFolder.at(folder)
    unfinished = place.unfinished(os.getpid())
    try:
        unfinished.mkdir(parents=True)
        FORMATS[name].write(trained, options, unfinished)
        for path in unfinished.rglob("*"):
            fsync_folder(path) if path.is_dir() else _to_disk(path)
        fsync_folder(unfinished)
        unfinished.rename(folder)
        fsync_folder(folder.parent)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        place.clear(os.getpid())
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
