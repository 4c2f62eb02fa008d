"""Published Megalodon shapes, by the name `model.preset` takes.

Each is what `megalodon_jax.MegalodonConfig.from_upstream_NAME` (or `from_paper_7b`) builds,
written out so that a configuration is read without importing JAX; a test compares them.
Vocabulary and output size belong to the tokenizer and are not part of a shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Fields in which every published shape agrees; ours differ in some of their defaults.
_COMMON: Mapping[str, Any] = {
    "cema_ndim": 16,
    "attention_window": None,
    "norm_eps": 1e-5,
    "norm_affine": True,
    "rope_base": None,
    "swiglu": False,
    "rescale_nffn": False,
    "scale_emb": False,
    "share_emb": False,
    "init_mode": "he",
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "attention_dropout_mode": "post_softmax",
    "hidden_dropout": 0.0,
}
_SHAPES: Mapping[str, Mapping[str, Any]] = {
    "mega200m": {
        "num_layers": 12, "model_dim": 1024, "num_heads": 1, "z_dim": 256, "value_dim": 2048,
        "ffn_hidden_dim": 2560, "chunk_size": 2048, "norm_num_groups": 32,
    },
    "mega1_3b": {
        "num_layers": 24, "model_dim": 2048, "num_heads": 2, "z_dim": 512, "value_dim": 4096,
        "ffn_hidden_dim": 4864, "chunk_size": 2048, "norm_num_groups": 64,
    },
    "mega1_3b_pg19": {
        "num_layers": 24, "model_dim": 2048, "num_heads": 2, "z_dim": 512, "value_dim": 4096,
        "ffn_hidden_dim": 3584, "chunk_size": 2048, "norm_num_groups": 64,
        "swiglu": True, "scale_emb": True, "share_emb": True,
    },
    "mega7_1b": {
        "num_layers": 32, "model_dim": 4096, "num_heads": 4, "z_dim": 1024, "value_dim": 8192,
        "ffn_hidden_dim": 11264, "chunk_size": 2048, "norm_num_groups": 64,
    },
    "mega7_3b": {
        "num_layers": 32, "model_dim": 4096, "num_heads": 4, "z_dim": 1024, "value_dim": 8192,
        "ffn_hidden_dim": 8192, "chunk_size": 2048, "norm_num_groups": 64, "swiglu": True,
    },
    "paper_7b": {
        "num_layers": 32, "model_dim": 4096, "num_heads": 4, "z_dim": 1024, "value_dim": 8192,
        "ffn_hidden_dim": 8192, "chunk_size": 4096, "norm_num_groups": 64, "rope_base": 100_000.0, "swiglu": True,
    },
}  # fmt: skip

MODEL_PRESETS: Mapping[str, Mapping[str, Any]] = {name: {**_COMMON, **shape} for name, shape in _SHAPES.items()}


def expand_preset(model: Mapping[str, Any]) -> dict[str, Any]:
    """The `model` section with its preset's values under the ones the user wrote.

    An unknown preset is left for validation to refuse.
    """
    preset = model.get("preset")
    shape = MODEL_PRESETS.get(preset, {}) if isinstance(preset, str) else {}
    return {**shape, **model}
