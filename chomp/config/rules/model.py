"""Rules of the `model` section, and between it and the tokenizer."""

from __future__ import annotations

from collections.abc import Iterator

from chomp.config.presets import MODEL_PRESETS
from chomp.config.problems import Problem
from chomp.config.rules.arithmetic import byte_ids, has_dropout, round_up, vocab_size
from chomp.config.schema import Config

FLASH_WIDTHS = (16, 128)
"""The narrowest and the widest head of `model.attention: flash`."""


def _dimensions(config: Config) -> Iterator[Problem]:
    model = config.model
    if model.backend != "megalodon":
        return
    for name, width, divisor_name, divisor in (
        ("z_dim", model.z_dim, "num_heads", model.num_heads),
        ("value_dim", model.value_dim, "num_heads", model.num_heads),
        ("model_dim", model.model_dim, "norm_num_groups", model.norm_num_groups),
    ):
        if width % divisor:
            yield Problem(
                f"model.{name}",
                f"{width} is not divisible by model.{divisor_name} = {divisor}; {_nearest(width, divisor)}",
                also=(f"model.{divisor_name}",),
            )
    if model.norm_num_groups == model.model_dim:
        yield Problem(
            "model.norm_num_groups",
            f"{model.model_dim} groups of model.model_dim = {model.model_dim} channels have one channel each, and "
            f"TimestepNorm needs at least two; use {model.model_dim // 2} or a smaller divisor",
            also=("model.model_dim",),
        )
    head = model.z_dim // model.num_heads
    if model.z_dim % model.num_heads == 0 and head % 2:
        yield Problem(
            "model.z_dim",
            f"each of the {model.num_heads} heads gets {head} of its {model.z_dim} channels, and rotary "
            f"positions need an even number; {_nearest(model.z_dim, 2 * model.num_heads)}",
            also=("model.num_heads",),
        )


def _llama(config: Config) -> Iterator[Problem]:
    model = config.model
    if model.backend != "llama":
        return
    heads, kv_heads = model.num_heads, model.num_kv_heads
    if model.model_dim % (2 * heads):
        yield Problem(
            "model.model_dim",
            f"{model.model_dim} does not give each of model.num_heads = {heads} heads an even number of channels, "
            f"which rotary positions need; {_nearest(model.model_dim, 2 * heads)}",
            also=("model.num_heads",),
        )
    if kv_heads is not None and heads % kv_heads:
        divisors = ", ".join(str(n) for n in range(1, heads + 1) if heads % n == 0)
        yield Problem(
            "model.num_kv_heads",
            f"{kv_heads} does not divide model.num_heads = {heads}; {divisors} do",
            also=("model.num_heads",),
        )
    for name in ("attention_dropout", "hidden_dropout"):
        if getattr(model, name) > 0:
            yield Problem(f"model.{name}", "a Llama has dropout only on block outputs (model.dropout); set this to 0")
    if model.output_size > 0:
        yield Problem("model.output_size", "a Llama's output head has the vocabulary's size; set -1")


def _streams(config: Config) -> Iterator[Problem]:
    model = config.model
    if model.backend != "llama" and model.residual_streams > 1:
        yield Problem(
            "model.residual_streams",
            f"needs model.backend: llama, but it is {model.backend}; set 1, or change model.backend",
            also=("model.backend",),
        )


def _attention(config: Config) -> Iterator[Problem]:
    model = config.model
    if model.attention != "auto" and model.backend != "llama":
        yield Problem(
            "model.attention",
            f"needs model.backend: llama, but it is {model.backend}; set auto, or change model.backend",
            also=("model.backend",),
        )
    if model.attention != "flash" or model.backend != "llama":
        return
    if model.attention_window is not None:
        yield Problem(
            "model.attention",
            "the flash kernel has no sliding window; set auto or xla, or remove model.attention_window",
            also=("model.attention_window",),
        )
    least, most = FLASH_WIDTHS
    width = model.model_dim // model.num_heads
    if not least <= width <= most:
        yield Problem(
            "model.attention",
            f"the flash kernel takes heads of {least} to {most} channels, and model.model_dim / model.num_heads is "
            f"{width}; set auto or xla, or change model.num_heads",
            also=("model.num_heads", "model.model_dim"),
        )


