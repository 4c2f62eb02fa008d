"""`chomp average`."""

from __future__ import annotations

from pathlib import Path

import click

from chomp.cli.notes import checked_change, notes_options
from chomp.cli.options import PATH, average_option
from chomp.record.formatting import decimal, one_line, plural, sanitize
from chomp.record.notes import change_notes


@click.command("average")
@click.argument("sources", metavar="RUN|CHECKPOINT...", nargs=-1, required=True, type=PATH)
@click.argument("new", metavar="NEW_DIR", type=PATH)
@click.option("--last", type=click.IntRange(min=1), help="Only this many of the newest checkpoints of each RUN.")
@average_option
@click.option("--no-eval", is_flag=True, help="Do not score the held-out text.")
@notes_options
def command(
    sources: tuple[Path, ...],
    new: Path,
    last: int | None,
    average: bool,
    no_eval: bool,
    name: str | None,
    note: str | None,
    tags: tuple[str, ...],
) -> None:
    """Create the run NEW_DIR with the mean of the parameters of checkpoints: all of each RUN, and each CHECKPOINT.

    NEW_DIR can be scored, exported, compared and used to generate text; it has no optimizer state to continue from.
    """
    change = checked_change(name, note, tags)
    from chomp.cli.engine import prepare_environment
    from chomp.record.rundir import open_run_around

    for source in sources:
        open_run_around(source)
    prepare_environment()
    from chomp.analysis.average import average_checkpoints, find_sources
    from chomp.train.compilation import use_compilation_cache

    use_compilation_cache()
    found = find_sources(sources, last)
    run, result = average_checkpoints(
        found, new, moving=average, evaluate=not no_eval, say=lambda text: click.echo(sanitize(text), err=True)
    )
    change_notes(run, change)
    steps = ", ".join(str(source.info.step) for source in found)
    click.echo(f"{one_line(str(run.path))} is the average of {plural(len(found), 'checkpoint')} (step {steps})")
    if result is not None:
        bpb = f"  {decimal(result.bpb)} bits/byte" if result.bpb is not None else ""
        click.echo(f"loss {decimal(result.loss)}{bpb}")
