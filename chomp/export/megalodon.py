"""A Megalodon as a native checkpoint of `megalodon-jax`."""

from __future__ import annotations

from pathlib import Path

from megalodon_jax import save_checkpoint

from chomp.export.asking import Ask
from chomp.export.tokenizer import write_tokenizer
from chomp.generate.load import TrainedModel


def refusal(trained: TrainedModel, ask: Ask) -> str | None:
    """Why a model cannot be written so."""
    if trained.config.model.backend != "megalodon":
        return f"megalodon-jax writes Megalodon models, and this one is a {trained.config.model.backend}"
    if ask.dtype not in (None, trained.config.model.param_dtype):
        return f"megalodon-jax keeps the dtype of the model, {trained.config.model.param_dtype}"
    return None


def write(trained: TrainedModel, ask: Ask, folder: Path) -> None:
    """Write weights, which carry the configuration, and the tokenizer."""
    save_checkpoint(trained.params, folder / "model.safetensors")
    write_tokenizer(trained.tokenizer, folder, longest=trained.config.train.seq_len)
