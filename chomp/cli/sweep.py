"""`chomp sweep`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import click

from chomp.cli.options import PATH, FiniteFloat, queue_option
from chomp.device import probe_gpus
from chomp.errors import ChompError, command_name
from chomp.queue.devices import gpu_shortage
from chomp.queue.folder import QueueFolder
from chomp.queue.process import POLL_SECONDS, runner_of, start_runner
from chomp.record.formatting import plural, sanitize
from chomp.sweep.folder import find_sweep, list_sweeps, open_sweep, trained_prefix
from chomp.sweep.report import SweepReport, as_dict, read_report, report_lines
from chomp.sweep.sampler import load_optuna


class _StartByDefault(click.Group):
    """A group whose first argument may be a file: `chomp sweep FILE` is `chomp sweep start FILE`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["start", *args]
        return super().parse_args(ctx, args)


@click.group("sweep", cls=_StartByDefault)
def command() -> None:
    """Train a configuration with many values: chomp sweep SWEEP.yaml starts or continues a sweep."""


@command.command("start")
@click.argument("file", metavar="SWEEP.yaml", type=PATH)
@click.option("--no-runner", is_flag=True, help="Do not start the queue's runner.")
@click.option("--poll-seconds", default=POLL_SECONDS, type=FiniteFloat(min=0.01), hidden=True)
@queue_option
def start_command(folder: Path, file: Path, no_runner: bool, poll_seconds: float) -> None:
    """Start the sweep in SWEEP.yaml, or continue it. Its trials are jobs of the queue."""
    queue = QueueFolder(folder)
    sweep, is_new = open_sweep(queue, file)
    spec = sweep.spec()
    if spec.method != "grid":
        load_optuna()
    steps = trained_prefix(sweep)
    first = f"{plural(steps, 'step')} that all trials share, then " if steps is not None else ""
    begins = "starts" if is_new else "continues"
    click.echo(f"sweep {sweep.name} {begins}: {first}{spec.count} trials by {spec.method}")
    if short := gpu_shortage(spec.gpus or 0, probe_gpus(), os.environ):
        click.echo(f"warning: gpus: {spec.gpus}: {short.replace('the job would wait', 'the trials wait', 1)}", err=True)
    if no_runner:
        click.echo(f"the runner of {folder} carries it on; start it with: {command_name()} queue start", err=True)
        return
    pid = start_runner(queue, poll_seconds)
    click.echo(f"the runner works (pid {pid}); `{command_name()} sweep show {sweep.name}` shows the ranking")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
@queue_option
def list_command(folder: Path, as_json: bool) -> None:
    """List the sweeps beside the queue."""
    reports, queue = [], QueueFolder(folder)
    for sweep in list_sweeps(queue):
        try:
            reports.append(read_report(sweep))
        except ChompError as error:
            click.echo(f"{sanitize(sweep.name)}: {sanitize(str(error))}", err=True)
    if as_json:
        runner = runner_of(queue)
        rows = [
            {"name": one.name, "state": one.state, "trials": one.spec.count, "runner": runner.pid if runner else None}
            for one in reports
        ]
        click.echo(json.dumps(rows, indent=1))
        return
    for report in reports:
        click.echo(f"{sanitize(report.name)}  {report.headline}{_without_runner(queue, report)}")
    _name_missing_runner(queue, reports)
    if not reports:
        click.echo(f"no sweeps; docs/sweeps.md shows how to write one for: {command_name()} sweep SWEEP.yaml")


@command.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@queue_option
def show_command(folder: Path, name: str, as_json: bool) -> None:
    """Print the ranking of the sweep NAME, its settings one by one, and their importance."""
    queue = QueueFolder(folder)
    report = read_report(find_sweep(queue, name))
    if as_json:
        click.echo(json.dumps(as_dict(report, queue), indent=1))
        return
    first, *others = report_lines(report)
    for line in (f"{first}{_without_runner(queue, report)}", *others):
        click.echo(line)
    _name_missing_runner(queue, [report])


def _without_runner(queue: QueueFolder, report: SweepReport) -> str:
    """Said behind the state of a sweep that nothing carries on."""
    return "  (no runner works on it)" if report.state == "running" and runner_of(queue) is None else ""


def _name_missing_runner(queue: QueueFolder, reports: Sequence[SweepReport]) -> None:
    if any(_without_runner(queue, report) for report in reports):
        click.echo(f"no runner works on {queue.path}; start it with: {command_name()} queue start", err=True)


@command.command("stop")
@click.argument("name")
@queue_option
def stop_command(folder: Path, name: str) -> None:
    """Add no more trials of the sweep NAME; those in the queue go on."""
    find_sweep(QueueFolder(folder), name).stopped.touch()
    click.echo(f"sweep {sanitize(name)} adds no more trials; start it again to continue")
