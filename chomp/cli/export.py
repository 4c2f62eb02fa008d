"""`chomp export`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from chomp.cli.habits import checkpoint_source, says_instead
from chomp.cli.options import PATH, average_option
from chomp.record.formatting import size

_ONE_FORMAT = (
    "each format is a folder of its own: `--to gguf --output FOLDER` writes a Llama with one residual stream, "
    "`--to mhc --output FOLDER` one with several; no model can be both"
)


@click.command("export")
@checkpoint_source
@click.option("--to", "name", metavar="FORMAT", help="Format, such as hf or gguf; --list shows all.")
@click.option("-d", "--output", type=PATH, metavar="FOLDER", help="Output folder.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16", "q8_0"]),
    help="Dtype of the weights; default: as in the checkpoint. q8_0 is for gguf only.",
)
@click.option(
    "--seq-len", type=click.IntRange(1, 2**31 - 1), help="Tokens per sequence (stablehlo); default: as in training."
)
@click.option("--no-measure", is_flag=True, help="int8: do not score the held-out text before and after.")
@average_option
@click.option("--list", "only_list", is_flag=True, help="List possible formats, and why others are not possible.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@says_instead("--gguf", _ONE_FORMAT)
@says_instead("--mhc", _ONE_FORMAT)
def command(
    source: Path,
    name: str | None,
    output: Path | None,
    dtype: Any,
    seq_len: int | None,
    no_measure: bool,
    average: bool,
    only_list: bool,
    as_json: bool,
) -> None:
    """Export the newest checkpoint of RUN, or CHECKPOINT (RUN/checkpoints/STEP), for other programs.

    Only parameters are read; the optimizer's state is not. --list reads no array at all.
    """
    if not only_list and (name is None or output is None):
        raise click.UsageError("name a format and a folder: --to FORMAT --output FOLDER; --list shows the formats")
    if no_measure and name != "int8":
        raise click.UsageError("--no-measure is only for --to int8; no other format measures the loss")
    from chomp.cli.engine import prepare_environment
    from chomp.record.rundir import open_run_around

    open_run_around(source)
    prepare_environment()
    from chomp.export.formats import FORMATS, export, unsupported_reason
    from chomp.export.int8 import read_cost
    from chomp.export.options import ExportOptions
    from chomp.generate.load import describe, load_trained
    from chomp.train.compilation import use_compilation_cache

    if name is not None and name not in FORMATS:
        raise click.UsageError(f"unknown format {name}; choose one of {', '.join(FORMATS)}")
    options = ExportOptions(dtype, seq_len, measure=not no_measure)
    if only_list:
        run, info, config, tokenizer = describe(source)
        click.echo(f"step {info.step} of {run.path}", err=True)
        reasons = {key: unsupported_reason(key, config, tokenizer, options) for key in FORMATS}
        _list({key: (why, FORMATS[key].WHAT) for key, why in reasons.items()}, as_json)
        return
    trained = load_trained(source, on_host=True, average=average)
    click.echo(f"step {trained.info.step} of {trained.run.path}", err=True)
    assert name is not None
    assert output is not None
    use_compilation_cache()
    files = export(trained, name, output, options)
    cost = read_cost(output) if name == "int8" else None
    if as_json:
        said = {"folder": str(output), "step": trained.info.step, "bytes": files}
        click.echo(json.dumps({**said, **({"loss": asdict(cost)} if cost else {})}))
        return
    for file, count in files.items():
        click.echo(f"{output / file}  {size(count)}")
    if cost is not None:
        click.echo(cost.in_words())


def _list(formats: dict[str, tuple[str | None, str]], as_json: bool) -> None:
    """Print each format with the reason why it is not possible, or what it is."""
    if as_json:
        said_of = {key: {"possible": why is None, "why": why, "what": what} for key, (why, what) in formats.items()}
        click.echo(json.dumps(said_of))
        return
    for key, (why, what) in formats.items():
        click.echo(f"{'✓' if why is None else '✗'} {key:<14}{why or what}")
