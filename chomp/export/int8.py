"""Any model with its matrices in 8 bits: a folder of chomp's own, and its reader.

A matrix (a parameter of two axes whose name ends in `.weight`) is kept as int8 of the same name and shape, with one
float32 scale for each output channel (row) under `NAME.scale`; the weight is their product. The scale
is the row's largest magnitude / 127, so that an entry is off by half a scale at most. All else is kept as it is.
`config.json` says which parameters are kept so, of what model, and what it cost on the run's held-out text.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from chomp.analysis.scoring import open_heldout
from chomp.checkpoint.items import fill
from chomp.config import Config
from chomp.config.validate import config_from_dict
from chomp.data.tokenizer import Tokenizer
from chomp.data.tokenizers import load_tokenizer
from chomp.errors import CheckpointError, DataError
from chomp.export.options import ExportOptions
from chomp.export.safetensors import write_tensors
from chomp.export.weights import Rows, Weight, weights_of
from chomp.generate.load import TrainedModel
from chomp.model.build import ModelDef, build_model
from chomp.model.paths import named_leaves
from chomp.record.json_text import parse_json
from chomp.train.evaluate import EvalResult

WHAT = "matrices in 8 bits with a scale for each row: read by chomp.export.int8.read"
FORMAT, VERSION = "chomp-int8", 1
WEIGHTS, DESCRIPTION, TOKENIZER, SCALE = "model.safetensors", "config.json", "tokenizer", ".scale"
LARGEST = 127


@dataclass(frozen=True)
class Score:
    """Loss on held-out text; a text without bytes (special tokens alone) has no bits per byte."""

    nats_per_token: float
    bits_per_byte: float | None


@dataclass(frozen=True)
class Cost:
    """The cost of 8 bits: the loss of the checkpoint's parameters, and of those read back from the folder."""

    before: Score
    after: Score
    tokens: int
    bytes: int

    def in_words(self) -> str:
        """One line for people."""
        pairs = [("nats/token", self.before.nats_per_token, self.after.nats_per_token)]
        if self.before.bits_per_byte is not None and self.after.bits_per_byte is not None:
            pairs.append(("bits/byte", self.before.bits_per_byte, self.after.bits_per_byte))
        said = [f"{before:.5f} → {after:.5f} {unit} ({after - before:+.5f})" for unit, before, after in pairs]
        return f"held-out text, {self.tokens:,} tokens: {', '.join(said)}"


class Restored(NamedTuple):
    """A model from a folder; its parameters have the dtypes they were trained in."""

    model_def: ModelDef
    params: Any
    tokenizer: Tokenizer
    cost: Cost | None


def unsupported_reason(config: Config, tokenizer: Tokenizer, options: ExportOptions) -> str | None:
    """Say why a model cannot be written so, or None."""
    return None if options.dtype is None else f"int8 has no other dtype; remove --dtype {options.dtype}"


def write(trained: TrainedModel, options: ExportOptions, folder: Path) -> None:
    """Write weights, tokenizer and description, with the loss that 8 bits cost if `options.measure`.

    Raises:
        DataError: a parameter is not finite; or the loss is to be measured and the run has no held-out text.
    """
    weights = weights_of(trained.params)
    matrices = [path for path, weight in weights.items() if path.endswith(".weight") and len(weight.shape) == 2]
    tensors = dict(weights)
    for path in matrices:
        tensors[path], tensors[path + SCALE] = _in_8_bits(path, weights[path])
    described = {
        "format": FORMAT,
        "version": VERSION,
        "model": trained.config.model.model_dump(),
        "seq_len": trained.config.train.seq_len,
        "int8": matrices,
    }

    def write_all(cost: dict[str, Any] | None) -> None:
        (folder / DESCRIPTION).write_text(json.dumps({**described, "loss": cost}, indent=1) + "\n")

    write_tensors(folder / WEIGHTS, tensors, {"format": FORMAT})
    trained.tokenizer.save(folder / TOKENIZER)
    write_all(None)
    if options.measure:
        write_all(asdict(_measured(trained, folder)))


def _measured(trained: TrainedModel, folder: Path) -> Cost:
    with open_heldout(trained) as score:
        # Copied once, not for every batch.
        before, after = score(jax.device_put(trained.params, jax.devices()[0])), score(read(folder).params)
    return Cost(_score(before), _score(after), before.tokens, before.bytes)


def _score(result: EvalResult) -> Score:
    return Score(result.loss, result.bpb)


def _in_8_bits(path: str, weight: Weight) -> tuple[Weight, Weight]:
    """A matrix as int8, and its scales."""

    largest = [np.abs(weight.rows(block).astype(np.float32)).max(axis=1, initial=0) for block in weight.blocks()]
    # A row of zeros needs a scale too.
    scales = np.maximum(np.concatenate(largest) / LARGEST, np.finfo(np.float32).tiny)
    if not np.isfinite(scales).all():
        raise DataError(f"the parameter {path} holds numbers that are not finite, which int8 cannot express")

    def integers(wanted: Rows) -> np.ndarray:
        # In double precision the nearest integer is exactly that.
        return np.rint(weight.rows(wanted) / scales[wanted, None].astype(np.float64)).astype(np.int8)

    narrow = Weight(weight.shape, np.dtype(np.int8), integers)
    return narrow, Weight(scales.shape, scales.dtype, lambda wanted: scales[wanted])


def read(folder: Path) -> Restored:
    """The model that was written to `folder`.

    Raises:
        CheckpointError: no such export is there, or it is damaged.
    """
    described = _description(folder)
    model_def = build_model(config_from_dict({"model": described["model"]}).model)
    like = model_def.abstract()
    matrices = set(described["int8"])
    try:
        with safe_open(folder / WEIGHTS, framework="numpy") as file:
            leaves = {path: _leaf(file, path, leaf, path in matrices) for path, leaf in named_leaves(like)}
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{folder / WEIGHTS} cannot be read: {error}") from error
    return Restored(model_def, fill(like, leaves), load_tokenizer(folder / TOKENIZER), _cost(described["loss"]))


def read_cost(folder: Path) -> Cost | None:
    """The cost of 8 bits, measured when `folder` was written; None if it was not.

    Raises:
        CheckpointError: no such export is there, or it is damaged.
    """
    return _cost(_description(folder)["loss"])


def _leaf(file: Any, path: str, like: Any, is_int8: bool) -> Any:
    value = file.get_tensor(path)
    if is_int8:
        value = value.astype(np.float32) * file.get_tensor(path + SCALE)[:, None]
    if value.shape != like.shape:
        raise ValueError(f"{path} has shape {value.shape} instead of {like.shape}")
    return jnp.asarray(value, like.dtype)


def _description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    try:
        described: dict[str, Any] = parse_json(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}; give a folder of `--to int8`") from None
    except ValueError:
        raise CheckpointError(f"{path} is damaged") from None
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise CheckpointError(f"{folder} is no export of `--to int8`")
    if described.get("version") != VERSION:
        raise CheckpointError(
            f"{folder} has version {described.get('version')} of {FORMAT}; this chomp reads {VERSION}"
        )
    if not {"model", "int8", "loss"} <= described.keys():
        raise CheckpointError(f"{path} is damaged")
    return described


def _cost(loss: dict[str, Any] | None) -> Cost | None:
    if loss is None:
        return None
    return Cost(Score(**loss["before"]), Score(**loss["after"]), loss["tokens"], loss["bytes"])
