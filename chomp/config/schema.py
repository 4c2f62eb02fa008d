"""The whole configuration as one frozen object."""

from __future__ import annotations

from chomp.config.data import DataConfig
from chomp.config.evaluation import EvaluationConfig
from chomp.config.fields import Section, section
from chomp.config.model import ModelConfig
from chomp.config.notify import NotifyConfig
from chomp.config.optim import OptimConfig
from chomp.config.parallel import ParallelConfig
from chomp.config.run import CheckpointConfig, DebugConfig, LoggingConfig
from chomp.config.train import ObjectiveConfig, TrainConfig


class Config(Section):
    """Everything a user may choose about a run."""

    model: ModelConfig = section(ModelConfig, "The network.")
    data: DataConfig = section(DataConfig, "Text, tokenizer, packing.")
    train: TrainConfig = section(TrainConfig, "Length, batch, cadences.")
    objective: ObjectiveConfig = section(ObjectiveConfig, "What is minimised.")
    evaluation: EvaluationConfig = section(EvaluationConfig, "Evaluation sets and tasks.")
    optim: OptimConfig = section(OptimConfig, "Update rule and schedule.")
    parallel: ParallelConfig = section(ParallelConfig, "Devices and processes.")
    checkpoint: CheckpointConfig = section(CheckpointConfig, "Saving and keeping.")
    logging: LoggingConfig = section(LoggingConfig, "Files and trackers.")
    debug: DebugConfig = section(DebugConfig, "Guards.")
    notify: NotifyConfig = section(NotifyConfig, "Notices to a command and to webhooks.")
