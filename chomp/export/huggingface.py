"""A Llama as a folder in the layout of the Hugging Face hub (`transformers.models.llama`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chomp.config import Config
from chomp.config.model import HIGH_FREQUENCY, LOW_FREQUENCY, ModelConfig
from chomp.config.pretrained import LLAMA3
from chomp.data.tokenizer import Tokenizer
from chomp.export import llama
from chomp.export.options import ExportOptions
from chomp.export.safetensors import write_tensors
from chomp.export.tokenizer import write_tokenizer
from chomp.export.weights import weights_of
from chomp.generate.load import TrainedModel
from chomp.model.llama_block import kv_heads
from chomp.model.llama_names import hf_name
from chomp.model.rotary import rates_of

WHAT = "a folder that transformers loads as LlamaForCausalLM, and every tool that reads those"


def unsupported_reason(config: Config, tokenizer: Tokenizer, options: ExportOptions) -> str | None:
    """Say why a model cannot be written so, or None."""
    return llama.unsupported_reason(config, "hf")


def describe(trained: TrainedModel, options: ExportOptions) -> dict[str, Any]:
    """The `config.json`."""
    model, tokenizer = trained.config.model, trained.tokenizer
    rope = _rope(model)
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": model.vocab_size,
        "hidden_size": model.model_dim,
        "intermediate_size": model.ffn_hidden_dim,
        "num_hidden_layers": model.num_layers,
        "num_attention_heads": model.num_heads,
        "num_key_value_heads": kv_heads(model),
        "head_dim": model.model_dim // model.num_heads,
        "hidden_act": "silu",
        "max_position_embeddings": trained.config.train.seq_len,
        "rms_norm_eps": model.norm_eps,
        # The first is read by version 5 of transformers, the others by those before it.
        "rope_parameters": rope,
        "rope_theta": rope["rope_theta"],
        **({} if model.rope_scaling is None else {"rope_scaling": rope}),
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": model.share_emb,
        "pad_token_id": tokenizer.pad_id,
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "torch_dtype": options.dtype or model.param_dtype,
        "dtype": options.dtype or model.param_dtype,
    }


def _rope(model: ModelConfig) -> dict[str, Any]:
    rates = rates_of(model)
    if rates.scaling is None:
        return {"rope_type": "default", "rope_theta": rates.base}
    return {
        "rope_type": LLAMA3,
        "rope_theta": rates.base,
        "factor": rates.scaling,
        "low_freq_factor": LOW_FREQUENCY,
        "high_freq_factor": HIGH_FREQUENCY,
        "original_max_position_embeddings": rates.original_seq_len,
    }


def write(trained: TrainedModel, options: ExportOptions, folder: Path) -> None:
    """Write weights, configuration and tokenizer."""
    weights = weights_of(trained.params, options.dtype)
    named = {hf_name(path): weight for path, weight in weights.items()}
    write_tensors(folder / "model.safetensors", named, {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(describe(trained, options), indent=1) + "\n")
    write_tokenizer(trained.tokenizer, folder, longest=trained.config.train.seq_len)
