"""Run directories with real checkpoints, for the home and the checkpoints screen."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from chomp.config import derive, derived_section, parse_config
from chomp.record.codec import encode, json_line
from chomp.record.events import Evaluated, Event, Phase, RunEnded, RunStarted, Step
from chomp.record.manifest import seal, set_tags
from chomp.record.rundir import RunDir

TEXT = "model: {backend: dummy, model_dim: 16}\ntrain: {steps: 200, seq_len: 32}\noptim: {lr: 3e-3, warmup_steps: 2}\n"


def started(total: int = 200, resumed_from: int | None = None) -> RunStarted:
    return RunStarted(
        pid=1,
        host="h",
        attempt=1,
        resumed_from=resumed_from,
        versions={},
        device={"platform": "cpu", "name": "cpu", "count": 1},
        environment={},
        parameters=24_960,
        tokens_per_step=256,
        total_steps=total,
    )


def ended(status: Any, step: int, reason: str = "") -> RunEnded:
    return RunEnded(status=status, reason=reason, step=step, exit_code=0, time_budget_seconds={})


def append(run: RunDir, *events: Event, t: float | None = None) -> None:
    """Add events and rows of Unix time `t`, now by default."""
    t = time.time() if t is None else t
    with run.events.open("ab") as told, run.metrics.open("ab") as rows:
        for event in events:
            if isinstance(event, Step):
                rows.write(json_line({**event.row, "t": round(t, 3)}))
            else:
                told.write(encode(event, t))


def make_run(path: Path, *, steps: int = 20, end: RunEnded | None = None, age: float = 100.0) -> RunDir:
    """A run of which `steps` rows are written, the last event `age` seconds ago."""
    run = RunDir(path)
    path.mkdir(parents=True)
    rows = [{"step": step, "loss": 6.0 - step / 10} for step in range(1, steps + 1)]
    scored = Evaluated(step=steps, loss=4.25, perplexity=1.0, bpb=1.0, tokens=1, seconds=1.0)
    events = [started(), Phase(name="train", step=0), *(Step(row=row) for row in rows), scored, *([end] if end else [])]
    append(run, *events, t=time.time() - age)
    run.config_original.write_text(TEXT)
    config = parse_config(TEXT, source="t").config
    run.config_resolved.write_text(json.dumps({**config.model_dump(), "derived": derived_section(derive(config))}))
    return run


def make_checkpoint(
    run: RunDir, step: int, *, text: str = TEXT, eval_loss: float | None = None, tags: tuple[str, ...] = ()
) -> Path:
    """A sealed checkpoint made with the settings in `text`, and with a tokenizer's choices as an engine adds them."""
    config = parse_config(text, source="t").config
    settings = config.model_dump()
    settings["model"] = {**settings["model"], "vocab_size": 384}
    identity = {
        **settings,
        "derived": derived_section(derive(config)),
        "data_fingerprint": {"sha256": "f"},
        "tokenizer_digest": "t",
    }
    folder = run.checkpoints / str(step)
    (folder / "params").mkdir(parents=True)
    (folder / "params" / "d").write_bytes(os.urandom(4000))
    meta = {"step": step, "saved_at": time.time() - 60, "train_loss": 5.0, "eval_loss": eval_loss, "identity": identity}
    seal(folder, meta)
    if tags:
        set_tags(folder, list(tags))
    own = run.load_resolved()
    own["model"]["vocab_size"] = 384
    run.config_resolved.write_text(json.dumps(own))
    return folder
