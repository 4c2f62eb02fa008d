"""`chomp ctl`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from chomp.cli.options import PATH, TEXT, FiniteFloat
from chomp.config.fields import MAX_STEPS
from chomp.config.train import MOST_PROFILED
from chomp.errors import RunDirError, command_name
from chomp.record.commands import COMMANDS, Command, permission_problem, send_command
from chomp.record.event_log import EventReader
from chomp.record.events import Acknowledged
from chomp.record.formatting import sanitize
from chomp.record.lock import live_holder, read_holder
from chomp.record.rundir import RunDir, open_run


@click.command("ctl")
@click.argument("run", type=PATH)
@click.argument("action", type=click.Choice(COMMANDS))
@click.option("--prompt", type=TEXT, help="For sample: the prompt.")
@click.option("--steps", type=click.IntRange(1, MOST_PROFILED), help="For profile: steps in the trace; default 5.")
@click.option(
    "--step", type=click.IntRange(1, MAX_STEPS), metavar="STEP", help="For skip: the step whose batch is left out."
)
@click.option(
    "--timeout",
    "timeout_seconds",
    default=120.0,
    show_default=True,
    type=FiniteFloat(min=0),
    help="Seconds to wait for the engine's answer; 0 does not wait.",
)
def command(
    run: Path, action: str, prompt: str | None, steps: int | None, step: int | None, timeout_seconds: float
) -> None:
    """Send a command to the live run RUN: pause, resume, save, eval, sample, profile, skip, stop or abort.

    The engine acts between two steps and answers; stop and abort do not wait for the first step.
    """
    if prompt is not None and action != "sample":
        raise click.UsageError("--prompt is only for sample")
    if steps is not None and action != "profile":
        raise click.UsageError("--steps is only for profile")
    if (step is None) == (action == "skip"):
        raise click.UsageError("skip needs --step" if action == "skip" else "--step is only for skip")
    directory = open_run(run)
    _require_engine(directory)
    reader = EventReader(directory.events, offset=directory.events.stat().st_size if directory.events.exists() else 0)
    given = {"prompt": prompt, "steps": steps, "step": step}
    asked = Command(command=action, args={name: value for name, value in given.items() if value is not None})
    _send(directory, asked)
    if timeout_seconds <= 0:
        click.echo(f"{action} requested ({asked.id})")
        return
    answer = _wait_for_answer(reader, directory, asked.id, timeout_seconds)
    if answer is None:
        raise RunDirError(
            f"the engine did not answer within {timeout_seconds:.0f} s; it may be compiling or evaluating, "
            "and will execute the command afterwards"
        )
    click.echo(f"step {answer.step}: {sanitize(answer.message)}")
    if not answer.ok:
        raise click.exceptions.Exit(1)


def _require_engine(run: RunDir) -> None:
    if live_holder(run.lock) is not None:
        return
    holder = read_holder(run.lock)
    if holder is not None and not holder.is_here():
        raise RunDirError(f"the engine of {run.path} was started on {holder.host}; run {command_name()} ctl there")
    raise RunDirError(f"no engine is running in {run.path}")


def _send(run: RunDir, asked: Command) -> None:
    try:
        send_command(run.commands, asked)
        reason = permission_problem(run.commands)
    except OSError as error:
        raise RunDirError(f"cannot write {run.commands}: {error.strerror or error}") from error
    if reason is not None:
        raise RunDirError(reason)


def _wait_for_answer(reader: EventReader, run: RunDir, wanted: str, timeout_seconds: float) -> Acknowledged | None:
    """The engine's answer, or None if it takes longer.

    Raises:
        RunDirError: the engine ended before it answered.
    """
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        # Checked before reading: the answer of an engine that has ended since is still read.
        gone = live_holder(run.lock) is None
        for event in reader.read():
            if isinstance(event, Acknowledged) and event.id == wanted:
                return event
        if gone:
            raise RunDirError("the engine ended before it answered")
        time.sleep(0.1)
    return None
