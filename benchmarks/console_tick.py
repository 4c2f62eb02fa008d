"""What one update costs: a new row taken in, drawn and composed at 160x48, without a terminal.

Of the run view, and of Compare with five runs overlaid, without their difference: two pictures in turns, a row apart.

python -m benchmarks.console_tick [--updates N] [--rows N]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.console_open import write_run
from chomp.record.comparison import compare
from chomp.record.events import Step
from chomp.record.fold import Folding
from chomp.record.run_record import load_record
from chomp_tui.app import ChompApp
from chomp_tui.live.comparison_feed import Compared
from chomp_tui.live.feed import RunUpdate
from chomp_tui.screens.compare.screen import CompareScreen
from chomp_tui.screens.run.following import RunFollower
from chomp_tui.settings import Settings
from chomp_tui.state import ConsoleState

SIZE = (160, 48)
TARGET_MS = 30
RUNS, WARM_UP = 5, 3


async def measure(folder: Path, rows: int, updates: int) -> list[float]:
    """Processor milliseconds of each update until nothing is left to draw, less what waiting for that takes alone."""
    run = folder / "runs" / "run"
    run.mkdir(parents=True)
    write_run(run, rows)
    events = run / "events.jsonl"
    # Without its end: a run that goes on.
    events.write_bytes(b"\n".join(events.read_bytes().split(b"\n")[:-2]) + b"\n")
    app = ChompApp(ConsoleState(Settings(path=folder / "console.yaml"), runs=folder / "runs", configs=folder))
    taken = []
    async with app.run_test(size=SIZE) as pilot:
        app.open_run(run)
        screen = app.run_screen
        while screen.follower is None or (update := screen.follower.update) is None or update.read_fraction < 1:
            await pilot.pause(0.05)
        await pilot.pause(1.0)
        screen.follower.stop()
        await pilot.pause(0.5)
        idle = []
        for number in range(1, updates + 1):
            update = one_more(update, rows + number)
            began = time.process_time()
            screen.post_message(RunFollower.Updated(screen.follower.token, update))
            await pilot.pause()
            taken.append(1e3 * (time.process_time() - began))
            began = time.process_time()
            await pilot.pause()
            idle.append(1e3 * (time.process_time() - began))
    return [one - statistics.median(idle) for one in taken]


def one_more(update: RunUpdate, step: int) -> RunUpdate:
    """The same run a step and a log line later."""
    view = update.view
    names = ("loss", "grad_norm", "lr", "tokens_seen", "tokens_per_sec", "step_time_s", "mfu", "device_memory_gb")
    row = {name: view.rows.last(name) for name in names}
    # Numbers that differ in their last digits, as measured ones do.
    row |= {name: value * (1 + 0.001 * ((step * 7) % 13)) for name, value in row.items() if value is not None}
    folding = Folding(view)
    folding.add(Step(row={"step": step, **row}, t=(view.last_t or 0.0) + 1))
    return replace(update, view=folding.view(), log_lines=(f"step {step}",))


async def measure_compare(folder: Path, rows: int, updates: int) -> list[float]:
    """The same of Compare with `RUNS` runs."""
    paths, found = [folder / "runs" / f"run-{number}" for number in range(RUNS)], []
    for count in (rows, rows + 1):
        for path in paths:
            path.mkdir(parents=True, exist_ok=True)
            write_run(path, count)
        found.append(Compared(compare([load_record(path) for path in paths])))
    app = ChompApp(ConsoleState(Settings(path=folder / "console.yaml"), runs=folder / "runs", configs=folder))
    taken = []
    async with app.run_test(size=SIZE) as pilot:
        app.compare_runs(paths)
        screen = app.screen_of("compare")
        assert isinstance(screen, CompareScreen)
        while not screen.is_ready:
            await pilot.pause(0.05)
        feed = screen.feed
        assert feed is not None
        feed.stop()
        await pilot.pause(1.0)
        idle = []
        for number in range(updates + WARM_UP):
            began = time.process_time()
            screen.post_message(CompareScreen.Changed(feed, found[number % 2]))
            await pilot.pause()
            taken.append(1e3 * (time.process_time() - began))
            began = time.process_time()
            await pilot.pause()
            idle.append(1e3 * (time.process_time() - began))
    return [one - statistics.median(idle) for one in taken[WARM_UP:]]


def main() -> None:
    """Print the median and the 95th percentile."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--rows", type=int, default=5_000)
    options = parser.parse_args()
    for what, work in (("one update", measure), (f"one update of Compare with {RUNS} runs", measure_compare)):
        with tempfile.TemporaryDirectory(prefix="chomp-tick-") as folder:
            taken = sorted(asyncio.run(work(Path(folder), options.rows, options.updates)))
        print(
            f"{what} at {SIZE[0]}x{SIZE[1]}, {options.rows:,} rows: median {statistics.median(taken):.1f} ms of "
            f"processor time, 95th percentile {taken[int(0.95 * len(taken))]:.1f} ms (target below {TARGET_MS})",
            flush=True,
        )


if __name__ == "__main__":
    main()
