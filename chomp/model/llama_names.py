"""A Llama's parameters under the names of transformers, and of other programs."""

from __future__ import annotations

from collections.abc import Mapping

# Parts of a layer: chomp's name, and transformers'. Rotary halves and the order of weights are the same in both.
HF_LAYER = {
    "attn_norm": "input_layernorm",
    "attn.wq": "self_attn.q_proj",
    "attn.wk": "self_attn.k_proj",
    "attn.wv": "self_attn.v_proj",
    "attn.wo": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn.gate": "mlp.gate_proj",
    "ffn.up": "mlp.up_proj",
    "ffn.down": "mlp.down_proj",
}
HF_WHOLE = {
    "embed.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "lm_head.weight": "lm_head.weight",
}


def renamed(path: str, whole: Mapping[str, str], layer: str, parts: Mapping[str, str]) -> str:
    """Return another program's name of a parameter.

    Args:
        whole: names of parameters outside the layers.
        layer: a layer's name, with `{}` for its number.
        parts: chomp's and the other's name of each part of a layer.
    """
    if path in whole:
        return whole[path]
    _, number, part = path.removesuffix(".weight").split(".", 2)
    return f"{layer.format(number)}.{parts[part]}.weight"


def hf_name(path: str) -> str:
    """Return transformers' name of a parameter."""
    return renamed(path, HF_WHOLE, "model.layers.{}", HF_LAYER)
