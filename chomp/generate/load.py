"""A trained model and its tokenizer from a run directory or one of its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from chomp.checkpoint.items import fill
from chomp.checkpoint.reading import load, load_to_host, with_sharding
from chomp.config import Config
from chomp.config.compat import NOT_SETTINGS
from chomp.config.model import ModelConfig
from chomp.config.validate import config_from_dict
from chomp.data.tokenizers import Tokenizer, load_tokenizer
from chomp.errors import CheckpointError, ConfigError
from chomp.model.build import ModelDef, build_model
from chomp.model.device import first_device
from chomp.model.paths import named_leaves
from chomp.record.manifest import CheckpointInfo, list_checkpoints, newest_good
from chomp.record.rundir import RunDir, open_run_around


class Described(NamedTuple):
    """What a checkpoint says of itself; its arrays are not read."""

    run: RunDir
    info: CheckpointInfo
    config: Config
    tokenizer: Tokenizer


@dataclass(frozen=True)
class TrainedModel:
    """Parameters of one checkpoint, or their moving average, with all that is needed to use them."""

    run: RunDir
    info: CheckpointInfo
    config: Config
    tokenizer: Tokenizer
    model_def: ModelDef
    params: Any
    is_average: bool = False


def find_checkpoint(path: Path) -> tuple[RunDir, CheckpointInfo]:
    """The newest good checkpoint of a run, or the one at `path` itself.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    run, candidates = _candidates(path)
    info, refused = newest_good(candidates)
    if info is None:
        problems = " | ".join(f"step {refusal.step}: {refusal.reason}" for refusal in refused)
        raise CheckpointError(f"{path}: no good checkpoint: {problems}")
    return run, info


def describe(path: Path) -> Described:
    """What the newest checkpoint of a run, or the one at `path` itself, is of; only its description is read.

    Raises:
        CheckpointError: there is none whose description can be read.
    """
    return described(*find_described(path))


def find_described(path: Path) -> tuple[RunDir, CheckpointInfo]:
    """The newest checkpoint of a run, or the one at `path` itself, that has a description.

    Raises:
        CheckpointError: there is none whose description can be read.
    """
    run, candidates = _candidates(path)
    newest = next((info for info in reversed(candidates) if "identity" in info.meta), None)
    if newest is None:
        raise CheckpointError(f"{path}: no checkpoint has a description that can be read")
    return run, newest


def _candidates(path: Path) -> tuple[RunDir, Sequence[CheckpointInfo]]:
    """The run that `path` is or lies in, and the checkpoints that it may mean, oldest first."""
    run = open_run_around(path)
    found: Sequence[CheckpointInfo] = list_checkpoints(run.checkpoints)
    if run.path != path:
        found = [info for info in found if info.step == int(path.name)]
    if not found:
        raise CheckpointError(f"{path} has no checkpoint")
    return run, found


def described(run: RunDir, info: CheckpointInfo) -> Described:
    """What a checkpoint of a run is of.

    Raises:
        CheckpointError: the run's tokenizer is not that of the checkpoint.
    """
    values = {k: v for k, v in info.meta["identity"].items() if k not in ("derived", *NOT_SETTINGS)}
    config = config_from_dict(values)
    tokenizer = load_tokenizer(run.tokenizer)
    if tokenizer.digest() != info.meta["identity"]["tokenizer_digest"]:
        raise CheckpointError(f"{run.tokenizer} is not the tokenizer that checkpoint {info.step} was trained with")
    return Described(run, info, config, tokenizer)


def load_trained(
    path: Path, *, on_host: bool = False, max_context: int | None = None, average: bool = False
) -> TrainedModel:
    """Load parameters only; the optimizer's state is not read.

    Args:
        path: a run, whose newest good checkpoint is taken, or a checkpoint.
        on_host: as numpy arrays, read with little memory beside them; otherwise on the first device, sooner.
        max_context: tokens that a Llama sees at most, if that is less than it was trained with.
        average: take the moving average of the parameters, in their dtypes.

    Raises:
        CheckpointError: there is no good checkpoint at `path`, or it has no average.
        ConfigError: `max_context` is given and the model is no Llama.
    """
    run, info, config, tokenizer = described(*find_checkpoint(path))
    device = first_device()
    model = config.model if max_context is None else _with_window(config.model, max_context)
    model_def = build_model(model, deterministic=True, backend=device.platform)
    like = model_def.abstract()
    item, stored = "params", dict(named_leaves(like))
    if average:
        item, stored = "ema", {name: jax.ShapeDtypeStruct(leaf.shape, jnp.float32) for name, leaf in stored.items()}
        require_average(info)
    if on_host:
        params = load_to_host(info, item, stored)
    else:
        sharding = jax.sharding.SingleDeviceSharding(device)
        items, _ = load(info, {item: with_sharding(stored, sharding)}, verified=True)
        params = items[item]
    tree = fill(like, params)
    if average:
        tree = jax.tree.map(lambda leaf, wanted: leaf.astype(wanted.dtype), tree, like)
    return TrainedModel(run, info, config, tokenizer, model_def, tree, average)


def require_average(info: CheckpointInfo) -> None:
    """Refuse a checkpoint without a moving average of the parameters.

    Raises:
        CheckpointError: it has none.
    """
    if not (info.path / "ema").is_dir():
        raise CheckpointError(
            f"checkpoint {info.path} has no moving average of the parameters: it was trained with optim.ema.decay: 0, "
            "or is itself an average; leave --ema out, or average checkpoints with `chomp average`"
        )


def _with_window(model: ModelConfig, tokens: int) -> ModelConfig:
    """The same weights with attention over at most `tokens` tokens."""
    if model.backend != "llama":
        raise ConfigError(f"--max-context limits the attention of a Llama, and this model is a {model.backend}")
    # The flash kernel has no window.
    return model.model_copy(
        update={"attention_window": min(tokens, model.attention_window or tokens), "attention": "auto"}
    )
