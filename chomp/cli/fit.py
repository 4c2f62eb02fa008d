"""`chomp fit`."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chomp.cli.options import PATH, SECONDS, devices_option
from chomp.errors import ConfigError, DeviceError

if TYPE_CHECKING:
    from chomp.analysis.fit import Search, Trial
    from chomp.config.variants import Variant

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(KiB|MiB|GiB|TiB)", re.IGNORECASE)
_POWERS = {"kib": 10, "mib": 20, "gib": 30, "tib": 40}
MOST_UNITS = 1e6


class MemorySize(click.ParamType):
    """`22GiB`, in bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = _SIZE.fullmatch(str(value).strip())
        if found is None or not 0 < float(found[1]) < MOST_UNITS:
            self.fail(f"{value!r} is not a size; write a number with KiB, MiB, GiB or TiB, e.g. 22GiB", param, ctx)
        return round(float(found[1]) * 2 ** _POWERS[found[2].lower()])


@click.command("fit")
@click.argument("config", type=PATH)
@click.option("-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="Set one value.")
@click.option(
    "--seconds",
    default=180.0,
    show_default=True,
    type=SECONDS,
    help="Time limit for all tries together.",
)
@click.option("--memory-limit", type=MemorySize(), metavar="SIZE", help="Pretend that the device has SIZE, e.g. 22GiB.")
@devices_option
@click.option("--write", is_flag=True, help="Write the chosen settings into CONFIG; comments are kept.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def command(
    config: Path,
    overrides: tuple[str, ...],
    seconds: float,
    memory_limit: int | None,
    devices: tuple[str, ...],
    write: bool,
    as_json: bool,
) -> None:
    """Find the fastest way to train CONFIG that fits on this machine's devices.

    Tries micro-batches (train.batch_size with train.grad_accum), recomputation and chunks of the output head
    (model.loss_chunk_size) with random tokens, each in a process of its own and for a few seconds. All keep the tokens
    of a step. Needs no text, and writes nothing without --write.
    """
    from chomp.analysis.fit import Search
    from chomp.cli.engine import prepare_environment
    from chomp.config.load import load_config

    loaded = load_config(config, overrides)
    if write and not config.is_file():
        raise click.UsageError(f"--write needs a file, and {config} is the name of a preset; leave --write out")
    prepare_environment(imports_jax=False, devices=devices)
    search = Search(loaded.config, seconds, memory_limit, devices)
    if not as_json:
        click.echo(HEAD)
    with contextlib.closing(search.run()) as trials:
        for trial in trials:
            if not as_json and trial.outcome != "skipped":
                click.echo(line(trial, search.trials[0]))
    best = search.best()
    chosen = chosen_settings(best.variant, overrides) if best is not None and write else {}
    if chosen:
        write_settings(config, chosen, overrides)
    if as_json:
        click.echo(json.dumps(as_dict(search, best, chosen)))
    elif best is not None:
        click.echo(summary(search, best, f"written to {config}" if chosen else ""))
    if best is None:
        raise DeviceError(f"no way to compute the step ran on this device: {_last_failure(search)}")


def as_dict(search: Search, best: Trial | None, written: Mapping[str, Any]) -> dict[str, Any]:
    """All results, JSON-able; `best` is a place in `tries`, `written` what was written into the file."""
    return {
        "device": search.device,
        "tries": [trial.as_dict() for trial in search.trials],
        "untried": search.untried,
        "best": search.trials.index(best) if best is not None else None,
        "written": dict(written),
    }


HEAD = (
    f"{'micro-batch':>11}  {'accumulation':>12}  {'recompute':<9}  {'head chunk':>10}  {'tokens/s':>9}  {'memory':>9}  "
    f"{'MFU':>6}"
)


def line(trial: Trial, written: Trial) -> str:
    """One row of the table."""
    from chomp.record.formatting import count, one_line, size

    way = trial.variant
    speed = count(trial.tokens_per_second) if trial.tokens_per_second is not None else "-"
    cells = (
        f"{way.batch_size:>11}  {way.grad_accum:>12}  {way.policy:<9}  {way.head_chunk or 'whole':>10}  {speed:>9}  "
        f"{size(trial.memory_bytes) if trial.memory_bytes is not None else '-':>9}  "
        f"{f'{trial.mfu:.1%}' if trial.mfu is not None else '-':>6}"
    )
    notes = [*(["as written"] if trial is written else []), *([one_line(trial.why)] if trial.why else [])]
    return f"{cells}  {'; '.join(notes)}".rstrip()


def summary(search: Search, best: Trial, written: str) -> str:
    """What was not tried, the best way, and the settings that choose it."""
    from chomp.record.formatting import device_name, plural

    lines = [f"device: {device_name(search.device)}"]
    skipped = sum(trial.outcome == "skipped" for trial in search.trials)
    if skipped:
        lines.append(f"skipped: {plural(skipped, 'way')} that cannot fit")
    if search.untried:
        lines.append(f"not tried in {search.seconds:g} s: {plural(search.untried, 'way')} (--seconds)")
    first = search.trials[0]
    if best is first:
        return "\n".join([*lines, "best: the configuration as written", *([written] if written else [])])
    gain = ""
    if first.tokens_per_second is not None and best.tokens_per_second is not None:
        gain = f" ({best.tokens_per_second / first.tokens_per_second - 1:.0%} more tokens per second than as written)"
    lines.append(f"best: {best.variant.options}{gain}")
    lines.append(written or "--write writes these settings into the file")
    return "\n".join(lines)


def chosen_settings(variant: Variant, overrides: tuple[str, ...]) -> dict[str, Any]:
    """The settings that a file without the overrides needs for the same way."""
    from chomp.config import flatten
    from chomp.config.variants import CHOICES

    values = flatten(variant.config.model_dump())
    overridden = {text.partition("=")[0].strip() for text in overrides}
    return {name: values[name] for name in CHOICES if name in variant.settings or name in overridden}


def write_settings(path: Path, settings: Mapping[str, Any], overrides: tuple[str, ...]) -> None:
    """Write values into a configuration file; its other characters stay as they are.

    Raises:
        ConfigError: the file cannot be written, or a value cannot be changed in place.
    """
    from chomp.config.edits import CannotEdit, set_value
    from chomp.config.load import parse_config
    from chomp.config.scalars import Plain, Words
    from chomp.record.rundir import write_whole

    target = path.resolve()
    try:
        # Read again: it may have been edited meanwhile.
        text = before = target.read_bytes().decode("utf-8")
        for name, value in settings.items():
            text = set_value(text, name, Words(value) if isinstance(value, str) else Plain(json.dumps(value)))
        parse_config(text, source=str(path), overrides=overrides)
        if text != before:
            mode = target.stat().st_mode
            write_whole(target, text.encode())
            target.chmod(mode)
    except (CannotEdit, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the settings were not written: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path}: the settings were not written: {error.strerror}") from error


def _last_failure(search: Search) -> str:
    return [trial.why for trial in search.trials if trial.outcome == "failed"][-1]
