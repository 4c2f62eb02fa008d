"""Home with a thousand run directories: seconds to the first picture and to all rows, and what an idle minute costs.

The console runs on a pseudo-terminal of 160x48. What it takes with a folder without runs is subtracted.

python -m benchmarks.console_home [--runs N] [--idle SECONDS] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import random
import select
import signal
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil

from chomp.config import derive, derived_section, parse_config
from chomp.record.codec import encode, json_line
from chomp.record.events import Checkpoint, Compiled, Evaluated, Phase, RunEnded, RunStarted
from chomp.record.manifest import META, seal
from chomp.record.notes import Notes, write_notes
from chomp.record.rundir import RunDir

ROWS = 200
EVALUATIONS = 10
SAVES = 2
FIRST_SECONDS, ALL_SECONDS, IDLE_SHARE = 0.3, 3.0, 0.01
# Sizes are added up after the rows are there, and a minute's change of the clock is not the console's.
SETTLE_SECONDS = 15.0
CONFIG = (
    "model: {backend: dummy, model_dim: 64}\ntrain: {steps: 200, seq_len: 64}\noptim: {lr: 1e-3, warmup_steps: 2}\n"
)


def write_runs(folder: Path, count: int) -> None:
    """Finished runs with other rates and losses, some with tags, the newest last."""
    noise, now = random.Random(0), time.time() - 86_400
    config = parse_config(CONFIG, source="benchmark").config
    table = {**config.model_dump(), "derived": derived_section(derive(config))}
    for number in range(count):
        run = RunDir(folder / f"run-{number:04d}")
        run.path.mkdir(parents=True)
        rate, t = 10 ** noise.uniform(-4, -2), now - (count - number) * 600
        table["optim"] = {**table["optim"], "lr": rate}
        run.config_resolved.write_text(json.dumps(table, indent=2))
        run.config_original.write_text(CONFIG)
        _write_events(run, t, noise)
        write_notes(run, Notes(name=f"rate {rate:.1e}", tags=("sweep",) if number % 3 else ()))
        for step in range(ROWS // SAVES, ROWS + 1, ROWS // SAVES):
            place = run.checkpoints / str(step)
            place.mkdir(parents=True)
            (place / "params").write_bytes(b"x" * 1000)
            seal(place, {"step": step, "saved_at": t, "eval_loss": 3.0})
            assert (place / META).exists()
        os.utime(run.events, (t + ROWS, t + ROWS))


def _write_events(run: RunDir, t: float, noise: random.Random) -> None:
    device = {"platform": "gpu", "name": "gpu", "count": 1}
    end, asymptote = t + ROWS, noise.uniform(2.5, 3.5)
    events = [
        (t, Phase(name="data", step=0)),
        (t, RunStarted(1, "box", 1, None, {}, device, {}, 10**8, 4096, ROWS)),
        (t, Compiled(5.0, False, flops_per_token=6e8)),
    ]
    for step in range(ROWS // EVALUATIONS, ROWS + 1, ROWS // EVALUATIONS):
        loss = asymptote + 4 / step
        events += [(t + step, Evaluated(step, loss, 1.0, loss / 3, 10**6, 1.0)), (t + step, Phase("train", step))]
    events += [(end, Checkpoint(state="committed", step=step, bytes=1000)) for step in (100, 200)]
    events.append((end, RunEnded("completed", f"all {ROWS} steps done", ROWS, 0, {"train": float(ROWS)})))
    run.events.write_bytes(b"".join(encode(event, at) for at, event in events))
    rows = (
        {"step": step, "loss": round(asymptote + 4 / step + noise.gauss(0, 0.05), 5), "grad_norm": 0.7, "lr": 1e-3,
         "tokens_seen": step * 4000, "tokens_per_sec": 1e5, "step_time_s": 0.04, "t": round(t + step, 3)}
        for step in range(1, ROWS + 1)
    )  # fmt: skip
    run.metrics.write_bytes(b"".join(map(json_line, rows)))


class Console:
    """`chomp-tui` on a pseudo-terminal."""

    def __init__(self, runs: Path, home: Path) -> None:
        self.began = time.perf_counter()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            environ = {
                **os.environ,
                "TERM": "xterm-256color",
                "XDG_CONFIG_HOME": str(home),
                "XDG_STATE_HOME": str(home),
            }
            os.execve(sys.executable, [sys.executable, "-m", "chomp_tui", "--runs", str(runs)], environ)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 48, 160, 0, 0))
        self.seen = b""

    def read(self, seconds: float) -> int:
        """Take what it writes within a time; returns how many bytes."""
        end, before = time.perf_counter() + seconds, len(self.seen)
        while (left := end - time.perf_counter()) > 0:
            if select.select([self.fd], [], [], left)[0]:
                self.seen += os.read(self.fd, 1 << 16)
        return len(self.seen) - before

    def until(self, shows: Callable[[bytes], bool]) -> float:
        """Seconds from the start until the output fulfils a condition."""
        while not shows(self.seen):
            if time.perf_counter() - self.began > 120:
                raise TimeoutError(f"it was never drawn: {self.seen[-300:]!r}")
            self.read(0.01)
        return time.perf_counter() - self.began

    def close(self) -> None:
        """Kill it."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def measure(runs: Path, count: int, idle_seconds: float, home: Path) -> tuple[float, float, float, int]:
    """Seconds to the first picture and to all rows, the share of a core when idle, and bytes written then."""
    with ExitStack() as stack:
        empty = Console(home / "none", home)
        stack.callback(empty.close)
        usual = empty.until(lambda seen: b"No runs yet" in seen)
        empty.read(1.0)
    with ExitStack() as stack:
        console = Console(runs, home)
        stack.callback(console.close)
        newest = f"run-{count - 1:04d}".encode()
        first = console.until(lambda seen: newest in seen) - usual
        every = console.until(lambda seen: f"{count:,} runs, ".encode() in seen) - usual
        console.read(SETTLE_SECONDS)
        process = psutil.Process(console.pid)
        before = sum(process.cpu_times()[:2])
        written = console.read(idle_seconds)
        return first, every, (sum(process.cpu_times()[:2]) - before) / idle_seconds, written


def main() -> None:
    """Print the four figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--idle", type=float, default=60.0)
    parser.add_argument("--keep", type=Path, help="Write the runs there, or use those that are there.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chomp-home-") as folder:
        runs = options.keep or Path(folder) / "runs"
        if not runs.exists():
            write_runs(runs, options.runs)
        # Once before, so that files and modules are in memory.
        for idle_seconds in (1.0, options.idle):
            first, every, share, written = measure(runs, options.runs, idle_seconds, Path(folder))
    print(
        f"{options.runs:,} runs on Home at 160x48: first picture {first:.2f} s (target below {FIRST_SECONDS}), all "
        f"rows {every:.2f} s (below {ALL_SECONDS}), idle {share:.2%} of a core (below {IDLE_SHARE:.0%}), "
        f"{written:,} bytes written in {options.idle:.0f} idle seconds (0)"
    )


if __name__ == "__main__":
    main()
