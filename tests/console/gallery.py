"""What golden frames show: runs and forks of them, checkpoints, a queue with a sweep, an engine that has answers.

Nothing in it depends on the machine, and nothing that is shown of it on the day.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from chomp.config import derive, derived_section, parse_config
from chomp.queue.adding import NewJob, add_job
from chomp.queue.folder import QueueFolder
from chomp.queue.job import Attempt
from chomp.record.events import Evaluated, Event, RunStarted, Step
from chomp.record.fork import fork_run
from chomp.record.manifest import read_info, seal
from chomp.record.notes import Notes, write_notes
from chomp.record.rundir import RunDir
from chomp.sweep.folder import SweepFolder, Trial
from tests.fakeruns import CONFIG, FakeRun, append, fake_events, make_checkpoint, write_run

DAY_SECONDS = 86_400
CONFIGS = Path(__file__).parents[2] / "configs"
FORKED_AT, FORKED = 4_000, "steady-lower-lr"
LONG_NAME = "a-[b]long-name-that-no-column-has-room-for-whole-and-that-is-cut-in-its-middle"
# Name, peak learning rate, its evaluations less those of `steady`, days since its end.
OTHERS = (("lr-1e-4", 1e-4, 0.11, 4.5), ("lr-1e-3", 1e-3, 0.05, 4.6), (LONG_NAME, 3e-3, 0.31, 4.7))
SWEEP = """\
config: base.yaml
method: tpe
trials: 9
space:
  optim.lr: {log: [1e-4, 1e-1]}
  optim.name: {choice: [adamw, muon, lion]}
  model.num_layers: {int: [1, 12]}
