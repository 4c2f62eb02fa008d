"""Loads the configuration that a command names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from chomp.errors import ConfigError, command_name
from chomp.record.rundir import open_run

if TYPE_CHECKING:
    from chomp.config.load import LoadedConfig


def load_for_training(path: Path | None, overrides: Sequence[str], run_dir: Path | None) -> LoadedConfig:
    """The named file; without one, the configuration with which the run in `run_dir` was last started.

    Raises:
        ConfigError: there is neither, or the configuration is wrong.
    """
    from chomp.config.load import load_config

    if path is not None:
        return load_config(path, overrides)
    if run_dir is None:
        raise ConfigError(
            f"no configuration given; pass a YAML file, e.g. {command_name()} train configs/quickstart.yaml"
        )
    return load_from_run(run_dir, overrides)


def load_from_run(path: Path, overrides: Sequence[str] = ()) -> LoadedConfig:
    """The configuration of a run directory, with overrides on top.

    Raises:
        RunDirError: `path` is no run, or its configuration file is damaged.
    """
    from chomp.config.load import parse_resolved

    run = open_run(path)
    return parse_resolved(run.load_resolved(), source=str(run.config_resolved), overrides=overrides)
