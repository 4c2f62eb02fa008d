"""`chomp report`."""

from __future__ import annotations

from pathlib import Path

import click

from chomp.cli.options import PATH, queue_option
from chomp.record.run_record import X_AXES
from chomp.report.figures import FORMATS


@click.command("report")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=PATH)
@click.option(
    "--output", type=PATH, help="The page to write; default report.html, unless charts or a table are asked for."
)
@click.option(
    "--x", "axis", type=click.Choice(X_AXES), default="step", show_default=True, help="Draw charts over this."
)
@click.option("--charts", type=PATH, metavar="FOLDER", help="Write each chart as a file into FOLDER (report extra).")
@click.option("--format", "form", type=click.Choice(FORMATS), default="png", show_default=True, help="Of --charts.")
@click.option("--csv", "table", type=PATH, metavar="FILE", help="Write all metrics rows and evaluations as CSV.")
@queue_option
def command(
    runs: tuple[Path, ...],
    output: Path | None,
    axis: str,
    charts: Path | None,
    form: str,
    table: Path | None,
    folder: Path,
) -> None:
    """Write a report about runs: one HTML page without scripts that needs no network.

    It has curves, results, samples, time, checkpoints and environment; of several runs the settings that differ, and of
    two that read the same batches a verdict. A run that the queue trained names its job, or its trial of a sweep.
    """
    from chomp.queue.folder import QueueFolder
    from chomp.queue.job import QueueError
    from chomp.queue.table import jobs_of_runs
    from chomp.record.run_record import load_record
    from chomp.report.write import write_charts_of, write_report, write_table

    records = [load_record(path) for path in runs]
    if output is not None or (charts is None and table is None):
        try:
            jobs = jobs_of_runs(QueueFolder(folder), [record.run.path for record in records])
        except QueueError as error:
            jobs = {}
            click.echo(f"the report names no jobs: {error}", err=True)
        click.echo(write_report(records, output or Path("report.html"), axis=axis, jobs=jobs))
    if charts is not None:
        for path in write_charts_of(records, charts, form, axis=axis):
            click.echo(path)
    if table is not None:
        click.echo(write_table(records, table))
