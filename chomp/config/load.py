"""A user's file to a checked `Config`: YAML, overrides, variables, preset, validation, rules."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any, Literal

from chomp.config.derive import check
from chomp.config.overrides import BadOverride, parse_override, shown_override
from chomp.config.presets import MODEL_PRESETS, expand_preset, preset_named, preset_text
from chomp.config.pretrained import Find, fill, named_weights
from chomp.config.problems import InvalidConfig, Problem
from chomp.config.schema import Config
from chomp.config.spec import flatten, settings
from chomp.config.suggest import nearest
from chomp.config.validate import build_config
from chomp.config.variables import expand
from chomp.config.yaml_reader import Path, YamlDocument, dotted, read_yaml
from chomp.errors import ConfigError

Origin = Literal["default", "preset", "weights", "file", "override"]


@dataclass(frozen=True)
class LoadedConfig:
    """A checked configuration and where it came from.

    Attributes:
        config: all values.
        text: the file as it was written; its UTF-8 bytes are the file's.
        source: the file's path, or the name given for the text.
        overrides: the `KEY=VALUE` texts, in order.
        origins: for each dotted setting, who set it.
        lines: for each dotted key of the file, its line from 1.
    """

    config: Config
    text: str
    source: str
    overrides: tuple[str, ...]
    origins: Mapping[str, Origin] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)


def load_config(path: FilePath, overrides: Sequence[str] = (), *, weights: Find = named_weights) -> LoadedConfig:
    """Read and check a configuration file.

    Args:
        path: the YAML file, or the name of a preset where there is no such file.
        overrides: `KEY=VALUE` texts; the last one for a key wins.
        weights: gives those that fill the settings which are not written.

    Raises:
        ConfigError: the file cannot be read; `InvalidConfig` lists what is wrong in it.
    """
    return parse_config(read_text(FilePath(path)), source=str(path), overrides=overrides, weights=weights)


def parse_config(
    text: str, *, source: str, overrides: Sequence[str] = (), weights: Find = named_weights
) -> LoadedConfig:
    """Like `load_config`, for text that is already in memory.

    Raises:
        InvalidConfig: with every problem found, each with its line or its override.
    """
    reading = _Reading(source, read_yaml(text, source))
    reading.apply(overrides)
    values = reading.expand()
    written = {path for path in settings() if _has(values, path)}
    values = reading.fill(values, weights)
    weighed = {path for path in settings() if _has(values, path)}
    values = expand_preset(values)
    config = reading.build(values)
    known: tuple[tuple[Origin, set[str]], ...] = (("file", written), ("weights", weighed))
    origins = {path: reading.origin(path, known, _has(values, path)) for path in settings()}
    named = [path for path in flatten(config) if path not in settings()]
    present = {path for path in named if _has(values, path)}
    origins |= {path: reading.origin(path, (("file", present),), False) for path in named}
    lines = {dotted(key): line for key, line in reading.document.lines.items()}
    return LoadedConfig(config, text, source, tuple(overrides), origins, lines)


def parse_resolved(values: Mapping[str, Any], *, source: str, overrides: Sequence[str] = ()) -> LoadedConfig:
    """Read a dump of a `Config` again, with overrides on top; its texts are taken as they are, `$variables` included.

    It has all settings already: the weights of its `model.init_from` are not looked at.

    Raises:
        InvalidConfig: with every problem found.
    """
    chosen = {name: value for name, value in values.items() if name in Config.model_fields}
    text = json.dumps(chosen, indent=2, ensure_ascii=False).replace("$variables", "$$variables")
    return parse_config(text, source=source, overrides=overrides, weights=lambda values: None)


def read_text(path: FilePath) -> str:
    """The text of a configuration file; a preset's name is one that sets nothing else.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        preset = preset_named(str(path))
        if preset is not None:
            return preset_text(preset)
        near = _similar_files(path) or preset_named(path.stem) or nearest(path.name, tuple(MODEL_PRESETS), cutoff=0.75)
        hint = f"; did you mean {near}?" if near else "; check the path"
        raise ConfigError(f"{path}: the configuration file does not exist{hint}") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder; name a configuration file in it") from None
    except OSError as error:
        raise ConfigError(f"{path}: the configuration file cannot be read: {error.strerror}") from None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        raise ConfigError(
            f"{path}:{line}:{column}: the byte 0x{raw[error.start]:02x} at offset {error.start} is not valid UTF-8; "
            "save the file as UTF-8"
        ) from None


