"""Small Llama folders as the hub has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

CONFIG: dict[str, Any] = {
    "model_type": "llama", "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 500000.0,
    "tie_word_embeddings": False, "hidden_act": "silu", "rope_scaling": None,
}  # fmt: skip


def tensors(config: dict[str, Any] = CONFIG, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights under transformers' names."""
    rng = np.random.default_rng(seed)
    dim, hidden, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    narrow = dim // config["num_attention_heads"] * config["num_key_value_heads"]
    layer = {
        "input_layernorm": (dim,), "post_attention_layernorm": (dim,), "self_attn.q_proj": (dim, dim),
        "self_attn.k_proj": (narrow, dim), "self_attn.v_proj": (narrow, dim), "self_attn.o_proj": (dim, dim),
        "mlp.gate_proj": (hidden, dim), "mlp.up_proj": (hidden, dim), "mlp.down_proj": (dim, hidden),
    }  # fmt: skip
    shapes = {"model.embed_tokens": (vocab, dim), "model.norm": (dim,), "lm_head": (vocab, dim)}
    shapes |= {
        f"model.layers.{i}.{name}": shape for i in range(config["num_hidden_layers"]) for name, shape in layer.items()
    }
    return {f"{name}.weight": rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def vocabulary(words: list[str]) -> Tokenizer:
    """A tokenizer that knows these words."""
    made = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens([AddedToken(word, special=True) for word in words if word.startswith("<")])
    return made


WORDS = ["<unk>", "<s>", "</s>", *(f"w{n}" for n in range(29))]


def hub_folder(path: Path, *, shards: int = 1, words: list[str] | None = WORDS, **changes: Any) -> Path:
    """A folder with configuration, weights and tokenizer; `changes` are of its config.json."""
    path.mkdir(parents=True, exist_ok=True)
    config = {**CONFIG, **changes}
    (path / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value != "absent"}))
    if words is not None:
        vocabulary(words).save(str(path / "tokenizer.json"))
    write_shards(path, tensors(), shards)
    return path


def write_shards(path: Path, weights: dict[str, np.ndarray], shards: int) -> None:
    """Weights as one file, or dealt out over several with their index."""
    if shards == 1:
        save_file(weights, path / "model.safetensors", {"format": "pt"})
        return
    places = {name: f"model-{1 + i % shards:05d}-of-{shards:05d}.safetensors" for i, name in enumerate(sorted(weights))}
    for file in set(places.values()):
        save_file({name: weights[name] for name, place in places.items() if place == file}, path / file)
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
