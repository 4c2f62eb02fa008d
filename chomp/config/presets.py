"""Known models, by the name `model.preset` takes: shapes, and optimizers and objectives where they were published.

Each Megalodon is what `megalodon_jax.MegalodonConfig.from_upstream_NAME` (or `from_paper_7b`) builds,
written out so that a configuration is read without importing JAX; a test compares them.
Vocabulary and output size belong to the tokenizer and are not part of a preset.
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


# What nanochat-rs, CharLM and a 270M trainer of 2025 call their models.
_LLAMAS: Mapping[str, Mapping[str, Any]] = {
    "d20": _llama(6, 256, 4, 4, 768),
    "nano-125m": _llama(12, 768, 12, 12, 2176),
    "nano-1b": _llama(20, 2048, 16, 16, 5504),
    # These two with as many key-value heads as heads, which gives the published 1.8 and 7.0 billion parameters.
    "medium-3b": _llama(28, 2048, 32, 32, 7168),
    "large-7b": _llama(32, 4096, 32, 32, 11_008),
    # The published 244 million are those with a tied head.
    "d20-e3-full": _llama(24, 768, 12, 12, 2688, residual_streams=2),
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

# nanochat-rs: Muon at 0.02 for matrices, Lion at 1e-4 for the rest, constant for 80 % of the steps.
_MUON_AND_LION: Mapping[str, Any] = {
    "name": "muon",
    "lr": 1e-4,
    "schedule": "wsd",
    "decay_shape": "cosine",
    "min_lr_ratio": 0.1,
    "muon": {"lr_scale": 200.0, "momentum": 0.95, "rest": "lion"},
    "lion": {"b1": 0.9, "b2": 0.99},
}
_ADAMW: Mapping[str, Any] = {"name": "adamw", "schedule": "cosine"}

# The sections beside `model` that belong to a preset.
_RECIPES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    **{
        name: {"optim": _MUON_AND_LION} for name in ("d20", "nano-125m", "nano-1b", "medium-3b", "large-7b", "tiny-cpu")
    },
    # Three heads with weights 0.2, 0.1 and 0.05, here 0.35 for their mean; 35 % of the tokens are filtered out.
    "d20-e3-full": {
        "optim": _MUON_AND_LION,
        "objective": {"mtp_heads": 3, "mtp_weight": 0.35, "token_filter_keep": 0.65},
    },
    **{name: {"optim": _ADAMW} for name in ("micro", "small-50m", "base-120m")},
    "llama-270m": {"optim": {**_ADAMW, "lr": 3e-4}},
}

# Where it is not GPT-2's: large-7b's own, the tokenizer that nanochat-rs trains by default, and bytes.
_VOCABULARIES: Mapping[str, int] = {
    "large-7b": 128_000,
    "tiny-cpu": 4096,
    **dict.fromkeys(("micro", "small-50m", "base-120m"), 256),
}


def preset_vocabulary(name: str) -> int:
    """The vocabulary size with which a preset was published."""
    return _VOCABULARIES.get(name, 50_257)


def preset_named(text: Any) -> str | None:
    """The preset that is meant, in any case and with `_` for `-`; None where there is no such preset."""
    known = {_folded(name): name for name in MODEL_PRESETS}
    return known.get(_folded(text)) if isinstance(text, str) else None


def _folded(name: str) -> str:
    return name.lower().replace("_", "-")


def expand_preset(values: Mapping[str, Any]) -> dict[str, Any]:
    """All sections with the values of `model.preset` under those that the user wrote.

    A file that names an optimizer gets no optimizer settings of the preset, whose learning rates are for its own.
    An unknown preset is left for validation to refuse.
    """
    model = values.get("model")
    name = preset_named(model.get("preset")) if isinstance(model, Mapping) else None
    if name is None:
        return dict(values)
    brought: dict[str, Mapping[str, Any]] = {"model": MODEL_PRESETS[name], **_RECIPES.get(name, {})}
    if isinstance(optim := values.get("optim"), Mapping) and "name" in optim:
        brought.pop("optim", None)
    under = {section: _under(preset, values.get(section)) for section, preset in brought.items()}
    under["model"] = {**under["model"], "preset": name}
    return {**values, **under}


def _under(preset: Mapping[str, Any], written: Any) -> Any:
    if written is None:
        written = {}
    if not isinstance(written, Mapping):
        return written
    nested = {
        key: _under(value, written[key])
        for key, value in preset.items()
        if isinstance(value, Mapping) and key in written
    }
    return {**preset, **written, **nested}


def preset_text(name: str) -> str:
    """The configuration file that a preset's name in the place of a file means."""
    return f"model:\n  preset: {name}\n"