def _similar_files(path: FilePath) -> str | None:
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix in (".yaml", ".yml")]
    except OSError:
        return None
    found = nearest(path.name, names)
    return str(path.with_name(found)) if found else None


@dataclass
class _Reading:
    """One pass over a file; problems gather until validation so that all are reported at once."""

    source: str
    document: YamlDocument
    problems: list[Problem] = field(default_factory=list)
    set_by: dict[str, str] = field(default_factory=dict)

    def apply(self, overrides: Sequence[str]) -> None:
        """Write the overrides into the document's values, last one last."""
        for text in overrides:
            try:
                path, value = parse_override(text)
            except BadOverride as error:
                self.problems.append(Problem(error.path, str(error), shown_override(text)))
                continue
            self.set_by[path] = text
            _put(self.document.values, path, value)

    def expand(self) -> dict[str, Any]:
        """The sections with variables replaced."""
        tree = {name: value for name, value in self.document.values.items() if name != "variables"}
        return expand(tree, self.document.values.get("variables"), self._report)

    def fill(self, values: dict[str, Any], weights: Find) -> dict[str, Any]:
        """The sections with what the weights to start from say."""
        try:
            source = weights(values)
        except ConfigError as error:
            self.problems.append(self._located(Problem("model.init_from", str(error))))
            return values
        if source is None:
            return values
        filled, problems = fill(values, source)
        self.problems += [self._located(problem) for problem in problems]
        return filled

    def build(self, values: dict[str, Any]) -> Config:
        """Validate, then check the rules; raise everything found so far."""
        try:
            config = build_config(values, self.locate)
            if not self.problems:
                check(config)
        except InvalidConfig as error:
            self.problems += [self._located(problem) for problem in error.problems]
        if self.problems:
            raise InvalidConfig(sorted(self.problems, key=lambda problem: (problem.line is None, problem.line or 0)))
        return config

    def locate(self, path: Path) -> tuple[str, int | None]:
        """Where a value was set: its override, its line, or the line of the section around it."""
        text = self.set_by.get(dotted(tuple(part for part in path if isinstance(part, str))))
        if text is not None:
            return shown_override(text), None
        for end in range(len(path), 0, -1):
            line = self.document.lines.get(path[:end])
            if line is not None:
                return f"{self.source}:{line}", line
        return self.source, None

    def origin(self, path: str, known: Sequence[tuple[Origin, set[str]]], is_present: bool) -> Origin:
        if path in self.set_by:
            return "override"
        found = next((origin for origin, paths in known if path in paths), None)
        return found or ("preset" if is_present else "default")

    def _report(self, path: Path, message: str) -> None:
        where, line = self.locate(path)
        self.problems.append(Problem(dotted(path), message, where, line))

    def _located(self, problem: Problem) -> Problem:
        """Give a rule's problem the place of the first of its settings that the user wrote."""
        if problem.where:
            return problem
        for path in (problem.path, *problem.also):
            key = tuple(path.split("."))
            if path in self.set_by or key in self.document.lines:
                where, line = self.locate(key)
                return replace(problem, where=where, line=line)
        return replace(problem, where=self.source)


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    *outer, leaf = path.split(".")
    for name in outer:
        if not isinstance(tree.get(name), dict):
            if tree.get(name) is not None:
                return  # not a section: validation says so, with its line
            tree[name] = {}
        tree = tree[name]
    tree[leaf] = value


def _has(tree: Any, path: str) -> bool:
    for name in path.split("."):
        if not isinstance(tree, dict) or name not in tree:
            return False
        tree = tree[name]
    return True
