"""`chomp profile`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from chomp.cli.options import PATH
from chomp.errors import RunDirError, command_name
from chomp.record.codec import jsonable
from chomp.record.event_log import read_events
from chomp.record.events import Profiled
from chomp.record.operations import profile_lines
from chomp.record.rundir import open_run


@click.command("profile")
@click.argument("run", type=PATH)
@click.option(
    "--step", type=click.IntRange(min=1), metavar="N", help="The trace that holds step N; default: the newest."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(run: Path, step: int | None, as_json: bool) -> None:
    """Show the ten costliest operations in a trace of RUN.

    A trace is recorded by train.profile, or by `chomp ctl RUN profile` while the run trains.
    """
    directory = open_run(run)
    found = [event for event in read_events(directory.events) if isinstance(event, Profiled)]
    if not found:
        raise RunDirError(
            f"{run} has no profile; record one with `{command_name()} ctl RUN profile` while it trains, "
            "or with -o train.profile.start=STEP"
        )
    chosen = [one for one in found if step is None or one.step - one.steps < step <= one.step]
    if not chosen:
        known = ", ".join(f"{one.step - one.steps + 1} to {one.step}" for one in found)
        raise RunDirError(f"{run} has no profile of step {step}; there are profiles of steps {known}")
    if as_json:
        click.echo(json.dumps(jsonable(asdict(chosen[-1]))))
        return
    for line in profile_lines(chosen[-1]):
        click.echo(line)
