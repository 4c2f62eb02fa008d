"""`chomp fork`."""

from __future__ import annotations

from pathlib import Path

import click

from chomp.cli.notes import checked_change, notes_options
from chomp.cli.options import PATH
from chomp.errors import CheckpointError, ConfigError, command_name
from chomp.record.fork import fork_run
from chomp.record.formatting import one_line, sanitize
from chomp.record.manifest import list_checkpoints, newest_good
from chomp.record.notes import change_notes
from chomp.record.rundir import RunDir, is_step, open_run


@click.command("fork")
@click.argument("run", type=PATH)
@click.argument("new", metavar="NEW_DIR", type=PATH)
@click.option("--step", default="latest", show_default=True, metavar="STEP|latest", help="The checkpoint to fork from.")
@notes_options
def command(run: Path, new: Path, step: str, name: str | None, note: str | None, tags: tuple[str, ...]) -> None:
    """Create the run NEW_DIR from a checkpoint of RUN; RUN does not change.

    NEW_DIR gets the tags of RUN and those of --tag, but not its name and note.
    """
    change = checked_change(name, note, tags)
    origin = open_run(run)
    chosen = _newest_good(origin) if step == "latest" else _parse(step)
    forked = fork_run(origin, chosen, new)
    change_notes(forked, change)
    place = one_line(str(forked.path))
    click.echo(f"{place} starts from step {chosen} of {one_line(str(run))}")
    click.echo(f"train it with: {command_name()} train --run-dir {place} --resume {chosen}")


def _parse(step: str) -> int:
    if not is_step(step):
        raise ConfigError(f"--step {step}: expected a step number or latest")
    return int(step)


def _newest_good(run: RunDir) -> int:
    """The newest checkpoint whose bytes are intact; damaged ones that are newer are named."""
    info, refused = newest_good(list_checkpoints(run.checkpoints))
    for refusal in refused:
        click.echo(f"skipped step {refusal.step}: {sanitize(refusal.reason)}", err=True)
    if info is None:
        raise CheckpointError(f"{run.path} has no {'intact ' if refused else ''}checkpoint to fork from")
    return info.step