"""


def write_gallery(folder: Path) -> None:
    """Write everything below a folder, whose configurations are those of the project."""
    (folder / "configs").symlink_to(CONFIGS)
    # Whole seconds: times with fewer digits would make the files, whose size is shown, smaller.
    now = float(round(time.time()))
    runs = folder / "runs"
    done = FakeRun(steps=10_000, ending="completed", reason="all 10000 steps done")
    steady = _run(runs / "steady", done, now - 3.5 * DAY_SECONDS)
    wild = FakeRun(steps=900, ending="crashed", reason="step 900: the loss is nan", nonfinite_at=(90,))
    _run(runs / "wild", wild, now - 5.5 * DAY_SECONDS)
    for name, lr, shift, days in OTHERS:
        _run(runs / name, done, now - days * DAY_SECONDS, lr=lr, shift=shift)
        write_notes(RunDir(runs / name), Notes(tags=("rates",)))
    write_notes(RunDir(runs / "lr-1e-4"), Notes(name="one third of the rate", note="Slower.", tags=("rates", "base")))
    for number, tags in enumerate(((), ("before the new data",), ())):
        _checkpoint(steady, (number + 1) * 2_000, now - (6.5 - number) * DAY_SECONDS, tags)
    _fork(steady, runs / FORKED, replace(done, seed=0), now - 2.5 * DAY_SECONDS)
    _queue(folder)


def _run(path: Path, fake: FakeRun, ended: float, *, lr: float = 3e-4, shift: float = 0.0) -> RunDir:
    """A run; all of them read the same batches, whose noise is the same."""
    run = write_run(path, fake, now=ended)
    for file in (run.metrics, run.events):
        file.unlink()
    _append(run, fake, ended, lambda step: shift)
    _settings(run, lr)
    return run


def _append(run: RunDir, fake: FakeRun, ended: float, shift: Callable[[int], float], after: int = 0) -> None:
    events = list(fake_events(fake))
    moved = ended - events[-1].t
    noise = random.Random(run.name)
    shifted = (_shifted(run, event, shift, noise) for event in events)
    append(run, *(replace(event, t=event.t + moved) for event in shifted if getattr(event, "step", after + 1) > after))


def _shifted(run: RunDir, event: Event, shift: Callable[[int], float], noise: random.Random) -> Event:
    """The event with another loss, or as an event of a fork."""
    if isinstance(event, RunStarted) and run.origin.exists():
        return replace(event, resumed_from=FORKED_AT)
    if isinstance(event, Step) and event.row["loss"] is not None:
        loss = event.row["loss"] + shift(event.row["step"]) + noise.gauss(0, 0.008)
        return Step(row={**event.row, "loss": loss}, t=event.t)
    if isinstance(event, Evaluated):
        loss = event.loss + shift(event.step)
        return replace(event, loss=loss, bpb=loss / 2.71)
    return event


def _settings(run: RunDir, lr: float) -> None:
    config = parse_config(CONFIG.replace("3e-4", f"{lr:g}"), source="gallery").config
    values = config.model_dump()
    # As an engine notes it, and `make_checkpoint`.
    values["model"]["vocab_size"] = 384
    values |= {"derived": derived_section(derive(config))}
    run.config_resolved.write_text(json.dumps(values))


def _checkpoint(run: RunDir, step: int, saved_at: float, tags: Iterable[str]) -> None:
    scored = (one for one in fake_events(FakeRun(steps=10_000)) if isinstance(one, Evaluated))
    loss = next(one.loss for one in scored if one.step >= step)
    folder = make_checkpoint(run, step, text=CONFIG, eval_loss=loss, tags=tuple(tags))
    # Large enough for a new setting not to change the size as it is shown.
    os.truncate(folder / "params" / "d", 4_000_000)
    seal(folder, {**read_info(folder).meta, "saved_at": saved_at})


def _fork(origin: RunDir, path: Path, fake: FakeRun, ended: float) -> None:
    """A fork with a lower rate, which becomes better step by step."""
    fork = fork_run(origin, FORKED_AT, path)
    _append(fork, fake, ended, lambda step: -0.05 * (step - FORKED_AT) / 6_000, after=FORKED_AT)
    _settings(fork, 1e-4)


def _queue(folder: Path) -> None:
    queue = QueueFolder(folder / "queue")
    config, text = Path("configs/quickstart.yaml"), (CONFIGS / "quickstart.yaml").read_text()
    for name in ("base", "wide", "deep", "long-context-at-half-the-batch", "muon", "lion"):
        new = NewJob(
            config, text=text, name=name, runs=folder / "night", folder=folder, overrides=(f"train.seed={len(name)}",)
        )
        add_job(queue, new)
    began = datetime(2026, 1, 2, 22, 41).astimezone()
    attempt = Attempt(began=began, devices=["0"], place="GPU 0")
    over = {"ended": datetime(2026, 1, 2, 23, 58).astimezone()}
    write_run(folder / "night" / "base", FakeRun(), now=began.timestamp())
    write_run(folder / "night" / "lion", FakeRun(steps=10_000, ending="completed"), now=began.timestamp())
    killed = attempt.model_copy(update={**over, "how": "killed (signal 9) at step 1,200"})
    queue.change(1, state="running", run_dir="night/base", attempts=[killed, attempt], for_seconds=28_800.0)
    queue.change(2, urgent=True)
    queue.change(3, after=[2])
    queue.change(4, state="held", reason="held by the user")
    done = attempt.model_copy(update={**over, "how": "completed"})
    queue.change(6, state="done", reason="completed", run_dir="night/lion", attempts=[done])
    failed = attempt.model_copy(update={**over, "how": "exit code 1"})
    queue.change(5, state="failed", reason="out of memory: 3.2 GB more than there is", attempts=[failed])
    sweep = SweepFolder(folder / "sweeps" / "rates")
    sweep.path.mkdir(parents=True)
    (sweep.path / "sweep.yaml").write_text(SWEEP)
    sweep.write([_trial(number) for number in range(8)])
    found = {"optim.lr": 0.71, "optim.name": 0.08, "model.num_layers": 0.21}
    sweep.write_importance(found, "PED-ANOVA of 10 complete trials")


def _trial(number: int) -> Trial:
    lr = (1e-4, 2.5e-4, 9e-4, 3e-3, 7e-3, 2e-2, 6e-2, 0.1)[number]
    name = ("adamw", "muon", "lion")[number % 3]
    values: dict[str, Any] = {"optim.lr": lr, "optim.name": name, "model.num_layers": number * 7 % 12 + 1}
    if number == 6:
        reason = "diverged: the loss is nan at step 40"
        return Trial(number=number, values=values, job=2, state="failed", reason=reason)
    if number == 7:
        return Trial(number=number, values=values, job=3, state="waiting")
    state, step = ("pruned", 60) if number in (0, 5) else ("complete", 200)
    reason = "pruned at step 60: 0.4 above the median" if state == "pruned" else ""
    score = 2.1 + 0.09 * abs(number - 3) + number / 1000
    found = {"score": score, "state": state, "step": step, "reason": reason, "run_dir": "night/lion"}
    return Trial(number=number, values=values, job=6, **found)


# Answers of an engine -----------------------------------------------------------------------

_TEXTS = (
    "def area(radius):\n    return 3.14159 * radius ** 2\n",
    '"""Names of days."""\n\nDAYS = ("Monday", "Tuesday")\n',
    "for line in lines:\n\tprint(line.strip())  # [b]no markup[/b] \x1b[31m\n",
)


def _row(number: int) -> dict[str, Any]:
    runs: list[dict[str, Any]] = []
    for document in range(4):
        text = _TEXTS[(number + document) % len(_TEXTS)]
        words = [piece + " " for piece in text.split(" ")]
        counted = {"document": document, "begins": document > 0, "counted": True, "ids": list(range(len(words)))}
        if document == 2:
            runs.append({"document": 2, "begins": True, "counted": False, "ids": [1], "pieces": ["question: "]})
        runs.append({**counted, "begins": document in (1, 3), "pieces": [*words, "<eos>"]})
    runs.append({"document": -1, "begins": False, "counted": False, "ids": [0] * 9, "pieces": []})
    return {"micro_batch": 0, "row": number, "documents": 4, "padding": 9, "runs": runs}


_SUMMARY = {
    "step": 1, "shape": [1, 4, 256], "documents": 16, "lengths": {"min": 2, "median": 14, "max": 31},
    "tokens_per_byte": 0.291, "packing_efficiency": 0.8594, "masked": 0.0156, "source": "configs/text/*.py, 61 files",
    "text_documents": 61, "text_lengths": {"min": 4, "median": 210, "max": 9_400}, "epoch_tokens": 1_500_000,
    "epochs": 2.5, "isolated": True,
}  # fmt: skip
_FIGURES = {
    "parameters": 681_664,
    "breakdown": {"embedding": 49_152, "total": 681_664},
    "tokens_per_step": 1024,
    "total_tokens": 819_200,
    "tokens_per_parameter": 1.2,
    "total_flops": 3.4e12,
    "peak_flops": 1e12,
    "memory": {"parameters": 10, "optimizer": 20, "gradients": 10, "activations": 960, "compiled": None, "total": 1000},
    "device": {"platform": "gpu", "name": "fake", "memory_limit": 1250},
    "schedule": [[1, 1e-4], [10, 1e-3], [20, 1e-5]],
}
# In the place of `chomp inspect --json` and `chomp preview --interactive --json`.
ENGINE = f"""
import json, sys
if sys.argv[1] != "preview":
    print(json.dumps({_FIGURES!r}))
    sys.exit()
rows = {[_row(number) for number in range(4)]!r}
for line in sys.stdin:
    asked = json.loads(line)
    summary = {_SUMMARY!r} | {{"step": asked["batch"]}}
    print(json.dumps({{"summary": summary, "rows": rows[asked["first"]:][: asked["rows"]]}}), flush=True)
"""
