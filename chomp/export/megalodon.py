"""A Megalodon as a native checkpoint of `megalodon-jax`."""

from __future__ import annotations

from pathlib import Path

from megalodon_jax import save_checkpoint
from safetensors import SafetensorError

from chomp.checkpoint.reasons import reason_in_words
from chomp.config import Config
from chomp.data.tokenizer import Tokenizer
from chomp.export.options import ExportOptions
from chomp.export.tokenizer import write_tokenizer
from chomp.generate.load import TrainedModel

WHAT = "model.safetensors for megalodon_jax.load_checkpoint"


def unsupported_reason(config: Config, tokenizer: Tokenizer, options: ExportOptions) -> str | None:
    """Say why a model cannot be written so, or None."""
    if config.model.backend != "megalodon":
        return f"megalodon-jax writes Megalodon models, and this one is a {config.model.backend}"
    if options.dtype not in (None, config.model.param_dtype):
        return f"megalodon-jax keeps the dtype of the model, {config.model.param_dtype}"
    return None


def write(trained: TrainedModel, options: ExportOptions, folder: Path) -> None:
    """Write weights, which carry the configuration, and the tokenizer."""
    try:
        save_checkpoint(trained.params, folder / "model.safetensors")
    except SafetensorError as error:
        # Its text contains the error of the disk.
        raise OSError(reason_in_words(error)) from error
    write_tokenizer(trained.tokenizer, folder, longest=trained.config.train.seq_len)
