"""What a chart costs: the picture alone, and a whole frame of the widget with its strips.

python -m benchmarks.chart [--repeats N]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable

import numpy as np
from textual.app import App, ComposeResult

from chomp.curves.smooth import smoothed
from chomp_tui.chart.frame import ChartSettings, draw
from chomp_tui.chart.series import Series
from chomp_tui.widgets.chart import LineChart

COLUMNS, ROWS = 120, 30
SCREEN, TARGET_MS = (160, 48), 30
SIZES = (5_000, 200_000, 1_000_000)


class Host(App[None]):
    """One chart that fills the screen."""

    def compose(self) -> ComposeResult:
        yield LineChart("loss")


def curve(count: int) -> tuple[Series, Series, Series]:
    """A noisy loss with a few bad steps, its average, and an evaluation every percent."""
    generator = np.random.default_rng(0)
    steps = np.arange(1.0, count + 1)
    base = 2.4 + 8 * np.exp(-steps / (count / 40)) + 1.5 * (steps / (count / 60) + 1) ** -0.6
    loss = base + generator.normal(0, 0.1, count)
    loss[count // 2 : count // 2 + 3] = np.nan
    every = count // 100
    return (
        Series("train", steps, loss, "raw"),
        Series("smooth", steps, smoothed(steps, loss, 50), "smooth"),
        Series("eval", steps[every - 1 :: every], base[every - 1 :: every], "eval", sparse=True),
    )


def median_ms(repeats: int, work: Callable[[], object]) -> float:
    """Median milliseconds of one call, after one that does not count."""
    work()
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(taken)


def overlay(rows: int, steps_more: int) -> list[Series]:
    """Five runs with their evaluations, some rows further."""
    lines = []
    for slot in range(5):
        steps = np.arange(1.0, rows + steps_more + 1)
        loss = 2.4 + 0.1 * slot + 8 * np.exp(-steps / (rows / 40)) + 0.05 * np.sin(steps * (2.1 + slot))
        lines.append(Series(f"run {slot}", steps, loss, slot=slot))
        lines.append(Series("", steps[99::100], loss[99::100] + 0.1, "eval", sparse=True, slot=slot))
    return lines


async def overlay_ms(rows: int, updates: int) -> list[float]:
    """Processor milliseconds of each update of five overlaid runs, until it is composed, less those of waiting."""
    app = Host()
    taken, idle = [], []
    async with app.run_test(size=SCREEN) as pilot:
        chart = app.query_one(LineChart)
        made = [overlay(rows, number) for number in range(updates)]
        for lines in made:
            began = time.process_time()
            chart.show(lines)
            await pilot.pause()
            taken.append(1e3 * (time.process_time() - began))
            began = time.process_time()
            await pilot.pause()
            idle.append(1e3 * (time.process_time() - began))
    return sorted(one - statistics.median(idle) for one in taken[1:])


async def main() -> None:
    """Print one line per length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=30)
    repeats = parser.parse_args().repeats
    print(f"{COLUMNS}×{ROWS} cells, median of {repeats}, ms")
    print(f"{'points':>10} {'one line':>9} {'loss chart':>11} {'log y':>7} {'zoomed':>7} {'widget':>7} {'smooth':>7}")
    app = Host()
    async with app.run_test(size=(COLUMNS, ROWS)) as pilot:
        chart = app.query_one(LineChart)
        for count in SIZES:
            lines = curve(count)
            chart.show(lines)
            await pilot.pause()

            def frame(lines: tuple[Series, ...] = lines) -> None:
                chart.show(lines)
                chart.notify_style_update()
                for row in range(ROWS):
                    chart.render_line(row)

            zoomed = ChartSettings(window=ChartSettings().window.zoomed(8, 1, count, 1))
            figures = (
                median_ms(repeats, lambda: draw(lines[:1], COLUMNS, ROWS, ChartSettings())),  # noqa: B023
                median_ms(repeats, lambda: draw(lines, COLUMNS, ROWS, ChartSettings())),  # noqa: B023
                median_ms(repeats, lambda: draw(lines, COLUMNS, ROWS, ChartSettings(log_y=True))),  # noqa: B023
                median_ms(repeats, lambda: draw(lines, COLUMNS, ROWS, zoomed)),  # noqa: B023
                median_ms(repeats, frame),
                median_ms(repeats, lambda: smoothed(lines[0].x, lines[0].y, 50)),  # noqa: B023
            )
            widths = (9, 11, 7, 7, 7, 7)
            print(
                f"{count:>10,} " + " ".join(f"{ms:{w}.2f}" for ms, w in zip(figures, widths, strict=True)), flush=True
            )


if __name__ == "__main__":
    asyncio.run(main())
    for rows in (5_000, 200_000):
        found = asyncio.run(overlay_ms(rows, 40))
        tail = found[int(0.95 * len(found))]
        print(
            f"one update of five overlaid runs at {SCREEN[0]}×{SCREEN[1]}, {rows:,} rows each: median "
            f"{statistics.median(found):.1f} ms of processor, 95th percentile {tail:.1f} (target below {TARGET_MS})"
        )
