"""`chomp runs`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from chomp.events.text import defused, duration
from chomp.rundir import RunDir, list_checkpoints, list_runs, live_holder, read_holder


@click.command("runs")
@click.argument("folder", required=False, default="runs", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON list.")
def command(folder: Path, as_json: bool) -> None:
    """List the runs in FOLDER (default: runs), newest first."""
    rows = [summary(path) for path in list_runs(folder)]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    if not rows:
        click.echo(f"no runs in {defused(str(folder))}; start one with: chomp train configs/quickstart.yaml")
        return
    names = [defused(row["name"]) for row in rows]
    width = max(map(len, names))
    for name, row in zip(names, rows, strict=True):
        total = row["total_steps"] if row["total_steps"] is not None else "?"
        last_loss = "" if row["loss"] is None else f"loss {row['loss']:.4f}"
        why = f"  {defused(row['reason'])}" if row["state"] in ("crashed", "running") and row["reason"] else ""
        click.echo(
            f"{name:<{width}}  {row['state']:<9}  step {row['step']}/{total}  {last_loss:<11}  "
            f"{len(row['checkpoints'])} checkpoints  {duration(row['age_seconds'])} ago{why}"
        )


def summary(path: Path) -> dict[str, Any]:
    """What a list says of one run: state, progress, last loss, checkpoints, age of its last event."""
    from chomp.events import Evaluated, RunEnded, RunStarted, Step, read_events

    run = RunDir(path)
    state, reason, total, step, loss, last = "new", None, None, 0, None, path.stat().st_mtime
    for event in read_events(run.events):
        last = event.t or last
        match event:
            case RunStarted():
                state, reason, total = "running", None, event.total_steps
                step = event.resumed_from or 0
            case Step(row={"step": int(reached), "loss": float() | int() as newest}):
                step, loss = reached, newest
            case Step(row={"step": int(reached)}) | Evaluated(step=int(reached)):
                step = max(step, reached)
            case RunEnded() if state in ("running", "new"):
                # After an ended attempt, this is a resume that was refused before it started: the run is as it was.
                state, reason, step = event.status, event.reason, max(step, event.step)
    holder = live_holder(run.lock)
    if holder is None and state == "running":
        named = read_holder(run.lock)
        if named is not None and not named.is_here():
            reason = f"on {named.host}; from here nobody can tell whether it still runs"
        else:
            state, reason = "crashed", "the engine is gone and said nothing: killed, or the machine went down"
    return {
        "name": run.name,
        "path": str(path),
        "state": state,
        "reason": reason,
        "step": step,
        "total_steps": total,
        "loss": loss,
        "age_seconds": round(max(0.0, time.time() - last), 1),
        "pid": holder.pid if holder else None,
        "checkpoints": [info.step for info in list_checkpoints(run.checkpoints)],
    }
