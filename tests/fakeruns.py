"""Fake runs: single events and rows, small run directories with checkpoints, and long runs that look like real ones.

`python -m tests.fakeruns FOLDER` writes a gallery of long ones: live, finished, crashed, hostile and more.
"""

from __future__ import annotations

import json
import math
import os
import random
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from chomp.config import derive, derived_section, parse_config
from chomp.record.codec import encode, json_line
from chomp.record.events import (
    Checkpoint,
    Compiled,
    Evaluated,
    Event,
    Phase,
    RunEnded,
    RunStarted,
    Sampled,
    Step,
    Warned,
)
from chomp.record.manifest import seal, set_tags
from chomp.record.rundir import RunDir

T0 = 1_800_000_000.0

TEXT = "model: {backend: dummy, model_dim: 16}\ntrain: {steps: 200, seq_len: 32}\noptim: {lr: 3e-3, warmup_steps: 2}\n"


# Events -------------------------------------------------------------------------------------


def started(resumed_from: int | None = None, *, attempt: int = 1, t: float = T0, total_steps: int = 1000) -> RunStarted:
    return RunStarted(
        pid=4711,
        host="box",
        attempt=attempt,
        resumed_from=resumed_from,
        versions={"chomp": "0.1.0"},
        device={"platform": "cpu", "name": "cpu", "count": 1},
        environment={},
        parameters=24_960,
        tokens_per_step=256,
        total_steps=total_steps,
        tokens_seen=(resumed_from or 0) * 250,
        t=t,
    )


def row(step: int, *, t: float | None = None, **values: Any) -> Step:
    """The metrics row of a step that takes a second."""
    numbers = {
        "step": step,
        "loss": 4.0 - step / 1000,
        "grad_norm": 0.7162928581237793,
        "lr": 0.0010683649452403188,
        "tokens_seen": step * 250,
        "tokens_per_sec": 250.5,
        "step_time_s": 1.0,
        "packing_mode": "sequential",
        "packing_utilization": 0.9766,
        "host_memory_gb": 0.263,
    }
    return Step(row={**numbers, **values}, t=T0 + step if t is None else t)


def phase(name: Any, step: int = 0, *, t: float = T0) -> Phase:
    return Phase(name=name, step=step, t=t)


def ended(
    status: Any = "completed", step: int = 0, reason: str = "all steps done", *, t: float = T0, **values: Any
) -> RunEnded:
    fields = {"exit_code": 0, "time_budget_seconds": {}}
    return RunEnded(status=status, step=step, reason=reason, t=t, **{**fields, **values})


def lines(events: Iterable[Event]) -> bytes:
    """Lines of an event log; rows are in it as in version 1."""
    return b"".join(encode(event, event.t) for event in events)


def row_lines(events: Iterable[Event]) -> bytes:
    """Lines of `metrics.jsonl`: the rows among these events."""
    return b"".join(json_line({**event.row, "t": event.t}) for event in events if isinstance(event, Step))


def write(path: Path, events: Iterable[Event], *, version: int = 2) -> Path:
    """A run directory at `path` with these events, after those that are there; in version 1 rows are among them."""
    path.mkdir(parents=True, exist_ok=True)
    events = list(events)
    with (path / "events.jsonl").open("ab") as file:
        file.write(lines(event for event in events if version == 1 or not isinstance(event, Step)))
    with (path / "metrics.jsonl").open("ab") as file:
        file.write(row_lines(events if version == 2 else []))
    return path


def append(run: RunDir, *events: Event, t: float | None = None) -> None:
    """Add events and rows of Unix time `t`; by default each has its own time, or now."""
    with run.events.open("ab") as told, run.metrics.open("ab") as rows:
        for event in events:
            at = t or event.t or time.time()
            if isinstance(event, Step):
                rows.write(json_line({**event.row, "t": round(at, 3)}))
            else:
                told.write(encode(event, at))


