"""The `checkpoint`, `logging` and `debug` sections."""

from __future__ import annotations

from typing import Literal

from chomp.config.fields import MAX_STEPS, Section, section, setting


class CheckpointConfig(Section):
    """What is saved, how often, and what is kept."""

    enabled: bool = setting(True, "Save checkpoints; without them a run cannot be resumed.")
    save_every: int = setting(
        500, "Steps between saves; 0: only as the settings below say, and at the end.", unit="steps", ge=0
    )
    save_every_seconds: float = setting(
        900.0, "Also save when this time has passed since the last save; 0 never.", unit="seconds", ge=0
    )
    max_to_keep: int = setting(2, "Number of newest checkpoints to keep.", unit="checkpoints", ge=1)
    keep_every: int = setting(
        0, "Also save and permanently keep checkpoints at multiples of this; 0 none.", unit="steps", ge=0
    )
    keep_best: int = setting(
        0, "Also save each evaluated step, and keep this many with the lowest loss; 0 none.", unit="checkpoints", ge=0
    )
    async_save: bool = setting(True, "Write checkpoints in the background while training continues.")
    on_signal: Literal["save", "stop"] = setting(
        "save",
        "On SIGUSR1, SIGUSR2 or SIGXCPU, which clusters send before they end a job: `save` and continue, or save and "
        "`stop`.",
    )


class WandbConfig(Section):
    """Weights & Biases (install the `wandb` extra)."""

    enabled: bool = setting(False, "Send metrics rows to Weights & Biases.")
    project: str = setting("chomp", "Project name.")
    entity: str | None = setting(None, "User or team.")
    run_name: str | None = setting(None, "Name of the run; null uses the name of the run directory.")
    mode: Literal["online", "offline"] = setting("online", "`offline` writes files to sync later.")
    tags: list[str] = setting([], "Tags.")


class LoggingConfig(Section):
    """What the run writes, and where."""

    run_dir: str | None = setting(None, "Run directory; null creates `runs/CONFIG-DATE-TIME`.", min_length=1)
    metrics_file: str = setting("metrics.jsonl", "File of metrics rows inside the run directory.", min_length=1)
    log_file: str = setting("train.log", "File of log messages inside the run directory.", min_length=1)
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = setting(
        "INFO", "Least severe message written to the log file."
    )
    tensorboard: bool = setting(False, "Write TensorBoard files (install the `tensorboard` extra).")
    wandb: WandbConfig = section(WandbConfig, "Weights & Biases.")


class DebugConfig(Section):
    """What to do when a loss or gradient is not finite."""

    nonfinite: Literal["halt", "skip", "rollback"] = setting(
        "halt",
        "On a non-finite loss or gradient: `halt` stops before the update, `skip` skips the step, `rollback` goes to "
        "the last good checkpoint and continues with the next text.",
    )
    max_consecutive_nonfinite: int = setting(
        10, "Under `skip`, stop after this many non-finite steps in a row.", unit="steps", gt=0
    )
    rollback_lr_factor: float = setting(
        0.5, "Under `rollback`, the factor on the learning rate after a rollback.", gt=0, le=1
    )
    rollback_steps: int = setting(
        100,
        "Under `rollback`, steps after the non-finite step for which the factor applies.",
        unit="steps",
        gt=0,
        le=MAX_STEPS // 2,
    )
    max_consecutive_rollbacks: int = setting(
        3, "Under `rollback`, stop after this many rollbacks before the factor has ended.", gt=0
    )
