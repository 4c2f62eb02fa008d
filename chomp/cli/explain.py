"""`chomp explain`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chomp.cli.options import PATH, devices_option
from chomp.cli.replay import prepare_as_run
from chomp.config.fields import MAX_STEPS
from chomp.record.formatting import decimal, one_line, plural, progress_line, sanitize

if TYPE_CHECKING:
    from chomp.analysis.explain import DocumentLoss, Explanation

# Characters of a text in a list.
SHOWN = 160


@click.command("explain")
@click.argument("run", type=PATH)
@click.argument("step", type=click.IntRange(1, MAX_STEPS))
@click.option(
    "--top", default=10, show_default=True, type=click.IntRange(min=1), metavar="N", help="Show N documents at most."
)
@click.option(
    "--most-steps",
    default=1000,
    show_default=True,
    type=click.IntRange(0, MAX_STEPS),
    metavar="N",
    help="Compute at most N steps again; from a checkpoint further away its own parameters are used.",
)
@click.option("--discarded", is_flag=True, help="Explain the step that a rollback discarded, not the one in its place.")
@devices_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    run: Path, step: int, top: int, most_steps: int, discarded: bool, devices: tuple[str, ...], as_json: bool
) -> None:
    """Show the documents of RUN's step STEP by their loss, with their text, file and row.

    The parameters are those with which the step began: they are computed again from the nearest checkpoint before it.
    Documents come first that raise the loss of the batch most. Nothing in RUN changes.
    """
    from chomp.record.rundir import open_run

    opened = open_run(run)
    prepare_as_run(opened, devices)
    from chomp.analysis.explain import Question, explain
    from chomp.data.progress import listening
    from chomp.train.compilation import use_compilation_cache

    use_compilation_cache()
    say = lambda text: click.echo(sanitize(text), err=True)  # noqa: E731
    question = Question(step, is_discarded=discarded, most_steps=most_steps, top=top, devices=devices)
    with listening(lambda event: say(progress_line(event))):
        found = explain(opened, question, say)
    if as_json:
        click.echo(json.dumps(found.as_dict()))
        return
    for line in describe(found):
        click.echo(line)


def describe(found: Explanation) -> list[str]:
    """An explanation as lines of text."""
    loss = "no token counts" if found.loss is None else f"loss {decimal(found.loss)}"
    where = f"the checkpoint of step {found.checkpoint:,}" if found.checkpoint else "the start"
    of = (
        f"of step {found.parameters_of:,}, from {where}"
        if found.is_by_own_parameters
        else f"of {where}, not those of the step"
    )
    lines = [
        f"step {found.step:,}: {loss} over {plural(found.tokens, 'token')} in {plural(found.documents, 'document')}",
        f"parameters {of}",
        "",
        f"{'loss':>9}  {'raises by':>9}  {'tokens':>8}  document",
    ]
    for document in found.top:
        lines += _lines(document)
    more = found.documents - len(found.top)
    return [*lines, f"{plural(more, 'more document')}: --top shows them"] if more else lines


def _lines(document: DocumentLoss) -> list[str]:
    start = f", from token {document.start:,} on" if document.start else ""
    return [
        f"{decimal(document.loss):>9}  {document.raises:>+9.4f}  {document.counted:>8,}  "
        f"{one_line(document.place)}{start}",
        f"{'':32}begins: {_shown(document.beginning)}",
        f"{'':32}worst, {decimal(document.worst_loss)} at token {document.worst_at:,}: {_shown(document.worst)}",
    ]


def _shown(text: str) -> str:
    """A text on one line, whole or cut."""
    line = sanitize(text).replace("\n", "↵").replace("\t", "→")
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"