def make_run(path: Path, *, steps: int = 20, end: RunEnded | None = None, age: float = 100.0) -> RunDir:
    """A run of which `steps` rows are written, the last event `age` seconds ago."""
    run = RunDir(path)
    path.mkdir(parents=True)
    rows = [Step(row={"step": step, "loss": 6.0 - step / 10}) for step in range(1, steps + 1)]
    scored = Evaluated(step=steps, loss=4.25, perplexity=1.0, bpb=1.0, tokens=1, seconds=1.0)
    events = [started(total_steps=200), phase("train"), *rows, scored, *([end] if end else [])]
    append(run, *events, t=time.time() - age)
    run.config_original.write_text(TEXT)
    config = parse_config(TEXT, source="t").config
    run.config_resolved.write_text(json.dumps({**config.model_dump(), "derived": derived_section(derive(config))}))
    return run


def make_checkpoint(
    run: RunDir,
    step: int,
    *,
    text: str = TEXT,
    eval_loss: float | None = None,
    tags: tuple[str, ...] = (),
    **more: object,
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
    meta |= more
    seal(folder, meta)
    if tags:
        set_tags(folder, list(tags))
    own = run.load_resolved()
    own["model"]["vocab_size"] = 384
    run.config_resolved.write_text(json.dumps(own))
    return folder


# Long runs ----------------------------------------------------------------------------------

CONFIG = """\
# A fake configuration, for pictures.
model:
  backend: megalodon
  model_dim: 1024
  num_layers: 12
data:
  backend: stdlib
train:
  steps: 10_000
  batch_size: 8
  seq_len: 2048
  grad_accum: 4
optim:
  name: muon
  lr: 3e-4
"""
VERSIONS = {"chomp": "0.1.0", "jax": "0.10.2", "jaxlib": "0.10.2", "megalodon-jax": "0.2.2", "python": "3.11.13"}
DEVICE = {"platform": "gpu", "name": "NVIDIA GeForce RTX 5090", "count": 1}
ENVIRONMENT = {"XLA_FLAGS": "--xla_gpu_enable_triton_gemm=false", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
PROMPTS = ("def read_lines(path):\n", "import ", "The standard library ")
WRITINGS = (
    "path path path (( import self self\n    return return in in the\n",
    '    """Return the lines of the file."""\n    with open(path) as file:\n        return file\n',
    '    """Yield the lines of a text file, without their ends.\n\n    Args:\n        path: what to read.\n    """\n'
    "    with open(path, encoding='utf-8') as stream:\n        for line in stream:\n            yield line.rstrip()\n",
)
HOSTILE = "\x1b[2J\x1b]0;owned\x07 [bold red]not markup[/] [@click=app.quit]x[/] \u202etxet \x00\x9b31m é漢字 "
HOSTILE += "w" * 10_000


@dataclass(frozen=True)
class FakeRun:
    """What to write.

    Attributes:
        steps: the last step with a row, of `total`.
        row_seconds: between two rows, which are `log_every` steps apart.
        ending: status of the `run_ended` event, or None for a run without one.
        live: whether this very process is named as the engine, so that the run counts as alive.
        phase: what a run without an end does now.
        nonfinite_at: rows, counted from 1, whose loss and gradient are not finite.
        hostile: whether texts are full of escape sequences, markup and very long lines.
        device_memory: whether the device reports its memory.
        terms: names of the objective's terms beside the loss.
    """

    steps: int = 3_000
    total: int = 10_000
    log_every: int = 10
    row_seconds: float = 5.4
    ending: str | None = None
    reason: str = "stop requested"
    live: bool = False
    phase: str = "train"
    nonfinite_at: tuple[int, ...] = ()
    hostile: bool = False
    device_memory: bool = True
    terms: tuple[str, ...] = ()
    seed: int = 0


def write_run(path: Path, fake: FakeRun | None = None, *, now: float | None = None) -> RunDir:
    """Write a run directory whose newest event happened at Unix time `now`, one second ago by default."""
    fake = fake or FakeRun()
    run = RunDir(path)
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    now = time.time() - 1 if now is None else now
    events = list(fake_events(fake))
    shift = now - events[-1].t
    append(run, *(replace(event, t=event.t + shift) for event in events))
    run.config_original.write_text(CONFIG)
    run.config_resolved.write_text(json.dumps(_resolved(fake)))
    run.log.write_text("".join(f"{line}\n" for line in _log(events, shift, fake)), encoding="utf-8")
    if fake.live:
        hold(run)
    return run


def hold(run: RunDir) -> None:
    """Name this process as the run's engine, started before the run's first event."""
    me = psutil.Process(os.getpid())
    run.lock.write_text(
        json.dumps({"pid": me.pid, "host": socket.gethostname(), "started": me.create_time(), "locked_at": time.time()})
    )


def fake_row(step: int, fake: FakeRun, rng: random.Random) -> dict[str, Any]:
    """A metrics row of a plausible curve."""
    warm = min(1.0, step / 300)
    loss: float | None = 1.9 + 8.6 * math.exp(-step / 260) + 1.7 * (1 + step / 400) ** -0.7 + rng.gauss(0, 0.07)
    spike = 3.0 if rng.random() < 0.006 else 0.0
    norm: float | None = 0.35 + 2.2 * math.exp(-step / 200) + abs(rng.gauss(0, 0.06)) + spike
    if step // fake.log_every in fake.nonfinite_at:
        loss = norm = None
    speed = 121_500 * (1 + rng.gauss(0, 0.012)) * (0.6 if rng.random() < 0.01 else 1)
    made = {
        "step": step,
        "loss": loss,
        "grad_norm": norm,
        "lr": 3e-4 * warm * (0.55 + 0.45 * math.cos(math.pi * min(1.0, step / fake.total))),
        "lr_muon": 3e-2 * warm * (0.55 + 0.45 * math.cos(math.pi * min(1.0, step / fake.total))),
        "tokens_seen": step * 65_500,
        "tokens_per_sec": speed,
        "step_time_s": 65_536 / speed,
        "mfu": 0.412 * speed / 121_500,
        "packing_mode": "bin",
        "packing_utilization": 0.9972,
        "host_memory_gb": 4.1 + 0.4 * step / fake.total,
    }
    made |= {name: None if loss is None else loss + 0.5 * place for place, name in enumerate(fake.terms, 1)}
    if fake.device_memory:
        made |= {"device_memory_gb": 17.8 + rng.gauss(0, 0.15), "peak_memory_gb": 21.4, "device_memory_limit_gb": 31.4}
    return made


def fake_events(fake: FakeRun) -> Iterator[Event]:
    """The events of a run, dated from 1 second on."""
    rng = random.Random(fake.seed)
    t = 1.0
    yield Phase("data", 0, t=t)
    yield RunStarted(
        pid=os.getpid(), host=socket.gethostname(), attempt=1, resumed_from=None, versions=VERSIONS, device=DEVICE,
        environment=ENVIRONMENT, parameters=124_439_808, tokens_per_step=65_536, total_steps=fake.total,
        data="data.stdlib: 4,211 documents, 61 MB; 42 documents held out for evaluation",
        optimizer="group  tensors     parameters    peak lr    decay\n"
        "muon        72    104,857,600       0.03     0.01\n"
        "adam        98     19,582,208     0.0003     0.01", t=t + 3,
    )  # fmt: skip
    yield Phase("compile", 0, t=t + 3)
    t += 44
    memory = {"argument": 1_490_000_000, "output": 1_490_000_000, "temp": 18_300_000_000, "total": 19_790_000_000}
    yield Compiled(41.2, cache_hit=False, memory=memory, flops_per_token=9.1e8, t=t)
    yield Phase("train", 0, t=t)
    for step in range(fake.log_every, fake.steps + 1, fake.log_every):
        t += fake.row_seconds
        yield Step(fake_row(step, fake, rng), t=t)
        for event in _after(step, t, fake):
            t = max(t, event.t)
            yield event
    if fake.ending is not None:
        spent = {"startup": 3.1, "compile": 41.2, "train": t - 140, "data_wait": 22.0, "eval": 31.0, "sample": 9.2,
                 "save": 4.4, "paused": 12.0, "lost": 17.0}  # fmt: skip
        code = 1 if fake.ending == "crashed" else 0
        yield RunEnded(fake.ending, fake.reason, fake.steps, code, spent, t=t + 1)  # type: ignore[arg-type]
    elif fake.phase != "train":
        yield Phase(fake.phase, fake.steps, t=t)  # type: ignore[arg-type]


def _after(step: int, t: float, fake: FakeRun) -> Iterator[Event]:
    """What comes after the row of some steps: evaluation, samples, a checkpoint."""
    every = max(fake.log_every, fake.steps // 12 // fake.log_every * fake.log_every)
    if step % every:
        return
    loss = 2.02 + 8.0 * math.exp(-step / 260) + 1.75 * (1 + step / 400) ** -0.7
    yield Phase("eval", step, t=t)
    yield Evaluated(step, loss, math.exp(min(loss, 30)), loss / 2.71, 41_000, 2.6, t=t + 2.6)
    yield Phase("sample", step, t=t + 2.6)
    text = WRITINGS[min(len(WRITINGS) - 1, step * len(WRITINGS) // max(1, fake.steps))]
    for prompt in PROMPTS:
        prompt, written = (HOSTILE, HOSTILE) if fake.hostile else (prompt, f"{text}# step {step}\n")
        yield Sampled(step, prompt, written, 64, 0.3, t=t + 3.2)
    yield Phase("save", step, t=t + 3.2)
    yield Checkpoint("saving", step, t=t + 3.2)
    yield Phase("train", step, t=t + 3.3)
    yield Checkpoint("committed", step, 1_494_000_000, 1.9, 0.08, t=t + 5.1)
    if step == 3 * every:
        yield Warned("data", HOSTILE if fake.hostile else "read failed twice, then went on", step, t=t + 5.2)
    if step == 7 * every:
        yield Checkpoint("failed", step + 1, reason="No space left on device", t=t + 5.2)


def _log(events: list[Event], shift: float, fake: FakeRun) -> Iterator[str]:
    for event in events:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.t + shift))
        match event:
            case RunStarted():
                yield f"{stamp} INFO chomp.session: {event.data}"
                yield from (f"{stamp} INFO chomp.optim: {line}" for line in event.optimizer.splitlines())
            case Compiled():
                yield f"{stamp} INFO chomp.compile: compiled the training step in {event.seconds:.1f} s"
            case Evaluated():
                yield f"{stamp} INFO chomp.eval: step {event.step}: loss {event.loss:.4f}"
            case Checkpoint() if event.state == "failed":
                yield f"{stamp} ERROR chomp.checkpoint: step {event.step} could not be saved: {event.reason}"
            case Checkpoint():
                yield f"{stamp} INFO chomp.checkpoint: step {event.step} {event.state}"
            case Warned():
                yield f"{stamp} WARNING chomp.{event.topic}: {event.message}"
    if fake.hostile:
        yield HOSTILE


def _resolved(fake: FakeRun) -> dict[str, Any]:
    return {
        "model": {"backend": "megalodon", "model_dim": 1024, "num_layers": 12, "compute_dtype": "bfloat16"},
        "data": {"backend": "stdlib", "packing_mode": "bin"},
        "train": {"steps": fake.total, "batch_size": 8, "seq_len": 2048, "grad_accum": 4, "seed": 0},
        "optim": {"name": "muon", "lr": 3e-4, "schedule": "cosine", "warmup_steps": 300},
        "checkpoint": {"save_every": 250},
        "derived": {"tokens_per_step": 65_536},
    }


GALLERY = {
    "live-100m": FakeRun(live=True),
    "live-paused": FakeRun(live=True, phase="paused", steps=1_200, seed=1),
    "finished": FakeRun(steps=5_000, total=5_000, ending="completed", reason="all steps are done", seed=2),
    "crashed": FakeRun(steps=900, ending="crashed", reason="out of memory: 3.2 GB more than there is", seed=3),
    "killed": FakeRun(steps=700, seed=4),
    "nan": FakeRun(steps=2_000, live=True, nonfinite_at=tuple(range(80, 95)), seed=5),
    "hostile": FakeRun(steps=600, hostile=True, ending="stopped", seed=6),
    "cpu": FakeRun(steps=400, device_memory=False, live=True, seed=7),
}


def main() -> None:
    folder = Path(sys.argv[1])
    for name, fake in GALLERY.items():
        print(write_run(folder / name, fake).path)


if __name__ == "__main__":
    main()
