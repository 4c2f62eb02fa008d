"""From the command to the first finished step, with an empty compilation cache and with a full one; and light commands.

python -m benchmarks.start [--rounds N]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from chomp.record.event_log import read_events
from chomp.record.events import Compiled, Phase, RunStarted

CONFIG = Path(__file__).parent.parent / "configs" / "quickstart.yaml"


def start_once(folder: Path, cache: Path) -> dict[str, float]:
    """Seconds by part of one start: to the engine's first word, data and state, compilation, first step."""
    run_dir = folder / f"run-{time.monotonic_ns()}"
    command = [
        sys.executable,
        "-m",
        "chomp",
        "train",
        str(CONFIG),
        "--run-dir",
        str(run_dir),
        "-o",
        "train.steps=1",
        "-o",
        "train.eval_every=0",
        "-o",
        "train.generate_every=0",
        "-o",
        "optim.warmup_steps=0",
        "-o",
        "checkpoint.enabled=false",
    ]
    began = time.time()
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    )
    events = read_events(run_dir / "events.jsonl")
    at = {
        "imports": next(e.t for e in events if isinstance(e, Phase) and e.name == "data"),
        "data, model and state": next(e.t for e in events if isinstance(e, RunStarted)),
        "trace and compile": next(e.t for e in events if isinstance(e, Compiled)),
        "first step": json.loads((run_dir / "metrics.jsonl").open().readline())["t"],
    }
    parts, before = {}, began
    for name, t in at.items():
        parts[name], before = t - before, t
    return {**parts, "total": before - began}


def report(name: str, starts: list[dict[str, float]]) -> float:
    """Print medians by part; returns that of the total."""
    print(f"{name:<12}" + "  ".join(f"{part} {statistics.median(s[part] for s in starts):.2f} s" for part in starts[0]))
    return statistics.median(s["total"] for s in starts)


def command_seconds(*args: str) -> float:
    """Seconds for one light command."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "chomp", *args], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Measure starts and light commands."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cold, warm = [], []
        for number in range(options.rounds):
            cache = folder / f"cache-{number}"
            cold.append(start_once(folder, cache))
            warm.append(start_once(folder, cache))
    ratio = report("cold cache", cold) / report("warm cache", warm)
    print(f"cold / warm {ratio:.2f}")
    for args in (("--help",), ("config", "check", str(CONFIG))):
        print(f"chomp {' '.join(args)[:20]:<20} {statistics.median(command_seconds(*args) for _ in range(5)):.3f} s")


if __name__ == "__main__":
    main()
