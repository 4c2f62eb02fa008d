"""`chomp generate`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click


@click.command("generate")
@click.argument("source", metavar="RUN|CHECKPOINT", type=click.Path(path_type=Path))
@click.option("--prompt", default="", help="The text to continue; empty starts a new document.")
@click.option(
    "--max-tokens", default=128, show_default=True, type=click.IntRange(min=1), help="Tokens to write at most."
)
@click.option(
    "--temperature", default=1.0, show_default=True, type=click.FloatRange(min=0), help="0 takes the likeliest token."
)
@click.option("--top-k", type=click.IntRange(min=1), help="Choose among the k likeliest tokens.")
@click.option(
    "--top-p",
    type=click.FloatRange(min=0, max=1, min_open=True),
    help="Choose among the likeliest tokens of this total probability.",
)
@click.option(
    "--seed", default=42, show_default=True, type=click.IntRange(min=0), help="The same seed writes the same text."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object: step, prompt, text, tokens.")
def command(
    source: Path,
    prompt: str,
    max_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int,
    as_json: bool,
) -> None:
    """Continue a prompt with the newest checkpoint of RUN, or with CHECKPOINT (RUN/checkpoints/STEP)."""
    from chomp.cli.engine import prepare_environment
    from chomp.rundir import open_run

    open_run(source.parent.parent if source.parent.name == "checkpoints" else source)
    prepare_environment()
    from chomp.events.text import defused
    from chomp.generate.load import load_trained
    from chomp.generate.sampling import SamplingOptions, encode_prompt, write
    from chomp.run.compilation import use_compilation_cache

    use_compilation_cache()
    trained = load_trained(source)
    click.echo(f"step {trained.info.step} of {trained.run.path}", err=True)
    options = SamplingOptions(max_tokens, temperature, top_k, top_p)
    written = write(
        trained.model_def.combine(trained.params),
        trained.tokenizer,
        encode_prompt(trained.tokenizer, prompt),
        options,
        seed,
    )
    if as_json:
        click.echo(json.dumps({"step": trained.info.step, **asdict(written)}))
        return
    click.echo(defused(written.prompt + written.text))
