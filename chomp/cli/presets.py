"""`chomp presets`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from chomp.config import Config


# Ids and places are 32-bit integers.
MOST = 2**31 - 1
IDS = click.IntRange(1, MOST)


@click.command("presets")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--vocab-size", type=IDS, help="Vocabulary size of the tokenizer; default: that of the published model.")
@click.option("--batch-size", default=8, show_default=True, type=click.IntRange(1), help="Sequences per micro-batch.")
@click.option("--seq-len", default=512, show_default=True, type=click.IntRange(8), help="Tokens per sequence.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list, with the memory by part.")
def command(names: tuple[str, ...], vocab_size: int | None, batch_size: int, seq_len: int, as_json: bool) -> None:
    """List the presets of `model.preset`, or those named, with their parameters and predicted memory.

    PARAMS counts all weights once, with an embedding of VOCAB ids; BLOCKS leaves embedding and output head out.
    STATE is the memory of weights, gradients and the optimizer's moments. MEMORY adds the activations of one
    micro-batch, as `chomp inspect` estimates them for the current device. Optimizer and objective are the preset's; all
    other settings have their defaults: weights in fp32, products in bf16, no recomputation (model.remat), all logits
    of a micro-batch at once (model.loss_chunk_size), documents isolated. For other settings use `chomp inspect`.
    """
    from chomp.cli.engine import prepare_environment
    from chomp.config.presets import MODEL_PRESETS, preset_named
    from chomp.record.formatting import plural

    chosen = []
    for name in names:
        found = preset_named(name)
        if found is None:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(MODEL_PRESETS)}.", param_hint="NAME")
        chosen.append(found)
    if batch_size * seq_len > MOST:
        raise click.BadParameter(f"{batch_size} x {seq_len} tokens are more than {MOST:,}.", param_hint="--batch-size")
    prepare_environment()
    rows = preset_rows(tuple(chosen) or tuple(MODEL_PRESETS), vocab_size, batch_size, seq_len)
    if as_json:
        click.echo(json.dumps(list(rows), indent=1))
        return
    click.echo(_HEAD)
    notes = []
    for row in rows:
        click.echo(_line(row))
        notes += _notes(row)
    for note in notes:
        click.echo(note)
    click.echo(f"memory: with the activations of {plural(batch_size, 'sequence')} of {seq_len} tokens, estimated")


def preset_rows(
    names: tuple[str, ...], vocab_size: int | None, batch_size: int, seq_len: int
) -> Iterator[dict[str, Any]]:
    """Yields one row per name; each takes about half a second.

    Args:
        vocab_size: None: each preset's own.
    """
    from chomp.config.presets import preset_vocabulary
    from chomp.model.device import first_device
    from chomp.train.footprint import predict

    platform = first_device().platform
    shown = ("backend", "num_layers", "model_dim", "num_heads", "num_kv_heads", "ffn_hidden_dim", "share_emb")
    for name in names:
        ids = vocab_size or preset_vocabulary(name)
        config = preset_config(name, ids, batch_size, seq_len)
        trained, memory = predict(config, platform)
        model = config.model
        heads = config.objective.mtp_heads * model.model_dim**2
        yield {
            "name": name,
            **{field: getattr(model, field) for field in shown},
            "vocab_size": ids,
            "parameters": trained - heads,
            "block_parameters": trained - heads - (1 if model.share_emb else 2) * ids * model.model_dim,
            "prediction_head_parameters": heads,
            "optimizer": config.optim.name,
            "state_bytes": memory.state,
            "batch_size": batch_size,
            "seq_len": seq_len,
            "memory": memory.as_dict(),
        }


def preset_config(name: str, vocab_size: int, batch_size: int, seq_len: int) -> Config:
    """A preset with all other settings at their defaults; text and tokenizer do not matter."""
    from chomp.config import Config
    from chomp.config.presets import expand_preset

    values = expand_preset({"model": {"preset": name, "vocab_size": vocab_size}})
    return Config.model_validate({**values, "train": {"batch_size": batch_size, "seq_len": seq_len}})


# Eighty columns together.
_HEAD = (
    f"{'name':<13} {'layers':>6} {'width':>5} {'heads':>5} {'hidden':>6} {'vocab':>6} {'params':>7} {'blocks':>7} "
    f"{'state':>8} {'memory':>8}"
)


def _line(row: dict[str, Any]) -> str:
    from chomp.record.formatting import count, size

    heads = f"{row['num_heads']}/{row['num_kv_heads']}" if row["num_kv_heads"] else str(row["num_heads"])
    return (
        f"{row['name']:<13} {row['num_layers']:>6} {row['model_dim']:>5} {heads:>5} {row['ffn_hidden_dim']:>6} "
        f"{row['vocab_size']:>6} {count(row['parameters']):>7} {count(row['block_parameters']):>7} "
        f"{size(row['state_bytes']):>8} {size(row['memory']['total']):>8}"
    )


def _notes(row: dict[str, Any]) -> list[str]:
    from chomp.record.formatting import count

    more = row["prediction_head_parameters"]
    if not more:
        return []
    return [f"{row['name']}: {count(more)} more in prediction heads, which state and memory include"]
