"""`chomp eval`."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path

import click

from chomp.cli.habits import says_instead, the_checkpoint
from chomp.cli.options import PATH, UserPath, average_option
from chomp.record.formatting import decimal, elapsed, progress_line

FILE = UserPath(exists=True, dir_okay=False, path_type=Path)


@click.command("eval")
@click.argument("arguments", nargs=-1, metavar="RUN|CHECKPOINT", type=PATH)
@click.option("--checkpoint", type=PATH, hidden=True)
@click.option(
    "--text",
    "files",
    multiple=True,
    type=FILE,
    metavar="FILE...",
    help="Score the whole of these files instead: a text file is one document, a table has one in each row.",
)
@click.option(
    "-o",
    "--override",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one value of the run's configuration, e.g. -o data.max_eval_samples=50.",
)
@average_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@says_instead("--data", "-o data.tokens_eval_path=FILE scores another token file")
@says_instead("--index", "the .idx file beside a .bin file is read with it; leave the option out")
def command(
    arguments: tuple[Path, ...],
    checkpoint: Path | None,
    files: tuple[Path, ...],
    overrides: tuple[str, ...],
    average: bool,
    as_json: bool,
) -> None:
    """Score the held-out text of a run, or files, with its newest checkpoint or with CHECKPOINT."""
    source, more = _told_apart(arguments, checkpoint, files)
    from chomp.cli.engine import prepare_environment
    from chomp.record.rundir import open_run_around

    open_run_around(source)
    prepare_environment()
    from chomp.analysis.scoring import open_heldout
    from chomp.data.progress import listening
    from chomp.generate.load import load_trained
    from chomp.train.compilation import use_compilation_cache

    use_compilation_cache()
    trained = load_trained(source, average=average)
    with contextlib.ExitStack() as stack:
        with listening(lambda event: click.echo(progress_line(event), err=True)):
            scoring = stack.enter_context(open_heldout(trained, overrides, files + more))
        result, coverage = scoring(trained.params), scoring.coverage
    row = {
        "step": trained.info.step,
        **({"weights": "ema"} if average else {}),
        "loss": result.loss,
        "perplexity": result.perplexity,
        "bpb": result.bpb,
        "unigram_loss": result.unigram_loss,
        "tokens": result.tokens,
        "bytes": result.bytes,
        "scored": asdict(coverage),
        "seconds": round(result.seconds, 3),
    }
    if as_json:
        click.echo(json.dumps(row))
        return
    bpb = f"  {decimal(result.bpb)} bits/byte" if result.bpb is not None else ""
    of = " (moving average)" if average else ""
    click.echo(
        f"step {trained.info.step}{of}: loss {decimal(result.loss)}  perplexity {decimal(result.perplexity, 3)}{bpb}  "
        f"({result.tokens:,} tokens, {result.bytes:,} bytes, {elapsed(result.seconds)}; "
        f"unigram baseline {decimal(result.unigram_loss)})"
    )
    click.echo(coverage.in_words())


def _told_apart(
    arguments: tuple[Path, ...], checkpoint: Path | None, files: tuple[Path, ...]
) -> tuple[Path, tuple[Path, ...]]:
    """The run or checkpoint, and the files of `--text a.txt b.txt` but the first.

    An option takes one value, and the others arrive as arguments: a run is a folder, a text is none.

    Raises:
        click.UsageError: there is not one checkpoint, or a file is missing.
    """
    # One that does not exist is the run unless a folder is.
    runs = [path for path in arguments if path.is_dir()] or list(arguments[: checkpoint is None])
    more = tuple(path for path in arguments if path not in runs)
    if more and not files:
        raise click.UsageError(f"unexpected argument {more[0]}; name files to score with --text FILE...")
    for path in more:
        if not path.is_file():
            raise click.UsageError(f"Invalid value for '--text': File '{path}' does not exist.")
    return the_checkpoint(runs, checkpoint), more
