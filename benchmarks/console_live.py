"""What the console costs while a model trains, and how quickly it answers a key then.

One engine trains the quickstart configuration, and a console on a pseudo-terminal is attached to it. Time and again
that is stopped (SIGSTOP) and let go on, so that what else the machine does falls on steps with and without it alike.
A part is as long as the console rests between two updates where all cores work, so that each holds one update.

python -m benchmarks.console_live [--rounds N] [--turns N]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from fcntl import ioctl
from pathlib import Path

import psutil

from chomp.record.line_files import LineReader
from chomp_tui.screens.run.following import REST_WHERE_ALL_WORK_SECONDS

COLUMNS, LINES = 160, 48
PART_SECONDS, CATCH_UP_SECONDS = REST_WHERE_ALL_WORK_SECONDS, 1.0
SHARE_SECONDS = 6 * PART_SECONDS
# Each changes the charts: axis, zoom, what x counts, zoom back, smoothing.
KEYS = (b"y", b"+", b"x", b"-", b"s")
KEY_TARGET_MS, RATE_TARGET = 50, 0.98


class Console:
    """`chomp-tui attach RUN` on a pseudo-terminal of its own."""

    def __init__(self, run: Path):
        self._fd, inner = pty.openpty()
        ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "chomp_tui", "attach", str(run), "--read-only"],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(LINES)},
        )
        os.close(inner)
        self.cpu = psutil.Process(self.process.pid)

    def drain(self, seconds: float) -> int:
        """Read what is painted for so long; returns the bytes."""
        got, end = 0, time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            got += self._read(left)
        return got

    def press(self, key: bytes) -> None:
        """Send a key."""
        os.write(self._fd, key)

    def paint_seconds(self, key: bytes) -> float:
        """Seconds from pressing a key to the first byte that is painted after it."""
        self.press(key)
        pressed = time.perf_counter()
        if not self._read(10.0):
            raise RuntimeError(f"nothing was painted within 10 s of {key!r}")
        return time.perf_counter() - pressed

    def _read(self, timeout_seconds: float) -> int:
        ready, _, _ = select.select([self._fd], [], [], timeout_seconds)
        return len(os.read(self._fd, 1 << 16)) if ready else 0

    def cpu_seconds(self) -> float:
        times = self.cpu.cpu_times()
        return times.user + times.system

    def close(self) -> None:
        os.write(self._fd, b"q")
        deadline = time.monotonic() + 10
        while self.process.poll() is None and time.monotonic() < deadline:
            # A console that ends does not wait for a reader of its last output; its terminal cannot be read afterwards.
            with contextlib.suppress(OSError):
                self._read(0.1)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._fd)


def start_engine(run: Path) -> subprocess.Popen[bytes]:
    """The quickstart, without an end in sight, logging every step."""
    settings = (
        "train.steps=1000000",
        "train.log_every=1",
        "train.eval_every=0",
        "train.generate_every=0",
        "checkpoint.save_every=1000000",
        "checkpoint.save_every_seconds=0",
        "optim.decay_steps=1000000",
    )
    overrides = [part for setting in settings for part in ("-o", setting)]
    command = [sys.executable, "-m", "chomp", "train", "configs/quickstart.yaml", "--run-dir", str(run), *overrides]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def new_times(reader: LineReader) -> list[float]:
    """When the rows that are new were written."""
    return [json.loads(line)["t"] for line in reader.read()]


def seconds_per_step(console: Console, reader: LineReader, *, attached: bool) -> float:
    """What the engine takes for a step, from PART_SECONDS with the console or with that stopped."""
    os.kill(console.process.pid, signal.SIGCONT if attached else signal.SIGSTOP)
    # What it missed while it was stopped is no part of what it costs.
    console.drain(CATCH_UP_SECONDS)
    new_times(reader)
    if bool(console.drain(PART_SECONDS)) is not attached:
        raise RuntimeError("a part with the console holds no update, or one without it does")
    found = new_times(reader)
    return (found[-1] - found[0]) / (len(found) - 1)


def rate_attached(console: Console, reader: LineReader) -> float:
    """Training rate with the console over that without, of one turn: with, without, without, with.

    A machine that grows slower meanwhile is none of the console's in that order.
    """
    first, *alone, last = (seconds_per_step(console, reader, attached=way) for way in (True, False, False, True))
    return sum(alone) / (first + last)


def share_of_core(console: Console, seconds: float) -> float:
    """How much of one core the console takes."""
    before = console.cpu_seconds()
    console.drain(seconds)
    return (console.cpu_seconds() - before) / seconds


def quiet_keys(console: Console, count: int) -> list[float]:
    """Paint times of `count` presses, each after the screen has been quiet for a moment."""
    found = []
    for number in range(count):
        # A press that falls into a tick's own painting would be answered by that.
        while console.drain(0.08 + 0.01 * (number % 7)):
            pass
        found.append(console.paint_seconds(KEYS[number % len(KEYS)]))
    return found


def measure(run: Path, rounds: int, turns: int) -> None:
    """Print the figures of one engine."""
    engine = start_engine(run)
    reader = LineReader(run / "metrics.jsonl")
    try:
        while not new_times(reader):
            if engine.poll() is not None:
                raise RuntimeError(f"the engine ended; see {run / 'train.log'}")
            time.sleep(0.5)
        time.sleep(5)
        ratios: list[list[float]] = []
        shares: list[float] = []
        presses: list[float] = []
        for _ in range(rounds):
            console = Console(run)
            console.drain(5)
            ratios.append([rate_attached(console, reader) for _ in range(turns)])
            console.drain(PART_SECONDS)
            shares.append(share_of_core(console, SHARE_SECONDS))
            presses += quiet_keys(console, 70)
            console.close()
    finally:
        engine.send_signal(signal.SIGKILL)
        engine.wait()
    # What else the machine does falls on one part of a turn or another: a median leaves such turns aside, and what the
    # console costs is in all of them.
    every = [ratio for found in ratios for ratio in found]
    print(
        f"training rate attached / alone, median of {len(every)} turns {statistics.median(every):.3f} "
        f"(target at least {RATE_TARGET})"
    )
    for found in ratios:
        print(f"  median {statistics.median(found):.3f} of   [{', '.join(f'{ratio:.3f}' for ratio in found)}]")
    print(f"console at {COLUMNS}x{LINES}: median {statistics.median(shares):.1%} of one core")
    ordered = sorted(presses)
    tail = ordered[int(0.95 * len(ordered))]
    print(
        f"key to paint while training: median {statistics.median(presses) * 1e3:.1f} ms, "
        f"95th percentile {tail * 1e3:.1f} ms (target below {KEY_TARGET_MS}), longest {ordered[-1] * 1e3:.1f} ms "
        f"of {len(presses)} presses"
    )


def main() -> None:
    """Measure in a temporary folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=12, help="turns of four parts in each round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder) / "run", options.rounds, options.turns)


if __name__ == "__main__":
    main()
