"""`chomp probe --compare`."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from chomp.cli.engine import BEFORE_IMPORT
from chomp.device import apply, probe_gpus, recommended_environment, require_xla_flags
from chomp.device.comparison import Comparison, Side, comparison_file, save_comparison
from chomp.errors import ConfigError, DeviceError
from chomp.record.formatting import one_line

WORDS = {"before": "without", "after": "with"}


def compare(path: Path, overrides: Sequence[str], chosen: Sequence[str], seconds: float, *, as_json: bool) -> None:
    """Measure the step of a configuration without and with variables, print it, and keep the result.

    Args:
        chosen: `NAME=VALUE` texts; without any, the recommended variables.

    Raises:
        ChompError: there is nothing to compare, or neither environment could be measured.
    """
    from chomp.analysis.environments import better, measure
    from chomp.config.load import load_config

    loaded = load_config(path, overrides)
    before = {**BEFORE_IMPORT, **os.environ}
    after = with_variables(before, chosen)
    variables = {name: value for name, value in after.items() if before.get(name) != value}
    if not variables:
        raise ConfigError(
            "there is nothing to compare: the GPUs of this machine need no variables beside yours; "
            "name some with --set NAME=VALUE"
        )
    for environ in (before, after):
        require_xla_flags(environ)
    if not as_json:
        click.echo("\n".join(one_line(f"with: {name}={value}") for name, value in variables.items()))
    sides: dict[str, Side] = {}
    device = "unknown device"
    with contextlib.closing(measure(loaded.config, {"before": before, "after": after}, seconds)) as turns:
        for name, side, facts in turns:
            device = facts.get("name", device)
            sides[name] = better(sides.get(name), side)
            if not as_json:
                click.echo(f"{WORDS[name]:<8} {one_line(side.words)}")
    found = Comparison(round(time.time(), 3), device, str(path), variables, sides["before"], sides["after"])
    if found.before.tokens_per_second is None and found.after.tokens_per_second is None:
        raise DeviceError(f"nothing was measured: {found.words}")
    click.echo(json.dumps({**asdict(found), "gain": found.gain}) if as_json else one_line(f"{device}: {found.words}"))
    _keep(found)


def with_variables(environ: Mapping[str, str], chosen: Sequence[str]) -> dict[str, str]:
    """A copy of the environment with the chosen variables, or with all recommended ones."""
    if not chosen:
        return apply(environ, recommended_environment(probe_gpus(), environ), recommended=True)
    after = dict(environ)
    for text in chosen:
        name, equals, value = text.partition("=")
        if not name or not equals or "\0" in text:
            raise ConfigError(f"--set {text}: write NAME=VALUE, e.g. --set XLA_CLIENT_MEM_FRACTION=0.9")
        after[name] = value
    return after


def _keep(found: Comparison) -> None:
    path = comparison_file()
    if path is None:
        return
    try:
        save_comparison(found, path)
    except OSError as error:
        way_out = "set XDG_STATE_HOME to a folder that you may write to"
        click.echo(f"warning: the result was not kept: {path}: {error.strerror}; {way_out}", err=True)
