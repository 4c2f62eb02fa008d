"""The `checkpoint`, `logging` and `debug` sections."""

from __future__ import annotations

from typing import Literal

from chomp.config.fields import MAX_STEPS, Condition, Section, section, setting


class CheckpointConfig(Section):
    """What is saved, how often, and what is kept."""

    enabled: bool = setting(True, "Save checkpoints; without them a run cannot be resumed.")
    save_every: int = setting(
        500,
        "Steps between saves; 0: only as the settings below say, and at the end.",
        unit="steps",
        ge=0,
        when={"checkpoint.enabled": [True]},
    )
    save_every_seconds: float = setting(
        900.0,
        "Also save when this time has passed since the last save; 0 never.",
        unit="seconds",
        ge=0,
        when={"checkpoint.enabled": [True]},
    )
    max_to_keep: int = setting(
        2, "Number of newest checkpoints to keep.", unit="checkpoints", ge=1, when={"checkpoint.enabled": [True]}
    )
    keep_every: int = setting(
        0,
        "Also save and permanently keep checkpoints at multiples of this; 0 none.",
        unit="steps",
        ge=0,
        when={"checkpoint.enabled": [True]},
    )
    keep_best: int = setting(
        0,
        "Also save each evaluated step, and keep this many with the lowest loss; 0 none.",
        unit="checkpoints",
        ge=0,
        when={"checkpoint.enabled": [True]},
    )
    async_save: bool = setting(
        True, "Write checkpoints in the background while training continues.", when={"checkpoint.enabled": [True]}
    )
    on_signal: Literal["save", "stop"] = setting(
        "save",
        "On SIGUSR1, SIGUSR2 or SIGXCPU, which clusters send before they end a job: `save` and continue, or save and "
        "`stop`.",
    )


class WandbConfig(Section):
    """Weights & Biases (install the `wandb` extra)."""

    enabled: bool = setting(False, "Send metrics rows to Weights & Biases.")
    project: str = setting("chomp", "Project name.", when={"logging.wandb.enabled": [True]})
    entity: str | None = setting(None, "User or team.", unset="default", when={"logging.wandb.enabled": [True]})
    run_name: str | None = setting(
        None,
        "Name of the run; null uses the name of the run directory.",
        unset="auto",
        when={"logging.wandb.enabled": [True]},
    )
    mode: Literal["online", "offline"] = setting(
        "online", "`offline` writes files to sync later.", when={"logging.wandb.enabled": [True]}
    )
    tags: list[str] = setting([], "Tags.", when={"logging.wandb.enabled": [True]})


class LoggingConfig(Section):
    """What the run writes, and where."""

    run_dir: str | None = setting(
        None, "Run directory; null creates `runs/CONFIG-DATE-TIME`.", min_length=1, unset="auto"
    )
    metrics_file: str = setting("metrics.jsonl", "File of metrics rows inside the run directory.", min_length=1)
    log_file: str = setting("train.log", "File of log messages inside the run directory.", min_length=1)
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = setting(
        "INFO", "Least severe message written to the log file."
    )
    tensorboard: bool = setting(False, "Write TensorBoard files (install the `tensorboard` extra).")
    wandb: WandbConfig = section(WandbConfig, "Weights & Biases.")


def _goes_back(*names: str) -> list[Condition]:
    """The run goes back to a checkpoint by one of these policies."""
    return [{f"debug.{name}": ["rollback"]} for name in names]


class DebugConfig(Section):
    """What to do when a loss or gradient is not finite, or far above those before it."""

    nonfinite: Literal["halt", "skip", "rollback"] = setting(
        "halt",
        "On a non-finite loss or gradient: `halt` stops before the update, `skip` skips the step, `rollback` goes to "
        "the last good checkpoint and continues with the next text.",
    )
    max_consecutive_nonfinite: int = setting(
        10,
        "Under `skip`, stop after this many non-finite steps in a row.",
        unit="steps",
        gt=0,
        when={"debug.nonfinite": ["skip"]},
    )
    rollback_lr_factor: float = setting(
        0.5,
        "Under `rollback`, the factor on the learning rate after a rollback.",
        gt=0,
        le=1,
        when=_goes_back("nonfinite", "spikes"),
    )
    rollback_steps: int = setting(
        100,
        "Under `rollback`, steps after the bad step for which the factor applies.",
        unit="steps",
        gt=0,
        le=MAX_STEPS // 2,
        when=_goes_back("nonfinite", "spikes"),
    )
    max_consecutive_rollbacks: int = setting(
        3,
        "Under `rollback`, stop after this many rollbacks before the factor has ended.",
        gt=0,
        when=_goes_back("nonfinite", "spikes"),
    )
    spikes: Literal["warn", "skip", "rollback"] = setting(
        "warn",
        "On a spike of the loss or the gradient norm: `warn` reports it, `skip` skips the step before its update, "
        "`rollback` goes to the last good checkpoint and continues with the next text.",
    )
    spike_deviations: float = setting(
        6.0,
        "A loss or gradient norm is a spike if it lies this many robust standard deviations above the median of the "
        "last 128.",
        gt=0,
    )
    max_consecutive_spikes: int = setting(
        10,
        "Under `spikes: skip`, stop after this many skipped steps in a row.",
        unit="steps",
        gt=0,
        when={"debug.spikes": ["skip"]},
    )
