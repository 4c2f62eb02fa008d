"""A Llama as a GGUF file, for llama.cpp and programs built on it.

Layout, names and keys are those that llama.cpp's loader of the architecture `llama` expects (version 3 of the format);
the `gguf` package writes the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import gguf
import numpy as np

from chomp.config import Config
from chomp.config.model import ModelConfig
from chomp.data.byte_tokenizer import ByteTokenizer
from chomp.data.tokenizer import Tokenizer
from chomp.data.vocabulary import Parts
from chomp.export import llama
from chomp.export.options import ExportOptions
from chomp.export.tokenizer import tokenizer_json
from chomp.export.weights import Rows, Weight, weights_of
from chomp.generate.load import TrainedModel
from chomp.model.llama_block import kv_heads
from chomp.model.llama_names import renamed
from chomp.model.rotary import rates_of

WHAT = "one file for llama.cpp and programs built on it"
FILE = "model.gguf"
LAYER = {
    "attn_norm": "attn_norm",
    "attn.wq": "attn_q",
    "attn.wk": "attn_k",
    "attn.wv": "attn_v",
    "attn.wo": "attn_output",
    "ffn_norm": "ffn_norm",
    "ffn.gate": "ffn_gate",
    "ffn.up": "ffn_up",
    "ffn.down": "ffn_down",
}
WHOLE = {"embed.weight": "token_embd.weight", "norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
ROPE_FREQUENCIES = "rope_freqs.weight"
KINDS = {
    "float32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "float16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "bfloat16": (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}
Q8_BLOCK = 32


def unsupported_reason(config: Config, tokenizer: Tokenizer, options: ExportOptions) -> str | None:
    """Say why a model cannot be written so, or None."""
    if (why := llama.unsupported_reason(config, "gguf")) is not None:
        return why
    model = config.model
    for name, width in (("model_dim", model.model_dim), ("ffn_hidden_dim", model.ffn_hidden_dim)):
        if options.dtype == "q8_0" and width % Q8_BLOCK:
            return f"q8_0 keeps {Q8_BLOCK} weights together, which do not divide model.{name} ({width})"
    if not isinstance(tokenizer, ByteTokenizer) and not _encodes_like_gpt2(json.loads(tokenizer_json(tokenizer))):
        return "gguf is written for tokenizers that encode text as GPT-2's does (byte-level), and this one does not"
    return None


def _encodes_like_gpt2(parts: Parts) -> bool:
    """Whether llama.cpp's `gpt2` with the splitting of `gpt-2` gives the same ids."""
    before, model = parts["pre_tokenizer"] or {}, parts["model"]
    is_plain = before.get("type") == "ByteLevel" and before["use_regex"] and not before["add_prefix_space"]
    if not is_plain or parts["normalizer"] is not None or model["type"] != "BPE":
        return False
    if model["ignore_merges"] or model["continuing_subword_prefix"] or model["end_of_word_suffix"]:
        return False
    # llama.cpp looks for a token in text without regard to words or to the spaces around it.
    matched = (token for token in parts["added_tokens"] if not token["special"])
    return not any(token["single_word"] or token["lstrip"] or token["rstrip"] for token in matched)


def pair_order(rows: int, heads: int) -> np.ndarray:
    """The order of a query or key projection's rows for llama.cpp, which rotates neighbours; chomp rotates halves."""
    return np.arange(rows).reshape(heads, 2, -1).swapaxes(1, 2).reshape(-1)


def write(trained: TrainedModel, options: ExportOptions, folder: Path) -> None:
    """Write the file."""
    model = trained.config.model
    kind, file_type = KINDS[options.dtype or model.param_dtype]
    writer = gguf.GGUFWriter(folder / FILE, "llama")
    writer.add_name(trained.run.path.absolute().name)
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_shape(writer, trained)
    _add_tokenizer(writer, trained)
    if model.rope_scaling is not None:
        # llama.cpp divides the rate of each pair of channels by these.
        slowing = rates_of(model).slowing(model.model_dim // model.num_heads)
        writer.add_tensor(ROPE_FREQUENCIES, slowing.astype(np.float32))
    for path, weight in weights_of(trained.params, "float32").items():
        # llama.cpp expects vectors in float32.
        chosen = gguf.GGMLQuantizationType.F32 if len(weight.shape) == 1 else kind
        # The writer reads the tensor's size now and has it write itself later, as the package's lazy tensors do.
        tensor = cast(Any, quantised(weight, chosen, _rotary_heads(path, model)))
        writer.add_tensor(renamed(path, WHOLE, "blk.{}", LAYER), tensor, raw_dtype=chosen)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _rotary_heads(path: str, model: ModelConfig) -> int | None:
    """Heads of a projection whose output gets rotary positions; None for any other parameter."""
    if path.endswith("attn.wq.weight"):
        return model.num_heads
    return kv_heads(model) if path.endswith("attn.wk.weight") else None


def quantised(weight: Weight, kind: gguf.GGMLQuantizationType, heads: int | None) -> Weight:
    """A tensor as the bytes of llama.cpp's layout."""

    order = np.arange(weight.shape[0]) if heads is None else pair_order(weight.shape[0], heads)

    def rows(wanted: Rows) -> np.ndarray:
        return gguf.quants.quantize(weight.rows(order[wanted]), kind).view(np.uint8)

    return Weight(gguf.quant_shape_to_byte_shape(weight.shape, kind), np.dtype(np.uint8), rows)


def _add_shape(writer: Any, trained: TrainedModel) -> None:
    model = trained.config.model
    writer.add_vocab_size(model.vocab_size)
    writer.add_context_length(trained.config.train.seq_len)
    writer.add_embedding_length(model.model_dim)
    writer.add_block_count(model.num_layers)
    writer.add_feed_forward_length(model.ffn_hidden_dim)
    writer.add_head_count(model.num_heads)
    writer.add_head_count_kv(kv_heads(model))
    writer.add_layer_norm_rms_eps(model.norm_eps)
    writer.add_rope_freq_base(rates_of(model).base)
    writer.add_rope_dimension_count(model.model_dim // model.num_heads)


def _add_tokenizer(writer: Any, trained: TrainedModel) -> None:
    tokenizer, rows = trained.tokenizer, trained.config.model.vocab_size
    assert rows is not None
    parts = json.loads(tokenizer_json(tokenizer))
    tokens = [f"[PAD{index}]" for index in range(rows)]
    types = [gguf.TokenType.UNUSED] * rows
    for token, index in parts["model"]["vocab"].items():
        tokens[index], types[index] = token, gguf.TokenType.NORMAL
    for added in parts["added_tokens"]:
        kind = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        tokens[added["id"]], types[added["id"]] = added["content"], kind
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in parts["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    # The loader needs at least one merge. This one joins two bytes to a text that is no token, so it never applies.
    writer.add_token_merges(merges or ["Ā ā"])
    # Without them llama.cpp takes id 11.
    for name, index in tokenizer.special_ids().items():
        if index is not None:
            getattr(writer, f"add_{name}_token_id")(index)
    writer.add_add_bos_token(tokenizer.add_bos)
    writer.add_add_eos_token(False)
