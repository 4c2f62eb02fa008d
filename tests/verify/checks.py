"""What both outside readers are asked: the same Llama, the same text."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from chomp.export.formats import export
from chomp.export.options import ExportOptions
from chomp.generate.load import TrainedModel
from tests.export.test_export import LLAMA, TEXT, trained

NEW = 24


class Expected(NamedTuple):
    """What chomp's own forward pass says of `ids`, and how it goes on greedily."""

    ids: np.ndarray
    logits: np.ndarray
    greedy: np.ndarray


def exported(
    folder: Path, name: str, options: ExportOptions, *, kind: str, tied: bool, **changes: object
) -> tuple[TrainedModel, Expected]:
    """Export a model below `folder` and say what is expected of it."""
    model = trained(folder, {**LLAMA, "share_emb": tied, "ffn_hidden_dim": 64, **changes}, kind)
    export(model, name, folder / "out", options)
    ids = np.asarray(model.tokenizer.encode(TEXT), np.int32)
    network = model.model_def.combine(model.params)
    logits = np.asarray(network.logits(jnp.asarray(ids[None])))[0]
    greedy = np.asarray(network.generate(jnp.asarray(ids[None]), NEW, key=jax.random.key(0), temperature=0.0))[0]
    return model, Expected(ids, logits, greedy)
