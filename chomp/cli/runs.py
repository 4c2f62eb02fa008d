"""`chomp runs`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from chomp.cli.endings import complain
from chomp.cli.options import PATH
from chomp.errors import command_name
from chomp.record.formatting import decimal, duration, sanitize
from chomp.record.rundir import list_runs
from chomp.record.summary import RunSummary, summarize


@click.command("runs")
@click.argument("folder", required=False, default="runs", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def command(folder: Path, as_json: bool) -> None:
    """List the runs in FOLDER (default: runs), newest first."""
    runs, unreadable = _read(list_runs(folder))
    _print(runs, folder, as_json=as_json, says_none=not unreadable)
    for error in unreadable[:-1]:
        complain(f"{error.filename}: {error.strerror}")
    if unreadable:
        raise unreadable[-1]


def _print(runs: list[RunSummary], folder: Path, *, as_json: bool, says_none: bool) -> None:
    rows = [row_of(found) for found in runs]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    if not rows and says_none:
        click.echo(
            f"no runs in {sanitize(str(folder))}; start one with: {command_name()} train configs/quickstart.yaml"
        )
    if not rows:
        return
    names = [sanitize(row["name"]) for row in rows]
    width = max(map(len, names))
    states = max(9, *(len(found.status.word) for found in runs))
    for name, found, row in zip(names, runs, rows, strict=True):
        total = row["total_steps"] if row["total_steps"] is not None else "?"
        last_loss = "" if row["loss"] is None else f"loss {decimal(row['loss'])}"
        has_reason = found.status.reason and (found.status.tone == "bad" or found.status.state == "running")
        why = f"  {sanitize(found.status.reason)}" if has_reason else ""
        fork = f"  fork of {sanitize(found.origin.run)} step {found.origin.step}" if found.origin else ""
        click.echo(
            f"{name:<{width}}  {found.status.word:<{states}}  step {row['step']}/{total}  {last_loss:<11}  "
            f"{len(row['checkpoints'])} checkpoints  {duration(row['age_seconds'])} ago{why}{fork}"
        )


def _read(paths: list[Path]) -> tuple[list[RunSummary], list[OSError]]:
    """Summaries of the runs, and the errors of those that cannot be read, which do not hide the others."""
    runs: list[RunSummary] = []
    unreadable: list[OSError] = []
    for path in paths:
        try:
            runs.append(summarize(path))
        except OSError as error:
            unreadable.append(error)
    return runs, unreadable


def row_of(found: RunSummary) -> dict[str, Any]:
    """One run as `--json` prints it."""
    return {
        "name": found.name,
        "path": str(found.path),
        "state": found.status.state,
        "status": found.status.word,
        "reason": found.status.reason or None,
        "step": found.step,
        "total_steps": found.total_steps,
        "loss": found.loss,
        "eval_loss": found.eval_loss,
        "age_seconds": round(found.age_seconds(time.time()), 1),
        "pid": found.pid,
        "checkpoints": list(found.checkpoints),
        "forked_from": f"{found.origin.path} step {found.origin.step}" if found.origin else None,
    }
