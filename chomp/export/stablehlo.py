"""The forward pass as serialised StableHLO, through `jax.export`.

`forward.stablehlo` is a function of weights by name and of ids `[1, seq_len]`, to fp32 logits. The weights lie beside
it in `model.safetensors`; `signature.json` says how to call it. What comes behind a text does not change its logits, so
that a shorter text is padded at its end.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import export as jax_export

from chomp.checkpoint.items import fill
from chomp.config import Config
from chomp.data.tokenizer import Tokenizer
from chomp.export.options import ExportOptions
from chomp.export.safetensors import write_tensors
from chomp.export.tokenizer import write_tokenizer
from chomp.export.weights import weights_of
from chomp.generate.load import TrainedModel
from chomp.model.build import build_model
from chomp.model.paths import named_leaves

WHAT = "the forward pass as serialised StableHLO, with its weights: runs without chomp, by jax.export"
# A program for either; the machine that runs it chooses.
PLATFORMS = ("cpu", "cuda")


def unsupported_reason(config: Config, tokenizer: Tokenizer, options: ExportOptions) -> str | None:
    """Return None: every model can be written so."""
    return None


def write(trained: TrainedModel, options: ExportOptions, folder: Path) -> None:
    """Write program, weights, signature and tokenizer."""
    seq_len = options.seq_len or trained.config.train.seq_len
    weights = weights_of(trained.params, options.dtype)
    # In operations that every platform has: a kernel is for one.
    model, instead = trained.config.model, {"attention": "xla"}
    if model.cema == "kernel":
        instead["cema"] = "parallel"
    model_def = build_model(model.model_copy(update=instead), backend=jax.default_backend())
    like = model_def.abstract()
    kinds = {path: leaf.dtype for path, leaf in named_leaves(like)}

    def forward(weights: dict[str, Any], ids: Any) -> Any:
        params = fill(like, {path: value.astype(kinds[path]) for path, value in weights.items()})
        return model_def.combine(params).logits(ids)

    shapes = {path: jax.ShapeDtypeStruct(value.shape, value.dtype) for path, value in weights.items()}
    ids = jax.ShapeDtypeStruct((1, seq_len), jnp.int32)
    program = jax_export.export(jax.jit(forward), platforms=PLATFORMS)(shapes, ids)
    (folder / "forward.stablehlo").write_bytes(program.serialize())
    write_tensors(folder / "model.safetensors", weights, {})
    signature = {
        "arguments": [{"weights": "model.safetensors, by name"}, {"ids": [1, seq_len], "dtype": "int32"}],
        "result": {"logits": [1, seq_len, program.out_avals[0].shape[-1]], "dtype": "float32"},
        "platforms": list(PLATFORMS),
        "call": "jax.export.deserialize(open('forward.stablehlo', 'rb').read()).call(weights, ids)",
    }
    (folder / "signature.json").write_text(json.dumps(signature, indent=1) + "\n")
    write_tokenizer(trained.tokenizer, folder, longest=seq_len)
