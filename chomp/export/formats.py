"""The table of formats: what each is for, whether a checkpoint can be written in it, and how.

Every format is a folder. It is written beside its place and moved there when all of it is on the disk, so that what
stands there is whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from chomp.config import Config
from chomp.data.tokenizer import Tokenizer
from chomp.errors import ConfigError, DataError
from chomp.export import gguf, huggingface, int8, megalodon, mhc, stablehlo
from chomp.export.options import Ask
from chomp.generate.load import TrainedModel
from chomp.record.new_folder import NewFolder
from chomp.record.rundir import fsync_folder


@dataclass(frozen=True)
class Format:
    """One way to write a model.

    Attributes:
        what: one line for people.
        refusal: why a model of this configuration and tokenizer cannot be written so, or None.
        write: puts files into an empty folder; raises OSError, or a ChompError that says what is wrong.
    """

    what: str
    refusal: Callable[[Config, Tokenizer, Ask], str | None]
    write: Callable[[TrainedModel, Ask, Path], None]


FORMATS: Mapping[str, Format] = {
    "hf": Format(
        "a folder that transformers loads as LlamaForCausalLM, and every tool that reads those",
        huggingface.refusal,
        huggingface.write,
    ),
    "gguf": Format("one file for llama.cpp and what is built on it", gguf.refusal, gguf.write),
    "mhc": Format("a Llama's weights and its residual streams, in a layout of their own", mhc.refusal, mhc.write),
    "megalodon-jax": Format("model.safetensors for megalodon_jax.load_checkpoint", megalodon.refusal, megalodon.write),
    "int8": Format(
        "matrices in 8 bits with a scale for each row: read by chomp.export.int8.read", int8.refusal, int8.write
    ),
    "stablehlo": Format(
        "the forward pass as serialised StableHLO, with its weights: runs without chomp, by jax.export",
        stablehlo.refusal,
        stablehlo.write,
    ),
}


def refusal(name: str, config: Config, tokenizer: Tokenizer, ask: Ask) -> str | None:
    """Why a model cannot be written in a format, or None; its parameters are not needed to know."""
    why = FORMATS[name].refusal(config, tokenizer, ask)
    if why is None and ask.dtype == "q8_0" and name != "gguf":
        return f"{name} has no q8_0; only gguf has"
    return why


def export(trained: TrainedModel, name: str, folder: Path, ask: Ask) -> dict[str, int]:
    """Write a model in one format; bytes of each file, by its path in the folder.

    Raises:
        ConfigError: the format cannot express the model.
        DataError: something is at `folder` already, the disk does not take it, or what is asked for cannot be measured.
    """
    if (why := refusal(name, trained.config, trained.tokenizer, ask)) is not None:
        raise ConfigError(why)
    if os.path.lexists(folder):
        raise DataError(f"{folder} exists; name another folder, or delete it")
    place = NewFolder.at(folder)
    unfinished = place.unfinished(os.getpid())
    try:
        unfinished.mkdir(parents=True)
        FORMATS[name].write(trained, ask, unfinished)
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
