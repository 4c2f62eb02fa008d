"""A Llama of several residual streams: its weights under transformers' names, and the streams' numbers beside them.

No other program reads such a model as it is, so that `config.json` names no class that would load the weights and
leave the streams out. `streams.mhc` is little-endian throughout:

    u32 magic 0x6D484321, u32 version 2, u32 layers (two for each block: attention, feed-forward), u32 streams n
    f32 for each layer: alpha_logits (1 of two streams, else n!); n pre_logits, pre_bias, post_logits, post_bias each

What they mean is `chomp.model.residual`. The layout is that of a Rust trainer, nanochat-rs-ternary, which adds what a
layer found before it mixes the streams and so computes something else from the same numbers.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import jax
import numpy as np

from chomp.config import Config
from chomp.data.tokenizer import Tokenizer
from chomp.export import huggingface
from chomp.export.options import ExportOptions
from chomp.export.safetensors import write_tensors
from chomp.export.tokenizer import write_tokenizer
from chomp.export.weights import weights_of
from chomp.generate.load import TrainedModel
from chomp.model.llama_names import hf_name
from chomp.model.residual import HyperConnection

WHAT = "a Llama's weights and its residual streams, in a layout of their own"
FILE = "streams.mhc"
MAGIC, VERSION = 0x6D484321, 2
HEADER = struct.Struct("<4I")


def unsupported_reason(config: Config, tokenizer: Tokenizer, options: ExportOptions) -> str | None:
    """Say why a model cannot be written so, or None."""
    model = config.model
    if model.backend != "llama":
        return f"mhc writes Llama models, and this one is a {model.backend}"
    if model.residual_streams == 1:
        return "mhc is for models of several residual streams, and this one has one"
    return None


def write(trained: TrainedModel, options: ExportOptions, folder: Path) -> None:
    """Write weights, streams, description and tokenizer; `options.dtype` is that of the weights alone."""
    named = {
        hf_name(path): weight
        for path, weight in weights_of(trained.params, options.dtype).items()
        if "_residual." not in path
    }
    write_tensors(folder / "model.safetensors", named, {})
    (folder / FILE).write_bytes(streams_of(trained))
    described = huggingface.describe(trained, options)
    del described["architectures"]
    model = trained.config.model
    described |= {
        "model_type": "llama_mhc",
        "residual_streams": model.residual_streams,
        "residual_streams_file": FILE,
        "attention_window": model.attention_window,
    }
    (folder / "config.json").write_text(json.dumps(described, indent=1) + "\n")
    write_tokenizer(trained.tokenizer, folder, longest=trained.config.train.seq_len)


def streams_of(trained: TrainedModel) -> bytes:
    """The whole of `streams.mhc`."""
    layers = [layer for block in trained.params.blocks for layer in (block.attn_residual, block.ffn_residual)]
    header = HEADER.pack(MAGIC, VERSION, len(layers), trained.config.model.residual_streams)
    return header + b"".join(_numbers(layer) for layer in layers)


def _numbers(layer: HyperConnection) -> bytes:
    """A layer's numbers; the order of its fields is the file's."""
    return b"".join(np.asarray(field, "<f4").tobytes() for field in jax.tree.leaves(layer))
