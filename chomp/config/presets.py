"""Known shapes, by the name `model.preset` takes.

Each Megalodon is what `megalodon_jax.MegalodonConfig.from_upstream_NAME` (or `from_paper_7b`) builds,
written out so that a configuration is read without importing JAX; a test compares them.
Vocabulary and output size belong to the tokenizer and are not part of a shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Fields in which every published shape agrees; ours differ in some of their defaults.
_MEGALODON: Mapping[str, Any] = {
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
_MEGALODONS: Mapping[str, Mapping[str, Any]] = {
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

_LLAMA: Mapping[str, Any] = {
    "backend": "llama",
    "num_kv_heads": None,
    "attention_window": None,
    "norm_eps": 1e-6,
    "rope_base": 10_000.0,
    "share_emb": True,
    "dropout": 0.0,
}


def _llama(layers: int, dim: int, heads: int, kv_heads: int, hidden: int, **other: Any) -> Mapping[str, Any]:
    widths = {"num_layers": layers, "model_dim": dim, "num_heads": heads, "num_kv_heads": kv_heads}
    return {**_LLAMA, **widths, "ffn_hidden_dim": hidden, **other}


# What nanochat-rs, CharLM and a 270M trainer of 2025 call their models. Parameter counts that were printed
# with them are not repeated: `chomp presets` counts.
_LLAMAS: Mapping[str, Mapping[str, Any]] = {
    "d20": _llama(6, 256, 4, 4, 768),
    "nano-125m": _llama(12, 768, 12, 12, 2176),
    "nano-1b": _llama(20, 2048, 16, 16, 5504),
    "medium-3b": _llama(28, 2048, 32, 8, 7168),
    "large-7b": _llama(32, 4096, 32, 8, 11_008),
    "d20-e3-full": _llama(24, 768, 12, 12, 2688, share_emb=False),
    "tiny-cpu": _llama(4, 256, 4, 4, 512),
    "micro": _llama(2, 128, 4, 2, 682),
    "small-50m": _llama(12, 512, 8, 2, 2728),
    "base-120m": _llama(16, 768, 12, 4, 4093, dropout=0.1),
    "llama-270m": _llama(24, 1024, 16, 4, 2752),
}

MODEL_PRESETS: Mapping[str, Mapping[str, Any]] = {
    **{name: {"backend": "megalodon", **_MEGALODON, **shape} for name, shape in _MEGALODONS.items()},
    **_LLAMAS,
}


def expand_preset(model: Mapping[str, Any]) -> dict[str, Any]:
    """The `model` section with its preset's values under the ones the user wrote.

    An unknown preset is left for validation to refuse.
    """
    preset = model.get("preset")
    shape = MODEL_PRESETS.get(preset, {}) if isinstance(preset, str) else {}
    return {**shape, **model}
