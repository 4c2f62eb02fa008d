"""`chomp eval`."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chomp.cli.habits import says_instead, the_checkpoint
from chomp.cli.options import PATH, UserPath, average_option
from chomp.record.codec import jsonable
from chomp.record.formatting import decimal, elapsed, one_line, plural, progress_line, task_words

if TYPE_CHECKING:
    from chomp.generate.load import TrainedModel
    from chomp.train.evaluate import EvalResult

OF_RUN = "run"
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
    help="Change one value of the run's configuration, e.g. -o data.isolate_documents=false.",
)
@average_option
@click.option(
    "--tasks",
    multiple=True,
    metavar="[NAME=]PATH",
    help="Score tasks instead: a file of JSON lines or a folder of tasks; `run` for those of the run's configuration.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@says_instead("--data", "-o data.tokens_eval_path=FILE scores another token file")
@says_instead("--index", "the .idx file beside a .bin file is read with it; leave the option out")
def command(
    arguments: tuple[Path, ...],
    checkpoint: Path | None,
    files: tuple[Path, ...],
    tasks: tuple[str, ...],
    overrides: tuple[str, ...],
    average: bool,
    as_json: bool,
) -> None:
    """Score the held-out text and the evaluation sets of a run, files, or tasks.

    It takes the newest checkpoint, or CHECKPOINT.
    """
    source, more = _told_apart(arguments, checkpoint, files)
    if tasks and files:
        raise click.UsageError("--tasks and --text exclude each other; score one after the other")
    from chomp.cli.engine import prepare_environment
    from chomp.record.rundir import open_run_around

    open_run_around(source)
    prepare_environment()
    from chomp.generate.load import load_trained
    from chomp.train.compilation import use_compilation_cache

    use_compilation_cache()
    trained = load_trained(source, average=average)
    if tasks:
        _score_tasks(trained, () if tasks == (OF_RUN,) else tasks, overrides, as_json)
    else:
        _score_text(trained, overrides, files + more, as_json)


def _score_text(trained: TrainedModel, overrides: tuple[str, ...], files: tuple[Path, ...], as_json: bool) -> None:
    from chomp.analysis.scoring import open_heldout
    from chomp.data.progress import listening

    with contextlib.ExitStack() as stack:
        with listening(lambda event: click.echo(progress_line(event), err=True)):
            scoring = stack.enter_context(open_heldout(trained, overrides, files))
        for warning in scoring.warnings:
            click.echo(f"warning: {one_line(warning)}", err=True)
        result, coverage = scoring(trained.params), scoring.coverage
        sets = {name: score(trained.params) for name, score in scoring.sets.items()}
    step = trained.info.step
    if as_json:
        scored = {"scored": asdict(coverage)}
        found = {"sets": {name: _row(one) for name, one in sets.items()}} if sets else {}
        weights = {"weights": "ema"} if trained.is_average else {}
        warned = {"warnings": scoring.warnings} if scoring.warnings else {}
        click.echo(json.dumps({"step": step, **weights, **_row(result), **scored, **found, **warned}))
        return
    click.echo(f"step {step}{' (moving average)' if trained.is_average else ''}: {_in_words(result)}")
    click.echo(coverage.in_words())
    for name, one in sets.items():
        click.echo(f"{name}: {_in_words(one)}")


def _row(result: EvalResult) -> dict[str, Any]:
    return {
        "loss": result.loss,
        "perplexity": result.perplexity,
        "bpb": result.bpb,
        "unigram_loss": result.unigram_loss,
        "tokens": result.tokens,
        "bytes": result.bytes,
        "seconds": round(result.seconds, 3),
    }


def _in_words(result: EvalResult) -> str:
    bpb = f"  {decimal(result.bpb)} bits/byte" if result.bpb is not None else ""
    return (
        f"loss {decimal(result.loss)}  perplexity {decimal(result.perplexity, 3)}{bpb}  "
        f"({result.tokens:,} tokens, {result.bytes:,} bytes, {elapsed(result.seconds)}; "
        f"unigram baseline {decimal(result.unigram_loss)})"
    )


def _score_tasks(trained: TrainedModel, tasks: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> None:
    from chomp.analysis.task_scoring import score_tasks

    found: dict[str, Any] = {}
    for score in score_tasks(trained, tasks, overrides):
        for one in (*score.parts, score.whole):
            row = asdict(one) | {"seconds": round(one.seconds, 3)}
            name = row.pop("name")
            found[name] = jsonable(row)
            if not as_json:
                words = task_words(one.accuracy, one.accuracy_norm, one.bpb)
                whole = "mean of its tasks, " if one is score.whole and score.parts else ""
                cut = f", {plural(one.cut, 'context')} cut" if one.cut else ""
                click.echo(
                    f"{one.name}: {whole}{words}, centered {one.centered:.3f}  "
                    f"({plural(one.examples, 'example')}, {elapsed(one.seconds)}{cut})"
                )
    if as_json:
        click.echo(json.dumps({"step": trained.info.step, "tasks": found}))


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
