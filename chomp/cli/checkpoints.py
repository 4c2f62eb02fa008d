"""`chomp checkpoints`."""

from __future__ import annotations

import json
import math
import textwrap
import time
from pathlib import Path
from typing import Any

import click

from chomp.cli.options import PATH
from chomp.errors import CheckpointError
from chomp.record.formatting import decimal, duration, sanitize, size
from chomp.record.json_text import number
from chomp.record.manifest import CheckpointInfo, find_checkpoint, list_checkpoints, read_info, set_tags, verify
from chomp.record.rundir import open_run
from chomp.record.samples import read_samples


@click.command("checkpoints")
@click.argument("run", type=PATH)
@click.option("--verify", "check", is_flag=True, help="Verify the SHA-256 of every file.")
@click.option(
    "--tag", "tagged", nargs=2, type=(int, str), metavar="STEP NAME", help="Tag a checkpoint, so that it is kept."
)
@click.option("--untag", "untagged", type=int, metavar="STEP", help="Remove a checkpoint's tags.")
@click.option("--samples", "with_samples", is_flag=True, help="Also show the samples of each checkpoint's step.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def command(
    run: Path,
    check: bool,
    tagged: tuple[int, str] | None,
    untagged: int | None,
    with_samples: bool,
    as_json: bool,
) -> None:
    """List the checkpoints of RUN, oldest first.

    With --verify the exit code is 5 if one of them is damaged.
    """
    opened = open_run(run)
    if tagged is not None:
        info = find_checkpoint(opened, tagged[0])
        set_tags(info.path, [*info.tags, tagged[1]])
    if untagged is not None:
        set_tags(find_checkpoint(opened, untagged).path, [])
    rows = [_describe(info, check) for info in list_checkpoints(opened.checkpoints)]
    if with_samples:
        samples = read_samples(opened.samples, (row["step"] for row in rows))
        rows = [{**row, "samples": samples[row["step"]]} for row in rows]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    elif not rows:
        click.echo(f"{run} has no checkpoints yet")
    else:
        for row in rows:
            click.echo(_line(row, check))
            for sample in row.get("samples", []):
                click.echo(_sample_lines(sample))
    damaged = [row["step"] for row in rows if row["problems"]]
    if damaged:
        raise CheckpointError(f"damaged: step {', '.join(map(str, damaged))}; --resume latest skips them")


def _describe(info: CheckpointInfo, check: bool) -> dict[str, Any]:
    problems = verify(info.path) if check else []
    if not check:
        try:
            read_info(info.path)
        except CheckpointError as error:
            problems = [str(error)]
    # Of a damaged description only numbers are of use.
    meta = {key: value for key, value in info.meta.items() if math.isfinite(number(value))}
    return {
        "step": info.step,
        "path": str(info.path),
        "bytes": info.bytes,
        "saved_at": meta.get("saved_at"),
        "train_loss": meta.get("train_loss"),
        "eval_loss": info.eval_loss,
        "eval_bpb": info.eval_bpb,
        "tokens_seen": meta.get("tokens_seen"),
        "tags": list(info.tags),
        "verified": check and not problems,
        "problems": problems,
    }


def _line(row: dict[str, Any], check: bool) -> str:
    parts = [f"step {row['step']:>8}", f"{size(row['bytes']):>10}"]
    if row["saved_at"]:
        parts.append(f"{duration(time.time() - row['saved_at']):>6} old")
    for key, name in (("train_loss", "loss"), ("eval_loss", "eval")):
        if row[key] is not None:
            parts.append(f"{name} {decimal(row[key])}")
    if row["tags"]:
        parts.append(f"[{', '.join(row['tags'])}]")
    if row["problems"]:
        parts.append("DAMAGED: " + "; ".join(row["problems"]))
    elif check:
        parts.append("verified")
    return "  ".join(parts)


def _sample_lines(sample: dict[str, Any]) -> str:
    """A sample, indented below the line of its checkpoint."""
    return textwrap.indent(sanitize(sample["prompt"] + sample["text"]), "    │ ", lambda line: True)
