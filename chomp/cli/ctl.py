"""`chomp ctl`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from chomp.errors import RunDirError
from chomp.events import COMMANDS, Acknowledged, Command, EventReader, send_command
from chomp.rundir import live_holder, open_run
from chomp.sinks.text import defused


@click.command("ctl")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("action", type=click.Choice(COMMANDS))
@click.option("--prompt", help="For sample: the text to continue.")
@click.option("--timeout", "timeout_seconds", default=120.0, show_default=True, help="Seconds to wait for the engine's answer; 0 does not wait.")
def command(run: Path, action: str, prompt: str | None, timeout_seconds: float) -> None:
    """Ask the live run RUN to pause, resume, save, eval, sample, stop or abort.

    The engine acts between two steps and answers.
    """
    directory = open_run(run)
    if live_holder(directory.lock) is None:
        raise RunDirError(f"no engine is running in {run}")
    if prompt is not None and action != "sample":
        raise click.UsageError("--prompt goes with sample")
    reader = EventReader(directory.events, offset=directory.events.stat().st_size if directory.events.exists() else 0)
    asked = Command(command=action, args={"prompt": prompt} if prompt is not None else {})
    send_command(directory.commands, asked)
    if timeout_seconds <= 0:
        click.echo(f"{action} was asked for ({asked.id})")
        return
    answer = _wait_for_answer(reader, asked.id, timeout_seconds)
    if answer is None:
        raise RunDirError(f"the engine did not answer within {timeout_seconds:.0f} s; it may be compiling or evaluating, and will still obey")
    click.echo(f"step {answer.step}: {defused(answer.message)}")
    if not answer.ok:
        raise click.exceptions.Exit(1)


def _wait_for_answer(reader: EventReader, wanted: str, timeout_seconds: float) -> Acknowledged | None:
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        for event in reader.read():
            if isinstance(event, Acknowledged) and event.id == wanted:
                return event
        time.sleep(0.1)
    return None
