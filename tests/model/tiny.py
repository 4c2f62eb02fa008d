"""Models, configurations and batches small enough to compile in seconds."""

from typing import Any

import equinox as eqx
import jax
import numpy as np

from chomp.config.derive import Derived, derive
from chomp.config.model import ModelConfig
from chomp.config.schema import Config
from chomp.data.batch import IGNORED, Batch
from chomp.model.base import LanguageModel, ModelInputs
from chomp.model.build import ModelDef, build_model
from chomp.optim.build import Optimizer, build_optimizer
from chomp.parallel.mesh import ONE_DEVICE, Placement

VOCAB = 61
SEQ = 24

MEGALODON: dict[str, Any] = {
    "backend": "megalodon", "vocab_size": VOCAB, "model_dim": 32, "num_layers": 1, "num_heads": 2, "z_dim": 16,
    "value_dim": 32, "ffn_hidden_dim": 48, "cema_ndim": 4, "chunk_size": 16, "norm_num_groups": 4,
    "compute_dtype": "float32", "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
DUMMY: dict[str, Any] = {
    "backend": "dummy", "vocab_size": VOCAB, "model_dim": 16, "compute_dtype": "float32",
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
LLAMA: dict[str, Any] = {
    "backend": "llama", "vocab_size": VOCAB, "model_dim": 32, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2,
    "ffn_hidden_dim": 48, "compute_dtype": "float32", "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
STREAMS: dict[str, Any] = {**LLAMA, "residual_streams": 2}
BASES = {"megalodon": MEGALODON, "llama": LLAMA, "streams": STREAMS, "dummy": DUMMY}


def model_config(backend: str = "megalodon", **changes: Any) -> ModelConfig:
    """The tiny model section of a backend, or of a Llama of several streams, with some fields changed."""
    return ModelConfig.model_validate({**BASES[backend], **changes})


def tiny_config(backend: str = "megalodon", *, model: dict[str, Any] | None = None, **sections: Any) -> Config:
    """A whole configuration around a tiny model, with AdamW; `sections` are those beside `model`."""
    train = {"seq_len": SEQ, "batch_size": 2, "steps": 20, **sections.pop("train", {})}
    optim = {"name": "adamw", **sections.pop("optim", {})}
    model = {**BASES[backend], **(model or {})}
    return Config.model_validate({"model": model, "train": train, "optim": optim, **sections})


def parts(config: Config, placement: Placement = ONE_DEVICE) -> tuple[ModelDef, Optimizer, Derived]:
    """What a step is made of."""
    derived = derive(config)
    model_def = build_model(config.model, deterministic=derived.deterministic, mtp_heads=config.objective.mtp_heads)
    optimizer = build_optimizer(
        config.optim, derived, model_def.abstract(), embedding_path=model_def.embedding_path, placement=placement
    )
    return model_def, optimizer, derived


def packed_batch(seed: int, accum: int = 1, rows: int = 2, seq: int = SEQ, vocab: int = VOCAB) -> Batch:
    """Rows of two to four documents, some padding at the end, some labels left out: every row another count."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(3, vocab, (accum * rows, seq)).astype(np.int32)
    segments = np.zeros_like(ids)
    for row in segments:
        cuts = np.sort(rng.choice(np.arange(2, seq - 1), size=int(rng.integers(2, 5)), replace=False))
        for number, (start, end) in enumerate(zip((0, *cuts[:-1]), cuts, strict=True), start=1):
            row[start:end] = number
    mask = segments > 0
    ids[~mask] = 0
    labels = np.where(mask & (rng.random(ids.shape) > 0.1), ids, IGNORED).astype(np.int32)
    return Batch(*(field.reshape(accum, rows, seq) for field in (ids, labels, mask, segments)))


def shapes_of(batch: Batch) -> Batch:
    """The batch's shapes and dtypes, as ahead-of-time compilation takes them."""
    return jax.tree.map(lambda field: jax.ShapeDtypeStruct(field.shape, field.dtype), batch)


@eqx.filter_jit
def token_losses(model: LanguageModel, *inputs: Any, key: Any = None) -> Any:
    """`LanguageModel.token_losses`, compiled."""
    return model.token_losses(ModelInputs(*inputs), key=key)


@eqx.filter_jit
def loss_sum(model: LanguageModel, *inputs: Any, key: Any = None) -> Any:
    """`LanguageModel.loss_sum`, compiled."""
    return model.loss_sum(ModelInputs(*inputs), key=key)


@eqx.filter_jit
def logits_of(model: LanguageModel, *rows: Any) -> Any:
    """`LanguageModel.logits`, compiled."""
    return model.logits(*rows)
