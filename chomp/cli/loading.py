"""Loads the configuration that a command names."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chomp.errors import ConfigError, RunDirError, command_name
from chomp.record.rundir import RunDir, open_run

if TYPE_CHECKING:
    from chomp.config.load import LoadedConfig
    from chomp.config.pretrained import Find


def load_for_training(
    path: Path | None, overrides: Sequence[str], run_dir: Path | None, *, resuming: bool = False
) -> LoadedConfig:
    """The named file; without one, the configuration with which the run in `run_dir` was last started.

    Args:
        resuming: settings that the file leaves to `model.init_from` are taken from the run.

    Raises:
        ConfigError: there is neither, or the configuration is wrong.
    """
    from chomp.config.load import load_config
    from chomp.config.pretrained import named_weights

    if path is not None:
        return load_config(path, overrides, weights=_settings_of(run_dir) if resuming else named_weights)
    if run_dir is None:
        raise ConfigError(
            f"no configuration given; pass a YAML file, e.g. {command_name()} train configs/quickstart.yaml"
        )
    return load_from_run(run_dir, overrides)


def _settings_of(run_dir: Path | None) -> Find:
    """What a resume takes in the place of `model.init_from`, which may be gone: the settings of the run.

    A run whose settings cannot be read takes those of the weights again.
    """
    from chomp.config.pretrained import Pretrained, named_weights, resumed

    def find(values: Mapping[str, Any]) -> Pretrained | None:
        model, logging = values.get("model"), values.get("logging")
        if not isinstance(model, Mapping) or model.get("init_from") is None:
            return None
        folder = run_dir or (logging.get("run_dir") if isinstance(logging, Mapping) else None)
        if isinstance(folder, str | Path):
            path = Path(folder).expanduser()
            with contextlib.suppress(RunDirError):
                return resumed(path, RunDir(path).load_resolved()) or named_weights(values)
        return named_weights(values)

    return find


def load_from_run(path: Path, overrides: Sequence[str] = ()) -> LoadedConfig:
    """The configuration of a run directory, with overrides on top.

    Raises:
        RunDirError: `path` is no run, or its configuration file is damaged.
    """
    from chomp.config.load import parse_resolved

    run = open_run(path)
    return parse_resolved(run.load_resolved(), source=str(run.config_resolved), overrides=overrides)