def _nearest(number: int, divisor: int) -> str:
    below, above = number // divisor * divisor, round_up(number, divisor)
    return f"{below} and {above} are" if below else f"{above} is"


def _moving_average(config: Config) -> Iterator[Problem]:
    cema, isolated = config.model.cema, config.data.isolate_documents
    if config.model.backend != "megalodon":
        return
    if cema == "fft" and isolated:
        yield Problem(
            "model.cema",
            "fft convolves a whole row and cannot keep documents apart; set auto, blockwise, associative or "
            "sequential, or data.isolate_documents: false",
            also=("data.isolate_documents",),
        )
    if cema in ("associative", "sequential") and not isolated:
        yield Problem(
            "model.cema",
            f"{cema} is a path for isolated documents, and data.isolate_documents is false; set auto, blockwise or fft",
            also=("data.isolate_documents",),
        )


def _preset(config: Config) -> Iterator[Problem]:
    preset, backend = config.model.preset, config.model.backend
    if preset is not None and MODEL_PRESETS[preset]["backend"] != backend:
        own = MODEL_PRESETS[preset]["backend"]
        yield Problem(
            "model.preset",
            f"{preset} is a {own.title()} shape and model.backend is {backend}; remove it or set model.backend: {own}",
            also=("model.backend",),
        )


def _weights(config: Config) -> Iterator[Problem]:
    if config.model.init_vocab == "extend" and config.model.init_from is None:
        yield Problem(
            "model.init_vocab",
            "extend adds rows to the weights of model.init_from, which is not set; write model.init_from, or set exact",
            also=("model.init_from",),
        )


def _vocabulary(config: Config) -> Iterator[Problem]:
    model, tokenizer = config.model, config.data.tokenizer
    size = vocab_size(config)
    if tokenizer.kind == "byte" and size is not None and size < byte_ids(config):
        advice = "remove it, or set" if model.init_from is None else "write model.init_vocab: extend, or set"
        yield Problem(
            "model.vocab_size",
            f"{size} rows cannot hold the byte tokenizer's {byte_ids(config)} ids "
            f"({tokenizer.byte_offset} special and 256 bytes); {advice} at least {byte_ids(config)}",
            also=("data.tokenizer.byte_offset",),
        )
    if size is None:
        return
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        token = getattr(model, name)
        if token is not None and token >= size:
            yield Problem(
                f"model.{name}",
                f"{token} is outside the vocabulary of {size}; use 0 to {size - 1}, or null to take the tokenizer's",
                also=("model.vocab_size",),
            )


def _output(config: Config) -> Iterator[Problem]:
    model, size = config.model, vocab_size(config)
    if model.output_size == 0:
        yield Problem("model.output_size", "the output head needs at least one row; set -1 for the vocabulary's size")
    elif model.output_size > 0 and model.share_emb and model.output_size != size:
        known = f"{size}" if size is not None else "the tokenizer's"
        yield Problem(
            "model.output_size",
            f"a head tied to the embedding (model.share_emb) has its size, {known}, and this is "
            f"{model.output_size}; set -1",
            also=("model.share_emb",),
        )
    elif model.output_size > 0 and size is not None and model.output_size < size:
        yield Problem(
            "model.output_size",
            f"{model.output_size} outputs cannot predict the {size} ids of the vocabulary; set -1",
            also=("model.vocab_size",),
        )


def _dropout_note(config: Config) -> Iterator[str]:
    if config.train.deterministic and has_dropout(config):
        yield "train.deterministic is true: the dropout rates in model are not used"


def _chunk_note(config: Config) -> Iterator[str]:
    model, length = config.model, config.train.seq_len
    if model.backend != "megalodon" or model.attention_window is not None:
        return
    if length > model.chunk_size and length % model.chunk_size:
        padded = round_up(length, model.chunk_size)
        yield (
            f"train.seq_len {length} is not a multiple of model.chunk_size {model.chunk_size}: attention pads each row "
            f"to {padded}, which wastes the difference"
        )


RULES = (_dimensions, _llama, _streams, _attention, _moving_average, _preset, _weights, _vocabulary, _output)
NOTES = (_dropout_note, _chunk_note)
