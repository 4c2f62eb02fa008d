"""Charts of a report: the console's range and smoothing, and thinning."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from chomp.record.comparison import compare
from chomp.record.run_record import load_record
from chomp.report.charts import Chart, Line, charts_of
from chomp.report.svg import chart_html, thinned
from chomp_tui.screens.compare.curves import loss_series, span_of
from chomp_tui.screens.run.charts import SmoothedLoss
from chomp_tui.settings import Settings
from tests.fakeruns import FakeRun, write_run


def smoothed_lines(chart: Chart) -> list[Line]:
    return [line for line in chart.lines if line.role == "mean"]


def test_the_smoothed_loss_is_the_console_s(tmp_path: Path) -> None:
    runs = [load_record(write_run(tmp_path / str(seed), FakeRun(steps=1_000, seed=seed)).path) for seed in (1, 2)]
    (alone,) = smoothed_lines(charts_of(runs[:1])[0])
    span = Settings().smoothing
    assert f"smoothed {span} steps" in alone.name
    np.testing.assert_array_equal(alone.y, SmoothedLoss().of(runs[0].view.rows, span))
    found = compare(runs)
    span = span_of(found)
    shown = [line for line in loss_series(found, "step", span, 80, with_training=True) if line.tone == "smooth"]
    for line, console in zip(smoothed_lines(charts_of(runs)[0]), shown, strict=True):
        assert f"smoothed {span} steps" in line.name
        np.testing.assert_array_equal(line.y, console.y)
    (raw,) = (line for line in charts_of(runs[:1], smoothing=0)[0].lines if line.name == "train")
    np.testing.assert_array_equal(raw.y, runs[0].view.rows["loss"])


def test_the_begin_of_a_loss_does_not_set_the_range_and_what_is_outside_is_counted() -> None:
    x = np.arange(1, 1001.0)
    y = 2 + 8 * np.exp(-x / 10) + np.random.default_rng(0).normal(0, 0.01, 1000)
    y[700] = 50.0
    chart = Chart("loss", "Loss", (Line("train", x, y, "raw"),))
    scale = chart.scale()
    assert scale is not None
    assert 2 > scale.low > 1.9
    assert scale.high < 2.2
    assert f"▲ {np.count_nonzero(y > scale.high)} " in chart_html(chart)
    whole = Chart("loss", "Loss", chart.lines, shown="all")
    assert "clipped" not in chart_html(whole)


def test_charts_of_nothing_and_of_one_value() -> None:
    nothing, one = np.array([np.nan, np.inf]), np.array([3.0])
    assert chart_html(Chart("lr", "Rate", ())) == ""
    assert chart_html(Chart("lr", "Rate", (Line("", nothing, nothing, "plain"),))) == ""
    assert '<span class="y-tick" style="top:50.00%">3</span>' in chart_html(
        Chart("lr", "Rate", (Line("", one, one, "plain"),))
    )


def test_thinning_keeps_every_spike_and_every_gap() -> None:
    x = np.arange(100_000.0)
    y = np.sin(x / 5_000)
    y[43_210], y[60_000:70_000], y[99_999] = 9.0, np.nan, np.inf
    less_x, less_y = thinned(x, y, 500)
    assert len(less_x) == len(less_y) <= 1_000
    assert np.nanmax(less_y) == 9.0
    assert np.isnan(less_y).sum() > 90
    assert np.isnan(less_y[np.abs(less_x - 65_000) < 3_000]).all()
    few = thinned(x[:5], y[:5], 500)
    assert list(few[1]) == list(y[:5])
