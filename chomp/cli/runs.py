"""`chomp runs`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from chomp.cli.endings import complain
from chomp.cli.options import PATH, TEXT
from chomp.errors import command_name
from chomp.record.formatting import LONGEST_NAME, decimal, duration, one_line, plural, short_name
from chomp.record.rundir import list_runs
from chomp.record.selection import cell_text, parse_filter, require_key, sorted_runs, value_of
from chomp.record.summary import RunSummary, leaderboard, summarize

# Characters of a cell of a table, which widens the cells of all runs.
LONGEST_CELL = 60


@click.command("runs")
@click.argument("folder", required=False, default="runs", type=PATH)
@click.option(
    "--where",
    "where",
    multiple=True,
    type=TEXT,
    metavar="EXPRESSION",
    help="Only runs for which it holds, e.g. 'optim.lr>1e-3 state=crashed tag=base'; may be repeated.",
)
@click.option("--sort", type=TEXT, metavar="KEY", help="Order by a key, e.g. eval: the best, newest or least first.")
@click.option("--reverse", is_flag=True, help="The other way round.")
@click.option("--columns", type=TEXT, metavar="KEY,KEY…", help="Print these as a table, e.g. name,optim.lr,eval,bpb.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def command(
    folder: Path, where: tuple[str, ...], sort: str | None, reverse: bool, columns: str | None, as_json: bool
) -> None:
    """List the runs in FOLDER (default: runs), newest first.

    A KEY is a setting such as optim.lr, a number of metrics.jsonl such as grad_norm, or one of name, label, note, tag,
    state, reason, step, steps, tokens, loss, eval (the best evaluation's loss), bpb, eval_step, last_eval, time,
    started, parameters, checkpoints, attempts, parent, device.
    """
    runs, unreadable = _read(list_runs(folder))
    chosen = parse_filter(" ".join(where), runs, plain_words=False)
    keys = [require_key(key.strip(), runs) for key in columns.split(",")] if columns is not None else []
    shown_runs = [run for run in runs if chosen.holds(run)]
    if sort is not None:
        shown_runs = sorted_runs(shown_runs, require_key(sort, runs), reverse=reverse)
    elif reverse:
        shown_runs.reverse()
    if as_json:
        click.echo(json.dumps([_as_json(run, keys) for run in shown_runs], indent=1))
    elif shown_runs:
        click.echo(_table(shown_runs, keys) if keys else "\n".join(_lines(shown_runs)))
    elif runs:
        place = one_line(str(folder))
        click.echo(f"none of {plural(len(runs), 'run')} in {place} is chosen by {one_line(' '.join(where))}")
    elif not unreadable:
        start = f"{command_name()} train configs/quickstart.yaml"
        click.echo(f"no runs in {one_line(str(folder))}; start one with: {start}")
    for run in shown_runs if keys and not as_json else ():
        if run.notes.problem:
            complain(f"{one_line(str(run.path))}/notes.yaml cannot be read: {run.notes.problem}")
    for error in unreadable[:-1]:
        complain(f"{one_line(str(error.filename))}: {error.strerror}")
    if unreadable:
        raise unreadable[-1]


def _as_json(run: RunSummary, keys: Sequence[str]) -> dict[str, Any]:
    row = row_of(run)
    return {**row, "columns": {key: value_of(run, key) for key in keys}} if keys else row


def _table(runs: Sequence[RunSummary], keys: Sequence[str]) -> str:
    """A line for each run, below the names of the columns."""
    lines = [list(keys), *([_cell(run, key) for key in keys] for run in runs)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _cell(run: RunSummary, key: str) -> str:
    return short_name(cell_text(run, key) or "-", LONGEST_NAME if key in ("name", "parent") else LONGEST_CELL)


def _lines(runs: Sequence[RunSummary]) -> Iterator[str]:
    names = [" ".join([short_name(run.name), *(f"#{tag}" for tag in run.notes.tags)]) for run in runs]
    # A run with many tags moves its own line, not those of all others.
    width = min(LONGEST_CELL, max(map(len, names)))
    states = max(9, *(len(run.status.word) for run in runs))
    for name, run in zip(names, runs, strict=True):
        total = run.total_steps if run.total_steps is not None else "?"
        last_loss = "" if run.loss is None else f"loss {decimal(run.loss)}"
        has_reason = run.status.reason and (run.status.tone == "bad" or run.status.state == "running")
        why = f"  {one_line(run.status.reason)}" if has_reason else ""
        fork = f"  {run.origin.kind} {short_name(run.origin.run)} step {run.origin.step}" if run.origin else ""
        label = f"  {run.notes.name}" if run.notes.name else ""
        label += f"  notes.yaml cannot be read: {run.notes.problem}" if run.notes.problem else ""
        more = f"{why}{fork}{label}" + (f"  {one_line(run.device)}" if run.mesh is not None else "")
        yield (
            f"{name:<{width}}  {run.status.word:<{states}}  step {run.step}/{total}  {last_loss:<11}{_best(run)}  "
            f"{len(run.checkpoints)} checkpoints  {duration(run.age_seconds(time.time()))} ago{more}"
        )


def _best(run: RunSummary) -> str:
    """The best evaluation."""
    if run.best is None:
        return ""
    bits = f" ({decimal(run.best.bpb, 3)} bits/byte)" if run.best.bpb is not None else ""
    return f"  best eval {decimal(run.best.loss)}{bits} at step {run.best.step}"


def _read(paths: list[Path]) -> tuple[list[RunSummary], list[OSError]]:
    """Summaries of the runs, and the errors of those that cannot be read, which do not hide the others."""
    runs: list[RunSummary] = []
    unreadable: list[OSError] = []
    for path in paths:
        try:
            runs += leaderboard([summarize(path)])
        except OSError as error:
            unreadable.append(error)
    return runs, unreadable


def row_of(found: RunSummary) -> dict[str, Any]:
    """One run as `--json` prints it."""
    return {
        "name": found.name,
        "label": found.notes.name or None,
        "note": found.notes.note or None,
        "tags": list(found.notes.tags),
        "notes_problem": found.notes.problem or None,
        "path": str(found.path),
        "state": found.status.state,
        "status": found.status.word,
        "reason": found.status.reason or None,
        "step": found.step,
        "total_steps": found.total_steps,
        "loss": found.loss,
        "eval_loss": found.eval_loss,
        "best_eval_loss": found.best.loss if found.best else None,
        "best_eval_step": found.best.step if found.best else None,
        "best_bpb": found.best.bpb if found.best else None,
        "tokens_seen": found.tokens_seen,
        "age_seconds": round(found.age_seconds(time.time()), 1),
        "pid": found.pid,
        "device": found.device or None,
        "devices": found.devices,
        "mesh": dict(found.mesh) if found.mesh is not None else None,
        "checkpoints": list(found.checkpoints),
        "forked_from": f"{found.origin.path} step {found.origin.step}" if found.origin else None,
        "weights": found.weights or None,
        "averaged": (found.origin.averaged or None) if found.origin else None,
    }
