"""What the console costs while a model trains, and how quickly it answers a key then.

One engine trains the quickstart configuration, and a console on a pseudo-terminal is attached to it. Time and again
that is stopped (SIGSTOP) and let go on, so that what else the machine does falls on steps with and without it alike.

python -m benchmarks.console_live [--rounds N] [--seconds N]
"""

from __future__ import annotations

import argparse
import contextlib
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

from chomp.events import EventReader, Step

COLUMNS, LINES = 160, 48
PART_SECONDS = 6.0


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

    def paint_seconds(self, key: bytes) -> float:
        """Seconds from pressing a key to the first byte that is painted after it."""
        os.write(self._fd, key)
        pressed = time.perf_counter()
        if not self._read(2.0):
            raise RuntimeError(f"nothing was painted within 2 s of {key!r}")
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
            # Whoever paints its last is not to wait for a reader; a terminal whose program has left cannot be read.
            with contextlib.suppress(OSError):
                self._read(0.1)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._fd)


def start_engine(run: Path) -> subprocess.Popen[bytes]:
    """The quickstart, without an end in sight, logging every step."""
    settings = ("train.steps=1000000", "train.log_every=1", "train.eval_every=0", "train.generate_every=0")
    settings += ("checkpoint.save_every=1000000", "checkpoint.save_every_seconds=0", "optim.decay_steps=1000000")
    overrides = [part for setting in settings for part in ("-o", setting)]
    command = [sys.executable, "-m", "chomp", "train", "configs/quickstart.yaml", "--run-dir", str(run), *overrides]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def new_steps(reader: EventReader) -> list[Step]:
    return [event for event in reader.read() if isinstance(event, Step)]


def rate_attached(console: Console, reader: EventReader, seconds: float, shares: list[float]) -> float:
    """Training rate with the console over that without, from so many seconds of each, in turns of PART_SECONDS."""
    times: dict[bool, float] = {True: 0.0, False: 0.0}
    steps = {True: 0, False: 0}
    worked = 0.0
    for turn in range(round(2 * seconds / PART_SECONDS)):
        # With, without, without, with: a machine that grows slower is none of the console's.
        is_with = turn % 4 in (0, 3)
        os.kill(console.process.pid, signal.SIGCONT if is_with else signal.SIGSTOP)
        before = console.cpu_seconds()
        console.drain(1)
        new_steps(reader)
        console.drain(PART_SECONDS)
        found = [event.t for event in new_steps(reader)]
        times[is_with] += found[-1] - found[0]
        steps[is_with] += len(found) - 1
        worked += console.cpu_seconds() - before if is_with else 0.0
    os.kill(console.process.pid, signal.SIGCONT)
    shares.append(worked / (seconds + seconds / PART_SECONDS))
    return (times[False] / steps[False]) / (times[True] / steps[True])


def quiet_keys(console: Console, count: int) -> list[float]:
    """Paint times of `count` presses, each after the screen has been quiet for a moment."""
    found = []
    for number in range(count):
        # A press that falls into a tick's own painting would be answered by that.
        while console.drain(0.08 + 0.01 * (number % 7)):
            pass
        found.append(console.paint_seconds(b"y"))
    return found


def measure(run: Path, rounds: int, seconds: float) -> None:
    """Print the figures of one engine."""
    engine = start_engine(run)
    reader = EventReader(run / "events.jsonl")
    try:
        while not new_steps(reader):
            if engine.poll() is not None:
                raise RuntimeError(f"the engine ended; see {run / 'train.log'}")
            time.sleep(0.5)
        time.sleep(5)
        ratios: list[float] = []
        shares: list[float] = []
        presses: list[float] = []
        for _ in range(rounds):
            console = Console(run)
            console.drain(5)
            ratios.append(rate_attached(console, reader, seconds, shares))
            presses += quiet_keys(console, 70)
            console.close()
    finally:
        engine.send_signal(signal.SIGKILL)
        engine.wait()
    pairs = ", ".join(f"{ratio:.3f}" for ratio in ratios)
    print(f"training rate attached / alone, median of turns {statistics.median(ratios):.3f}   [{pairs}]")
    print(f"console at {COLUMNS}x{LINES}: median {statistics.median(shares):.1%} of one core")
    ordered = sorted(presses)
    tail = ordered[int(0.95 * len(ordered))]
    print(
        f"key to paint while training: median {statistics.median(presses) * 1e3:.1f} ms, "
        f"95th percentile {tail * 1e3:.1f} ms of {len(presses)} presses"
    )


def main() -> None:
    """Measure in a temporary folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=36)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder) / "run", options.rounds, options.seconds)


if __name__ == "__main__":
    main()
