"""`chomp probe`: the GPUs, the driver, the CUDA packages, and the environment they need."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import click

from chomp.cli.options import PATH, SECONDS
from chomp.device import (
    Decision,
    Gpu,
    Probe,
    cuda_packages,
    environment_report,
    fitting_wheels,
    probe_gpus,
    problems,
    recommended_environment,
    shell_line,
)
from chomp.errors import command_name
from chomp.record.formatting import size

ABSENT = "-"
_COMMAND = f"{command_name()} train CONFIG"


@click.command("probe")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--compare",
    "config",
    type=PATH,
    metavar="CONFIG",
    help="Measure the step of CONFIG without and with the recommended variables, and keep the result.",
)
@click.option("--set", "chosen", multiple=True, metavar="NAME=VALUE", help="With --compare: this variable instead.")
@click.option(
    "-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="With --compare: set one value."
)
@click.option(
    "--seconds",
    default=180.0,
    show_default=True,
    type=SECONDS,
    help="With --compare: time limit.",
)
def command(
    as_json: bool, config: Path | None, chosen: tuple[str, ...], overrides: tuple[str, ...], seconds: float
) -> None:
    """Show the GPUs of this machine, the installed CUDA packages, and the environment a run needs on them."""
    if config is not None:
        from chomp.cli.compare_environments import compare

        compare(config, overrides, chosen, seconds, as_json=as_json)
        return
    if chosen or overrides:
        raise click.UsageError("--set and -o need --compare CONFIG.")
    found = probe_gpus()
    packages = cuda_packages()
    decisions = recommended_environment(found, os.environ)
    if as_json:
        wheels = fitting_wheels(found)
        values = {
            **found.to_dict(),
            "wheels": asdict(wheels) if wheels else None,
            "packages": packages,
            "problems": [problem.message for problem in problems(found, os.environ, packages)],
            "environment": [asdict(decision) for decision in decisions],
            "command": shell_line(os.environ, decisions, _COMMAND),
            "in_force": environment_report(os.environ),
        }
        click.echo(json.dumps(values, indent=2, ensure_ascii=False))
    else:
        click.echo(render(found, decisions, packages, os.environ))


def render(found: Probe, decisions: list[Decision], packages: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """The probe as plain text for a terminal or a file; missing readings are `-`."""
    if not found.gpus:
        none = f"No GPU: {found.reason}."
        return "\n".join([none, "", *_packages(found, packages, environ)]) if packages else none
    lines = [f"NVIDIA driver {found.driver or ABSENT}, CUDA up to {found.cuda or ABSENT}", "", *_table(found)]
    for gpu in found.gpus:
        lines += [f"GPU {gpu.index}: {field} {ABSENT}: {why}" for field, why in gpu.unavailable.items()]
        lines += [
            f"GPU {gpu.index}: process {process.pid} {process.name or ABSENT} "
            f"{'draws with' if process.draws else 'uses'} {_bytes(process.memory_bytes)}"
            for process in gpu.processes or ()
        ]
    lines += ["", *_packages(found, packages, environ), ""]
    if not decisions:
        return "\n".join([*lines, "These GPUs need no environment variables."])
    for decision in decisions:
        lines += [
            f"{decision.action}: {decision.variable} {decision.value}",
            f"  {decision.why}",
            f"  {decision.source}",
        ]
    line = shell_line(environ, decisions, _COMMAND)
    if line != _COMMAND:
        lines += ["", "chomp train sets the variables marked `apply`; to set all of them:", "", line]
    return "\n".join(lines)


def _packages(found: Probe, packages: Mapping[str, str], environ: Mapping[str, str]) -> list[str]:
    if packages:
        lines = ["CUDA packages:", *(f"  {name} {version}" for name, version in packages.items())]
        return [*lines, *(f"problem: {problem.message}" for problem in problems(found, environ, packages))]
    lines = ["JAX is installed without CUDA."]
    wheels = fitting_wheels(found)
    if wheels:
        lines.append(wheels.why)
    if wheels and wheels.extra:
        lines.append(f"To install them: pip install 'chomp[{wheels.extra}]'")
    return lines


def _table(found: Probe) -> list[str]:
    head = ("GPU", "name", "capability", "memory used / total", "load", "temp", "power / limit", "MIG")
    rows = [head, *(_row(gpu) for gpu in found.gpus)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(gpu: Gpu) -> tuple[str, ...]:
    capability = ".".join(map(str, gpu.compute_capability)) if gpu.compute_capability else ABSENT
    return (
        str(gpu.index),
        gpu.name or ABSENT,
        capability,
        f"{_bytes(gpu.memory_used_bytes)} / {_bytes(gpu.memory_total_bytes)}",
        _with_unit(gpu.utilisation_percent, "%"),
        _with_unit(gpu.temperature_celsius, " C"),
        f"{_with_unit(gpu.power_watts, ' W')} / {_with_unit(gpu.power_limit_watts, ' W')}",
        {True: "on", False: "off", None: ABSENT}[gpu.mig],
    )


def _bytes(count: int | None) -> str:
    return ABSENT if count is None else size(count)


def _with_unit(number: int | float | None, unit: str) -> str:
    return ABSENT if number is None else f"{number:.0f}{unit}"
