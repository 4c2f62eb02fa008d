"""A run of a million rows is opened in the console: seconds to the first picture and to the whole, and memory.

Each opening is a fresh process that has Textual imported and follows the run as the run view does. Its main thread
meanwhile wakes every few milliseconds, as an application does that waits for keys.

python -m benchmarks.console_open [--rows N] [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from chomp.record.formatting import size

TICK_SECONDS = 0.005
PATIENCE_SECONDS = 300.0


def write_run(path: Path, rows: int) -> None:
    """A run as the engine writes it on a GPU: rows of ordinary length, an evaluation every 1000 steps."""
    from chomp.record.codec import encode, json_line
    from chomp.record.events import Evaluated, Phase, RunEnded, RunStarted

    noise, t = random.Random(0), time.time() - rows
    devices = {"platform": "gpu", "name": "gpu", "count": 1}
    started = RunStarted(1, "box", 1, None, {}, devices, {}, 10**8, 65_536, rows)
    with (path / "events.jsonl").open("wb") as file, (path / "metrics.jsonl").open("wb") as metrics:
        for event in (Phase(name="data", step=0), started, Phase(name="train", step=0)):
            file.write(encode(event, t))
        for step in range(1, rows + 1):
            t += 1
            evaluated = step % 1000 == 0
            if evaluated:
                file.write(encode(Phase(name="eval", step=step), t))
                file.write(encode(Evaluated(step, 3.1, 22.2, 1.1, 10**6, 8.5), t))
                file.write(encode(Phase(name="train", step=step), t))
            metrics.write(json_line({**_row(step, rows, noise, evaluated=evaluated), "t": round(t, 3)}))
        file.write(encode(RunEnded("completed", f"all {rows} steps done", rows, 0, {"train": float(rows)}), t))


def _row(step: int, rows: int, noise: random.Random, *, evaluated: bool) -> dict[str, object]:
    row: dict[str, object] = {
        "step": step,
        "loss": _fp32(3 + 7 * math.exp(-step / 5e4) + noise.gauss(0, 0.05)),
        "grad_norm": _fp32(abs(noise.gauss(0.7, 0.1))),
        "lr": _fp32(3e-4 * 0.5 * (1 + math.cos(math.pi * step / (rows + 1)))),
        "tokens_seen": step * 65_000,
        "tokens_per_sec": round(noise.gauss(65_000, 900), 2),
        "step_time_s": round(noise.gauss(1, 0.02), 6),
        "mfu": round(noise.gauss(0.41, 0.01), 4),
        "packing_mode": "sequential",
        "packing_utilization": 1.0,
        "device_memory_gb": round(noise.gauss(21, 0.1), 3),
        "peak_memory_gb": 22.104,
        "device_memory_limit_gb": 23.5,
        "host_memory_gb": round(noise.gauss(3.1, 0.01), 3),
    }
    return row | ({"eval_loss": 3.1, "eval_bpb": 1.1} if evaluated else {})


def _fp32(value: float) -> float:
    """As `chomp.train.metrics.shortest_repr` writes it, which this process does not import: it would bring JAX."""
    return float(str(np.float32(value)))


def open_once(path: Path) -> dict[str, float]:
    """Open the run in this process, as the run view does; what it took."""
    import textual.app  # noqa: F401 - counted: the console has it

    from chomp.record.status import status
    from chomp_tui.live.feed import RunFeed, RunUpdate

    before = peak_bytes()
    updates: list[tuple[float, RunUpdate]] = []
    whole = threading.Event()

    def deliver(update: RunUpdate) -> None:
        # The newest picture is the one that stays, as on a screen.
        updates[1:] = [(time.perf_counter() - began, update)]
        if update.read_fraction == 1:
            whole.set()

    feed = RunFeed(path, deliver)
    began, worked = time.perf_counter(), time.process_time()
    feed.start()
    longest = 0.0
    while not whole.is_set() and time.perf_counter() - began < PATIENCE_SECONDS:
        asleep = time.perf_counter()
        time.sleep(TICK_SECONDS)
        longest = max(longest, time.perf_counter() - asleep - TICK_SECONDS)
    feed.stop()
    (first_seconds, first), (whole_seconds, last) = updates
    return {
        "first": first_seconds,
        "first_rows": len(first.view.rows),
        "first_step": first.view.step,
        "whole": whole_seconds,
        "worked": time.process_time() - worked,
        "rows": len(last.view.rows),
        "step": last.view.step,
        "completed": status(last.view, last.liveness, time.time()).word == "completed",
        "before": before,
        "peak": peak_bytes(),
        "longest_wait": longest,
    }


def peak_bytes() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child is not None:
        print(json.dumps(open_once(asked.child)))
        return 0
    with tempfile.TemporaryDirectory(prefix="chomp-open-") as folder:
        write_run(Path(folder), asked.rows)
        print(f"{asked.rows:,} rows, {size((Path(folder) / 'metrics.jsonl').stat().st_size)}", flush=True)
        command = [sys.executable, "-m", "benchmarks.console_open", "--child", folder]
        results = [
            json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            for _ in range(asked.rounds)
        ]
    return report(results, asked.rows)


def report(results: list[dict[str, float]], rows: int) -> int:
    """Print medians; the exit code says whether what was shown is right."""

    def median(name: str) -> float:
        return statistics.median(result[name] for result in results)

    print(f"first picture  {median('first'):.2f} s, {median('first_rows'):,.0f} rows up to {median('first_step'):,.0f}")
    print(f"whole run      {median('whole'):.2f} s, {median('rows'):,.0f} rows up to step {median('step'):,.0f}")
    print(f"processor      {median('worked'):.2f} s until then, in the console's own process")
    print(f"peak memory    {size(median('peak'))}, of which {size(median('before'))} before the run")
    print(f"longest wait   {median('longest_wait') * 1e3:.0f} ms of a thread that waits for keys meanwhile")
    right = all(one["rows"] == one["step"] == one["first_step"] == rows and one["completed"] for one in results)
    print("what is shown is right" if right else "WRONG: rows, step or state differ")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
