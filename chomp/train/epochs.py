"""`train.epochs`: steps that follow from the length of the text."""

from __future__ import annotations

import dataclasses
import logging

from chomp.config import check, derive
from chomp.config.fields import MAX_STEPS
from chomp.data.pipeline import DataPipeline
from chomp.errors import ConfigError
from chomp.train.blueprint import Blueprint

log = logging.getLogger("chomp.epochs")


def with_steps(planned: Blueprint, data: DataPipeline) -> Blueprint:
    """The blueprint with `train.steps` for the passes of `train.epochs`; the same one where that is not set.

    The last step may begin another pass. The steps replace the passes in the configuration, so that a resume may change
    them.

    Raises:
        ConfigError: there are too many steps, or warm-up and decay do not fit into them.
    """
    train = planned.config.train
    if train.epochs is None:
        return planned
    tokens = data.count_train_tokens()
    steps = max(1, -(-train.epochs * tokens // planned.derived.tokens_per_step))
    if steps > MAX_STEPS:
        raise ConfigError(f"train.epochs: {train.epochs} passes are {steps:,} steps, more than {MAX_STEPS:,}; lower it")
    config = planned.config.model_copy(
        update={"train": train.model_copy(update={"epochs": None, "steps": steps})},
    )
    log.info("train.epochs %d: %d tokens in a pass, %d steps", train.epochs, tokens, steps)
    check(config)
    return dataclasses.replace(planned, config=config, derived=derive(config))
