"""`chomp inspect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from chomp.analysis.inspection import Inspection


@click.command("inspect")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="Set one value.")
@click.option("--compile", "compile_program", is_flag=True, help="Compile the step and show XLA's memory analysis.")
@click.option(
    "--continue",
    "origin",
    type=click.Path(path_type=Path),
    metavar="CHECKPOINT",
    help="Show a run that continues from this checkpoint, or from a run's newest, with the schedule that it keeps.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    config: Path, overrides: tuple[str, ...], compile_program: bool, origin: Path | None, as_json: bool
) -> None:
    """Show parameters, tokens, schedule, FLOPs and memory of CONFIG."""
    from chomp.cli.engine import prepare_environment
    from chomp.config.load import load_config

    loaded = load_config(config, overrides)
    prepare_environment()
    from chomp.analysis.inspection import inspect
    from chomp.train.compilation import use_compilation_cache

    checkpoint = None
    if origin is not None:
        from chomp.generate.load import find_described

        _, checkpoint = find_described(origin)
    use_compilation_cache()
    found = inspect(loaded.config, compile_program=compile_program, origin=checkpoint)
    click.echo(json.dumps(found.as_dict()) if as_json else describe(found))


def describe(found: Inspection) -> str:
    """The figures as text."""
    from chomp.record.formatting import count, elapsed, size

    lines = [f"parameters        {found.parameters:,}"]
    lines += [f"  {name:<22}{number:>14,}" for name, number in found.breakdown.items() if name != "total"]
    lines += [
        f"tokens per step   {found.tokens_per_step:,}",
        f"tokens in total   {count(found.total_tokens)}  ({found.tokens_per_parameter:.2f} per parameter)",
        f"FLOPs per token   {found.flops_per_token:.3g}  (forward and backward, analytic)",
        f"FLOPs in total    {found.total_flops:.3g}",
        f"device            {found.device['name']}"
        + (f", {size(found.device['memory_limit'])}" if found.device["memory_limit"] else ""),
        "memory, estimated",
    ]
    lines += [f"  {name:<16}{size(number):>10}" for name, number in found.memory.as_dict().items()]
    if found.compiled_memory is not None:
        lines.append(f"memory, compiled (XLA, in {elapsed(found.compile_seconds or 0)})")
        lines += [f"  {name:<16}{size(number):>10}" for name, number in found.compiled_memory.items()]
    if found.path_check is not None:
        lines.append(f"self-check        {found.path_check.sentence}")
    lines.append("learning rate" + (f", on from step {found.continues_from:,}" if found.continues_from else ""))
    shown = found.schedule[:: max(1, len(found.schedule) // 8)]
    lines += [f"  step {step:>8}  {rate:.3e}" for step, rate in shown]
    lines += [f"note: {note}" for note in found.notes]
    lines += ["optimizer", *(f"  {line}" for line in found.optimizer.splitlines())]
    return "\n".join(lines)
