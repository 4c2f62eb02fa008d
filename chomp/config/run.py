"""The `checkpoint`, `logging` and `debug` sections."""

from __future__ import annotations

from typing import Literal

from chomp.config.fields import MAX_STEPS, Section, section, setting


class CheckpointConfig(Section):
    """What is saved, how often, and what is kept."""

    enabled: bool = setting(True, "Save checkpoints; false keeps nothing that a run could resume from.")
    save_every: int = setting(500, "Save this often; 0 only by the clock and at the end.", unit="steps", ge=0)
    save_every_seconds: float = setting(
        900.0, "Also save when this long has passed since the last save; 0 never.", unit="seconds", ge=0
    )
    max_to_keep: int = setting(2, "Newest checkpoints kept.", unit="checkpoints", ge=1)
    keep_every: int = setting(
        0, "Also keep every checkpoint whose step is a multiple of this for good; 0 none.", unit="steps", ge=0
    )
    keep_best: int = setting(0, "Also keep this many with the lowest evaluation loss.", unit="checkpoints", ge=0)
    async_save: bool = setting(True, "Write in the background while training goes on.")


class WandbConfig(Section):
    """Weights & Biases (install the `wandb` extra)."""

    enabled: bool = setting(False, "Send metrics rows to Weights & Biases.")
    project: str = setting("chomp", "Project.")
    entity: str | None = setting(None, "User or team.")
    run_name: str | None = setting(None, "Name; null uses the run directory's.")
    mode: Literal["online", "offline"] = setting("online", "`offline` writes files to sync later.")
    tags: list[str] = setting([], "Tags.")


class LoggingConfig(Section):
    """Where the run writes what happened."""

    run_dir: str | None = setting(None, "Run directory; null makes `runs/CONFIG-DATE-TIME`.")
    metrics_file: str = setting("metrics.jsonl", "File of metrics rows inside the run directory.", min_length=1)
    log_file: str = setting("train.log", "File of log messages inside the run directory.", min_length=1)
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = setting(
        "INFO", "Least severe message written to the log file."
    )
    tensorboard: bool = setting(False, "Write TensorBoard files (install the `tensorboard` extra).")
    wandb: WandbConfig = section(WandbConfig, "Weights & Biases.")


class DebugConfig(Section):
    """What to do when numbers go wrong."""

    nonfinite: Literal["halt", "skip", "rollback"] = setting(
        "halt",
        "A loss or gradient that is not finite: stop before it touches the parameters, skip that step, or go back to "
        "the last good checkpoint and on with the next text.",
    )
    max_consecutive_nonfinite: int = setting(10, "Under `skip`, stop after this many in a row.", unit="steps", gt=0)
    rollback_lr_factor: float = setting(
        0.5, "Under `rollback`, what the learning rate is multiplied by for a while.", gt=0, le=1
    )
    rollback_steps: int = setting(
        100, "For so long beyond the step that was not finite.", unit="steps", gt=0, le=MAX_STEPS // 2
    )
    max_consecutive_rollbacks: int = setting(
        3, "Stop instead of going back once more in a row: before the learning rate is whole again.", gt=0
    )
