"""chomp computes from a folder that transformers wrote, on PyTorch, what transformers computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from chomp.checkpoint.items import fill
from chomp.config import parse_config
from chomp.model.build import build_model
from chomp.parallel.mesh import ONE_DEVICE
from chomp.pretrained.weights import open_weights
from tests.pretrained.folders import WORDS, vocabulary

SHAPE: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 6,
}  # fmt: skip
# One pair of channels keeps its rate, one loses the whole factor, and two a part of it.
LLAMA_3 = {
    "rope_type": "llama3", "rope_theta": 100.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "dtype"),
    [
        ({"num_key_value_heads": 2, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, torch.float32),
        ({"num_key_value_heads": 2, "rope_parameters": LLAMA_3}, torch.float32),
        ({"num_key_value_heads": 6, "tie_word_embeddings": True, "rms_norm_eps": 1e-3}, torch.float32),
        ({"num_key_value_heads": 3, "rope_parameters": {"rope_type": "default", "rope_theta": 300.0}}, torch.bfloat16),
    ],
)
def test_logits(tmp_path: Path, changes: dict[str, Any], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    made = LlamaForCausalLM(LlamaConfig(**SHAPE, **changes, initializer_range=0.2)).to(dtype)
    # In shards, as large models are.
    made.save_pretrained(tmp_path, max_shard_size="40KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    vocabulary(WORDS).save(str(tmp_path / "tokenizer.json"))
    ids = np.random.default_rng(0).integers(0, SHAPE["vocab_size"], (2, 40))
    theirs = LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad():
        expected = theirs(torch.tensor(ids)).logits.numpy()
    text = json.dumps({"model": {"init_from": str(tmp_path), "compute_dtype": "float32"}})
    model_def = build_model(parse_config(text, source="c.yaml").config.model)
    params = fill(model_def.abstract(), open_weights(model_def, str(tmp_path)).read(ONE_DEVICE))
    logits = np.asarray(model_def.combine(params).logits(jnp.asarray(ids, jnp.int32)))
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
