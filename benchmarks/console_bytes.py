"""What the console writes to its terminal, which over SSH is what it costs: opening a run, updates, keys, rest.

A run that has ended must cost nothing. Where an engine is silent, the header tells the age of its last record, in
minutes after the first.

python -m benchmarks.console_bytes [--rows N] [--updates N]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from benchmarks.console_live import COLUMNS, LINES, Console
from benchmarks.console_open import write_run
from chomp.record.lock import RunLock
from chomp.record.rundir import RunDir

QUIET_SECONDS = 1.5
# Longer than the notices of a console that opens a run.
START_SECONDS = 10.0
# The age of the last record: so few bytes are no repaint.
AGES_BYTES = 100
KEYS = (
    ("y", "a logarithmic axis"),
    ("y", "a linear axis"),
    ("+", "zoom"),
    ("[", "pan"),
    ("0", "the whole run"),
    ("\x1b[D", "the crosshair appears"),
    ("\x1b[D", "the crosshair moves by a cell"),
    ("\x1b", "no crosshair"),
    ("n", "the next tab"),
    ("n", "the next tab"),
)


def settled_bytes(console: Console, first_seconds: float = QUIET_SECONDS) -> int:
    """What is painted until only ages have changed for a while."""
    total = console.drain(first_seconds)
    while (part := console.drain(QUIET_SECONDS)) > AGES_BYTES:
        total += part
    return total


def measure(run: Path, rows: int, updates: int) -> None:
    """Print the bytes of a console beside a live run, then of one beside the same run when it has ended."""
    run.mkdir(parents=True)
    write_run(run, rows)
    events = run / "events.jsonl"
    whole = events.read_bytes()
    # Without its end: a run that goes on.
    events.write_bytes(b"\n".join(whole.split(b"\n")[:-2]) + b"\n")
    print(f"bytes written at {COLUMNS}x{LINES}, {rows:,} rows")
    # Held by a live process, which this one is.
    lock = RunLock(RunDir(run).lock)
    lock.acquire()
    _live(run, rows, updates)
    lock.release()
    events.write_bytes(whole)
    console = Console(run)
    settled_bytes(console, 4.0)
    console.drain(START_SECONDS)
    print(f"  a minute of an ended run    {console.drain(60.0):>9,}   (0)")
    console.close()


def _live(run: Path, rows: int, updates: int) -> None:
    metrics = run / "metrics.jsonl"
    row = json.loads(metrics.read_bytes().splitlines()[-1])
    console = Console(run)
    print(f"  opening the run             {settled_bytes(console, 4.0):>9,}")
    taken = []
    for number in range(1, updates + 1):
        row = {**row, "step": rows + number, "t": row["t"] + 1, "loss": 3 + 0.001 * (number * 7 % 13)}
        with metrics.open("a") as file:
            file.write(json.dumps(row) + "\n")
        taken.append(settled_bytes(console))
    print(f"  an update                   {statistics.median(taken):>9,.0f}   most {max(taken):,}")
    console.drain(60.0)
    print(f"  a minute of a silent engine {console.drain(60.0):>9,}   (its age: one number)")
    for key, words in KEYS:
        console.press(key.encode())
        print(f"  {words:<27} {settled_bytes(console):>9,}")
    console.close()


def main() -> None:
    """Measure in a temporary folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--updates", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chomp-bytes-") as folder:
        measure(Path(folder) / "runs" / "run", options.rows, options.updates)


if __name__ == "__main__":
    main()
