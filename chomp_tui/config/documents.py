"""Opens documents from a file, from a past run, or empty; saves them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from chomp.config import Config, InvalidConfig, flatten, load_config, parse_config, setting_at, settings
from chomp.errors import ChompError, ConfigError
from chomp.record.rundir import list_runs, open_run, write_whole
from chomp_tui.config.document import ConfigDocument
from chomp_tui.config.field_text import shown_value

NEW_TEXT = """\
# A new configuration. Every key that is not written here has its default.

model:
  backend: megalodon

data:
  backend: stdlib

train:
  steps: 1000

optim:
  lr: 3e-4
"""
NEW_NAME = "new configuration"


class ChangedOnDisk(ChompError):
    """Another program wrote the file since it was read."""


@dataclass(frozen=True)
class Base:
    """Something a document can start from.

    Attributes:
        path: a YAML file or a run directory.
        label: its name in a list.
        is_run: whether it is a run directory.
    """

    path: Path
    label: str
    is_run: bool = False


def blank() -> ConfigDocument:
    """A short new configuration that belongs to no file."""
    return ConfigDocument(NEW_TEXT, name=NEW_NAME)


def read_document(path: Path, overrides: Sequence[str] = ()) -> ConfigDocument:
    """The document of a YAML file, or of a past run's directory.

    Raises:
        ChompError: it cannot be read; a problem *in* it is a problem of the document.
    """
    return from_run(path, overrides=overrides) if path.is_dir() else from_file(path, overrides)


def from_file(path: Path, overrides: Sequence[str] = ()) -> ConfigDocument:
    """The document of a YAML file, or of a preset.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        raw = path.read_bytes()
        text = raw.decode()
    except (OSError, UnicodeDecodeError):
        # The engine names the problem, or knows a preset of this name.
        return ConfigDocument(load_config(path).text, name=str(path), overrides=overrides, is_copy=True)
    return ConfigDocument(text, name=str(path), path=path, overrides=overrides, disk=raw)


def from_run(path: Path, *, values: Mapping[str, Any] | None = None, overrides: Sequence[str] = ()) -> ConfigDocument:
    """A new configuration that equals a past run's.

    The run's own file, comments and all, with what the run was started with on top of it as
    overrides. Without a readable file its values are written out.

    Args:
        values: settings to start from in place of those the run was last started with.

    Raises:
        RunDirError: there is no run at `path`, or its settings cannot be read.
    """
    run = open_run(path)
    wanted = flatten({k: v for k, v in (values or run.load_resolved()).items() if k in Config.model_fields})
    wanted = {name: value for name, value in wanted.items() if setting_at(name) and name != "logging.run_dir"}
    name = f"copy of {run.name}"
    try:
        text = run.config_original.read_bytes().decode()
        base = flatten(parse_config(text, source=name).config)
    except (OSError, UnicodeDecodeError, InvalidConfig):
        return ConfigDocument(_written_out(wanted), name=name, overrides=overrides, is_copy=True)
    differing = [f"{key}={_override_value(value)}" for key, value in wanted.items() if base.get(key) != value]
    return ConfigDocument(text, name=name, overrides=[*differing, *overrides], is_copy=True)


def _override_value(value: Any) -> str:
    return value if isinstance(value, str) else shown_value(value)


def _written_out(values: Mapping[str, Any]) -> str:
    """YAML of all values that are no defaults."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        # An entry of a table is there also if all of its values are defaults.
        default = settings()[path].default if path in settings() else None
        if value != default:
            *outer, leaf = path.split(".")
            inner = tree
            for name in outer:
                inner = inner.setdefault(name, {})
            inner[leaf] = value
    # Floats as Python spells them are read back as they were; `$variables` in a text is no reference.
    text = yaml.safe_dump(json.loads(json.dumps(tree).replace("$variables", "$$variables")), sort_keys=False)
    return text if tree else NEW_TEXT


def save(document: ConfigDocument, path: Path, *, overwrite: bool = False) -> bytes:
    """Write the document's text whole; returns the bytes, for `ConfigDocument.saved`.

    Args:
        overwrite: also where the file is not as it was when it was read.

    Raises:
        ChangedOnDisk: another program wrote the file meanwhile.
        ConfigError: it cannot be written.
    """
    data = document.text.encode("utf-8", "replace")
    target = path.resolve()
    try:
        now = target.read_bytes() if target.exists() else None
        known = document.disk if path == document.path else None
        if now is not None and now != known and not overwrite:
            raise ChangedOnDisk(f"{path} was changed elsewhere since it was read here")
        mode = target.stat().st_mode if now is not None else None
        write_whole(target, data)
        if mode is not None:
            with contextlib.suppress(OSError):
                target.chmod(mode)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}; save under another name with F3") from error
    return data


def bases(configs: Path, runs: Path) -> list[Base]:
    """What there is to start from: the configurations, then all runs, newest first. May block."""
    found = []
    with contextlib.suppress(OSError):
        files = [path for path in configs.iterdir() if path.suffix in (".yaml", ".yml") and path.is_file()]
        found = [Base(path, path.name) for path in sorted(files)]
    with contextlib.suppress(OSError):
        found += [Base(path, path.name, is_run=True) for path in list_runs(runs)]
    return found
