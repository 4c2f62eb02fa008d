"""`chomp preview`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chomp.cli.endings import complain
from chomp.cli.options import PATH
from chomp.cli.stdin import read_lines, require_input, text_of
from chomp.config.fields import MAX_STEPS
from chomp.errors import ChompError

if TYPE_CHECKING:
    from chomp.analysis.preview import Preview, Previewer, Row

# One after another, so that neighbours differ; also told apart by the number at each beginning.
COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "red")
DEFAULT_ROWS = 4
# Of a request line: which batch, from which of its rows on, and how many.
_FIELDS = {"batch": 1, "first": 0, "rows": DEFAULT_ROWS}


@click.command("preview")
@click.argument("config", type=PATH)
@click.option("-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="Set one value.")
@click.option(
    "--batch",
    "number",
    default=1,
    show_default=True,
    type=click.IntRange(1, MAX_STEPS),
    metavar="N",
    help="Show the batch that the N-th step receives.",
)
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Show at most N sequences; default {DEFAULT_ROWS}, or all with --json.",
)
@click.option(
    "--continue",
    "origin",
    type=PATH,
    metavar="CHECKPOINT",
    help="Show the batches of a run that continues from this checkpoint, or from a run's newest.",
)
@click.option("--tokens", "by_token", is_flag=True, help="Separate the tokens by │.")
@click.option("-i", "--interactive", is_flag=True, help="With --json: answer lines with batch, first and rows.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    config: Path,
    overrides: tuple[str, ...],
    number: int,
    rows: int | None,
    origin: Path | None,
    by_token: bool,
    interactive: bool,
    as_json: bool,
) -> None:
    """Show a packed batch of CONFIG as the model receives it: documents, padding, tokens and their text.

    Each document has a colour and, where it begins, its number: ⟦3⟧. Text in ‹ › does not count in the loss.
    """
    if interactive and not as_json:
        raise click.UsageError("--interactive needs --json")
    if interactive:
        require_input()
    previewer = _open(config, overrides, origin)
    if interactive:
        _serve(previewer)
    elif as_json:
        click.echo(json.dumps(previewer.show(number, most=rows).as_dict()))
    else:
        for line in describe(previewer.show(number, most=rows or DEFAULT_ROWS), by_token=by_token):
            click.echo(line)
    previewer.close()


def _open(path: Path, overrides: tuple[str, ...], origin: Path | None) -> Previewer:
    from chomp.cli.engine import prepare_environment
    from chomp.config.load import load_config

    loaded = load_config(path, overrides)
    prepare_environment()
    from chomp.analysis.preview import Previewer
    from chomp.data.tokenizers import build_tokenizer

    checkpoint = None
    if origin is not None:
        from chomp.generate.load import find_described

        _, checkpoint = find_described(origin)
    say = lambda text: click.echo(text, err=True)  # noqa: E731
    return Previewer(loaded.config, build_tokenizer(loaded.config.data.tokenizer), checkpoint, say)


def _serve(previewer: Previewer) -> None:
    """Answer each input line, a JSON object, with a preview, or with a `problem`, after which the next follows."""
    for line in read_lines():
        try:
            asked = {**_FIELDS, **json.loads(text_of(line))}
            found = previewer.show(int(asked["batch"]), int(asked["first"]), int(asked["rows"]))
        except (ChompError, ValueError, TypeError) as error:
            complain(str(error))
            click.echo(json.dumps({"problem": str(error)}))
            continue
        click.echo(json.dumps(found.as_dict()))


def describe(preview: Preview, *, by_token: bool) -> list[str]:
    """A preview as lines of text."""
    lines = [*_summary(preview), ""]
    for row in preview.rows:
        source = f", source {row.source}" if row.source is not None else ""
        heading = f"micro-batch {row.micro_batch + 1}, sequence {row.row + 1}{source}"
        lines += [heading, _drawn(row, by_token=by_token), ""]
    more = preview.summary.shape[0] * preview.summary.shape[1] - len(preview.rows)
    return [*lines, f"{more:,} more sequences: --rows shows them"] if more else lines[:-1]


def _summary(preview: Preview) -> list[str]:
    from chomp.record.formatting import count, one_line, plural

    said = preview.summary
    accum, batch, seq = said.shape
    is_beyond = said.last_step is not None and said.step > said.last_step
    beyond = f"; beyond the end of the run, step {said.last_step:,}" if is_beyond else ""
    lines = [
        f"step {said.step:,}: {accum} x {batch} sequences of {seq} tokens{beyond}",
        f"documents           {said.documents:,} in the batch{_lengths(said.lengths)}",
        f"packing efficiency  {said.packing_efficiency:.1%}",
        f"masked labels       {said.masked:.1%} of the tokens",
    ]
    if said.tokens_per_byte is not None:
        lines.append(f"tokens per byte     {said.tokens_per_byte:.3f}")
    if not said.isolated:
        lines.append("isolation           none: documents of a row see each other")
    lines.append(f"text                {one_line(said.source)}")
    if said.text_documents is not None:
        lines.append(f"to train on         {plural(said.text_documents, 'document')}{_lengths(said.text_lengths)}")
    if said.epoch_tokens is not None:
        lines.append(f"epochs              about {said.epochs:.3g} of {count(said.epoch_tokens)} tokens")
    lines += [
        f"{'source ' + source.name:<20}{source.wanted:.1%} by weight, {source.in_batch:.1%} of the batch, "
        f"{source.so_far:.1%} so far"
        for source in said.sources
    ]
    return lines


def _lengths(lengths: Any) -> str:
    if lengths is None:
        return ""
    return f", of {lengths.min:,} to {lengths.max:,} tokens, median {lengths.median:,.0f}"


def _drawn(row: Row, *, by_token: bool) -> str:
    """A row in colours; without colour the same marks are there."""
    from chomp.record.formatting import sanitize

    parts = []
    for run in row.runs:
        if run.document < 0:
            parts.append(click.style(f"░ padding × {len(run.ids)}", dim=True))
            continue
        text = "│".join(run.pieces) if by_token else "".join(run.pieces)
        shown = sanitize(text).replace("\n", "↵").replace("\t", "→")
        begin = f"⟦{run.document}⟧" if run.begins else ""
        colour = COLOURS[run.document % len(COLOURS)]
        parts.append(click.style(begin, fg=colour, bold=True) if begin else "")
        parts.append(click.style(shown if run.counted else f"‹{shown}›", fg=colour, underline=not run.counted))
    return "".join(parts)
