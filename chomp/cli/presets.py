"""`chomp presets`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from chomp.config.model import ModelConfig

# Weights, gradients and AdamW's two moments, each in fp32.
BYTES_PER_PARAMETER = 16


@click.command("presets")
@click.option("--vocab-size", default=50_257, show_default=True, type=click.IntRange(1), help="Ids of the tokenizer.")
@click.option("--json", "as_json", is_flag=True, help="One JSON list.")
def command(vocab_size: int, as_json: bool) -> None:
    """List the shapes that `model.preset` knows, with parameters counted, not quoted.

    STATE is the memory of weights, gradients and AdamW's moments in fp32; activations come on top of it and depend on
    the batch: `chomp inspect` estimates them.
    """
    from chomp.cli.engine import prepare_environment

    prepare_environment()
    rows = preset_rows(vocab_size)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    from chomp.events.text import count, size

    head = f"{'name':<14} {'model':<10} {'layers':>6} {'width':>6} {'heads':>6} {'hidden':>7}"
    click.echo(f"{head} {'parameters':>11} {'state':>9}")
    for row in rows:
        heads = f"{row['num_heads']}/{row['num_kv_heads']}" if row["num_kv_heads"] else str(row["num_heads"])
        click.echo(
            f"{row['name']:<14} {row['backend']:<10} {row['num_layers']:>6} {row['model_dim']:>6} {heads:>6} "
            f"{row['ffn_hidden_dim']:>7} {count(row['parameters']):>11} {size(row['state_bytes']):>9}"
        )


def preset_rows(vocab_size: int) -> list[dict[str, Any]]:
    """One row for each preset, the published Megalodons first."""
    from chomp.config.model import ModelConfig
    from chomp.config.presets import MODEL_PRESETS, expand_preset

    shown = ("backend", "num_layers", "model_dim", "num_heads", "num_kv_heads", "ffn_hidden_dim", "share_emb")
    rows = []
    for name in MODEL_PRESETS:
        config = ModelConfig.model_validate(expand_preset({"preset": name, "vocab_size": vocab_size}))
        parameters = count_parameters(config)
        values = {field: getattr(config, field) for field in shown}
        rows.append({"name": name, **values, "parameters": parameters, "state_bytes": BYTES_PER_PARAMETER * parameters})
    return rows


def count_parameters(config: ModelConfig) -> int:
    """Trainable scalars of a model; all layers are alike, so that one and two of them tell how many all have."""
    from chomp.model.build import build_model

    one, two = (build_model(config.model_copy(update={"num_layers": n})).parameter_count for n in (1, 2))
    return one + (config.num_layers - 1) * (two - one)
