"""Samples into dots: the envelope, gaps, connections, columns that keep their samples, and whole frames."""

from __future__ import annotations

import math
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from chomp.curves.bins import binned, samples
from chomp.curves.scale import Scale
from chomp.curves.smooth import smoothed
from chomp_tui.chart import raster
from chomp_tui.chart.canvas import Frame
from chomp_tui.chart.frame import ChartSettings, draw
from chomp_tui.chart.raster import BLOCK, BRAILLE, MARKERS
from chomp_tui.chart.roles import Role
from chomp_tui.chart.series import Series
from chomp_tui.chart.window import Window, column_edges

GOLDEN = Path(__file__).parent / "golden"
ANY = st.floats(width=64)
STEPS = np.arange(1.0, 1001.0)


def drawn(x: np.ndarray, y: np.ndarray, columns: int, rows: int, *, log: bool = False) -> np.ndarray:
    """Dots of one series over its whole extent."""
    series = samples(x, y, positive=log)
    bins = binned(series, column_edges(float(series.x[0]), float(series.x[-1]), columns))
    scale = Scale(float(bins.low.min()), float(bins.high.max()), log=log)
    return raster.lit(*raster.strokes(bins.scaled(scale), columns), rows)


def plot(frame: Frame, *, header: int = 1, axis: int = 1) -> list[str]:
    """The rows of cells that curves are drawn in, without labels."""
    rows = ["".join(text for text, _ in row)[frame.left :] for row in frame.rows]
    return rows[header : len(rows) - axis]


def roles(frame: Frame) -> list[list[Role]]:
    return [[role for text, role in row for _ in text] for row in frame.rows]


# Markers -----------------------------------------------------------------------------------


def test_braille_dots_are_where_unicode_has_them() -> None:
    for dot, (row, column) in enumerate(((0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (3, 0), (3, 1))):
        dots = np.zeros((4, 2), np.bool_)
        dots[row, column] = True
        assert BRAILLE.cells(dots).tolist() == [[0x2800 + (1 << dot)]]
    assert BRAILLE.cells(np.zeros((4, 4), np.bool_)).tolist() == [[32, 32]]
    assert BRAILLE.cells(np.ones((8, 2), np.bool_)).tolist() == [[0x28FF], [0x28FF]]


def test_half_blocks() -> None:
    dots = np.array([[0, 1, 0, 1], [0, 0, 1, 1]], np.bool_)
    assert "".join(map(chr, BLOCK.cells(dots)[0])) == " ▀▄█"


# Envelope ----------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.integers(1, 60),
    arrays.arrays(np.float64, st.integers(1, 400), elements=st.floats(-1e9, 1e9) | st.just(math.nan)),
    st.integers(0, 2**32 - 1),
)
def test_the_envelope_is_that_of_brute_force(columns: int, y: np.ndarray, seed: int) -> None:
    x = np.sort(np.random.default_rng(seed).uniform(-50, 50, len(y)))
    edges = column_edges(float(x[0]), float(x[-1]), columns)
    bins = binned(samples(x, y), edges)
    low = dict(zip(bins.column[bins.outside :].astype(int), bins.low[bins.outside :], strict=True))
    high = dict(zip(bins.column[bins.outside :].astype(int), bins.high[bins.outside :], strict=True))
    for column in range(columns):
        inside = y[(x >= edges[column]) & (x < edges[column + 1]) & np.isfinite(y)]
        assert (column in low) == bool(len(inside))
        if len(inside):
            assert (low[column], high[column]) == (inside.min(), inside.max())


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 40), st.data())
def test_every_finite_sample_lights_its_dot(columns: int, rows: int, data: st.DataObject) -> None:
    y = data.draw(arrays.arrays(np.float64, st.integers(1, 200), elements=ANY))
    x = np.sort(data.draw(arrays.arrays(np.float64, len(y), elements=st.floats(-1e300, 1e300))))
    finite = np.isfinite(y)
    if not finite.any():
        return
    dots = drawn(x, y, columns, rows)
    edges = column_edges(float(x[0]), float(x[-1]), columns)
    column = np.searchsorted(edges, x[finite], side="right") - 1
    row = raster.dot_rows(Scale(float(y[finite].min()), float(y[finite].max())).at(y[finite]), rows)
    assert dots.shape == (rows, columns)
    assert dots[row, column].all()


@pytest.mark.parametrize("marker", MARKERS)
@pytest.mark.parametrize("log_y", [False, True])
def test_one_spike_among_a_million_is_seen(marker: str, log_y: bool) -> None:
    y = np.ones(1_000_000)
    y[654_321] = 5.0
    frame = draw([Series("", np.arange(1e6), y, "raw")], 80, 20, ChartSettings(marker=marker, log_y=log_y))
    cell = frame.column_of(654_321.0)
    assert cell is not None
    assert sum(row[cell] not in " ·" for row in plot(frame)) >= 14
    assert sum(row[cell + 3] not in " ·" for row in plot(frame)) == 1


def test_a_line_without_gaps_has_no_holes() -> None:
    dots = drawn(np.arange(12.0), np.array([0, 9, 1, 8, 2, 7, 3, 6, 4, 5, 5, 0.0]), 97, 53)
    columns = np.flatnonzero(dots.any(axis=0))
    assert np.array_equal(columns, np.arange(columns[0], columns[-1] + 1))
    for left, right in pairwise(columns):
        one, other = np.flatnonzero(dots[:, left]), np.flatnonzero(dots[:, right])
        assert one.min() <= other.max() + 1
        assert other.min() <= one.max() + 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gap_stays_blank(bad: float) -> None:
    y = np.sin(STEPS / 100)
    y[400:600] = bad
    edges = column_edges(1.0, 1000.0, 100)
    lit = drawn(STEPS, y, 100, 40).any(axis=0)
    gap = (edges[:-1] >= 401) & (edges[1:] <= 600)
    assert gap.sum() >= 18
    assert not lit[gap].any()
    assert lit[(edges[1:] <= 400) | ((edges[:-1] > 601) & (edges[:-1] <= 1000))].all()


def test_what_is_not_above_zero_is_a_gap_on_a_logarithmic_axis() -> None:
    y = np.ones(100)
    y[50:60] = [0, -1, 0, -1, 0, -1, 0, -1, 0, -1]
    lit = drawn(np.arange(100.0), y, 100, 4, log=True).any(axis=0)
    assert np.flatnonzero(~lit[:99]).tolist() == list(range(50, 60)) or not lit[51:59].any()
    assert lit[:49].all()
    assert lit[62:98].all()


def test_samples_out_of_order_are_put_in_order() -> None:
    order = np.random.default_rng(0).permutation(len(STEPS))
    y = np.cos(STEPS / 50)
    y[100:200] = math.nan
    np.testing.assert_array_equal(drawn(STEPS[order], y[order], 60, 20), drawn(STEPS, y, 60, 20))


def test_a_line_comes_in_from_the_left_of_a_zoomed_window() -> None:
    line = Series("", np.array([0.0, 100.0]), np.array([0.0, 10.0]), "eval", sparse=True)
    dense = Series("", np.arange(101.0), np.linspace(0, 10, 101), "raw")
    frame = draw([dense, line], 60, 14, ChartSettings(window=Window(20.0)))
    assert any(row[0] not in " ·" for row in plot(frame))


# Columns -----------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.floats(-1e300, 1e300),
    st.floats(0, 1e300),
    st.integers(1, 300),
    st.none() | st.floats(1e-300, 1e300),
    st.none() | st.floats(-1e300, 1e300),
)
def test_edges_ascend_and_hold_the_newest(
    first: float, extent: float, columns: int, width: float | None, end: float | None
) -> None:
    last = first + extent
    edges = column_edges(first, last, columns, Window(width, end))
    assert len(edges) == columns + 1
    assert np.all(edges[1:] > edges[:-1])
    if end is None or width is None:
        assert edges[0] <= last < edges[-1]
    if width is None:
        assert edges[0] <= first


def test_a_zoomed_window_moves_by_whole_columns() -> None:
    before = column_edges(0.0, 5000.0, 120, Window(800.0))
    after = column_edges(0.0, 5100.0, 120, Window(800.0))
    shared = np.intersect1d(before, after)
    assert len(shared) > 90
    assert after[-2] <= 5100.0 < after[-1]


def test_growth_keeps_the_columns_of_a_whole_run_for_a_while() -> None:
    edges = {tuple(column_edges(1.0, float(last), 200)) for last in range(100_000, 110_000, 50)}
    assert len(edges) <= 12
    for last in range(100_000, 110_000, 1234):
        assert column_edges(1.0, float(last), 200)[-1] <= last * 1.025


@pytest.mark.parametrize("columns", [1, 7, 200])
def test_one_x_stands_in_the_middle(columns: int) -> None:
    edges = column_edges(42.0, 42.0, columns)
    assert np.searchsorted(edges, 42.0, side="right") - 1 == columns // 2


def test_zooming_halves_doubles_and_stops() -> None:
    window = Window().zoomed(2, 0, 1000, 1)
    assert window.width == 500
    assert window.zoomed(2, 0, 1000, 1).width == 250
    assert window.zoomed(2, 0, 1000, 400).width == 400
    assert window.zoomed(0.5, 0, 1000, 1) == Window()
    assert Window().zoomed(0.5, 0, 1000, 1) == Window()
    assert Window().zoomed(2, 5, 5, 1) == Window()
    assert window.converted((0, 1000), (0, 50)).width == 25
    assert window.converted((0, 1000), (0, 0)) == Window()


@settings(deadline=None)
@given(st.floats(0, 1000), st.sampled_from([0.8, 1.25, 2.0]), st.floats(0.05, 0.9))
def test_zooming_at_a_place_keeps_it_there_unless_an_end_is_reached(at: float, factor: float, share: float) -> None:
    window = Window(1000 * share, 1000 * share / 2 + 500)
    left, right = window.span(0, 1000)
    zoomed = window.zoomed(factor, 0, 1000, 1, at)
    new_left, new_right = zoomed.span(0, 1000)
    assert 0 <= new_left < new_right <= 1000
    if left <= at <= right and new_left > 0 and new_right < 1000:
        assert (at - new_left) / (new_right - new_left) == pytest.approx((at - left) / (right - left), abs=1e-6)


def test_panning_stops_at_both_ends_and_follows_the_newest_record_again() -> None:
    window = Window(100).panned(-0.5, 0, 1000)
    assert window.span(0, 1000) == (850, 950)
    assert window.span(0, 2000) == (850, 950), "it stays while the run grows"
    for _ in range(40):
        window = window.panned(-0.5, 0, 1000)
    assert window.span(0, 1000) == (0, 100)
    for _ in range(40):
        window = window.panned(0.5, 0, 1000)
    assert window == Window(100)
    assert Window().panned(0.5, 0, 1000) == Window()
    assert window.panned(-2, 0, 1000).converted((0, 1000), (0, 10_000)).span(0, 10_000) == (7000, 8000)


# Frames ------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.integers(0, 40), st.integers(0, 16), st.booleans(), st.booleans(), st.sampled_from(sorted(MARKERS)), st.data()
)
def test_a_frame_is_drawn_of_any_data_at_any_size(
    width: int, height: int, log_y: bool, plain: bool, marker: str, data: st.DataObject
) -> None:
    lines = []
    for tone in data.draw(st.lists(st.sampled_from(["raw", "smooth", "eval", "second"]), max_size=3)):
        y = data.draw(arrays.arrays(np.float64, st.integers(0, 30), elements=ANY))
        x = data.draw(arrays.arrays(np.float64, len(y), elements=ANY))
        lines.append(Series("name", np.sort(x), y, tone, sparse=data.draw(st.booleans())))
    options = ChartSettings(
        title="title",
        unit="unit",
        x_label=data.draw(st.sampled_from(["step", "time", ""])),
        log_y=log_y,
        plain=plain,
        marker=marker,
        window=Window(data.draw(st.none() | st.floats(1e-300, 1e300))),
        cross=data.draw(st.none() | ANY),
    )
    frame = draw(lines, width, height, options)
    assert len(frame.rows) == height
    assert all(sum(len(text) for text, _ in row) == width for row in frame.rows)


@pytest.mark.parametrize(
    ("y", "log_y", "says"),
    [
        ([], False, "no data yet"),
        ([math.nan, math.inf], False, "no finite values"),
        ([0.0, -1.0], True, "no values above 0"),
        ([math.nan], True, "no finite values"),
    ],
)
def test_an_empty_plot_says_why(y: list[float], log_y: bool, says: str) -> None:
    line = Series("loss", np.arange(float(len(y))), np.array(y), "raw")
    assert says in draw([line], 40, 10, ChartSettings(log_y=log_y)).text
    assert len(draw([line], 1, 1, ChartSettings(log_y=log_y)).rows) == 1


def test_a_zoomed_window_of_nothing_says_so() -> None:
    y = np.ones(100)
    y[80:] = math.nan
    lines = [Series("", np.arange(100.0), y, "raw"), Series("", np.array([99.0]), np.array([math.nan]), "eval")]
    assert "no values here" not in draw(lines, 40, 10, ChartSettings()).text
    lines.append(Series("", np.arange(200.0), np.where(np.arange(200) < 50, 1.0, math.nan), "smooth"))
    assert all(len(row) for row in draw(lines, 40, 10, ChartSettings(window=Window(10.0))).rows)


def test_thin_curves_share_their_cells_and_a_band_leaves_a_curve_its_own() -> None:
    x = np.arange(200.0)
    flat = [Series("a", x, np.full(200, 0.5), "second"), Series("b", x, np.full(200, 0.52), "smooth")]
    ends = Series("", np.array([0.0, 199.0]), np.array([0.0, 1.0]), "dim")
    apart, both = (plot(draw(lines, 50, 10, ChartSettings(shown="all"))) for lines in ([flat[0], ends], [*flat, ends]))
    row = next(number for number, text in enumerate(apart) if text.count(text[10]) > 40 and text[10] not in " ·")
    assert ord(both[row][10]) & ord(apart[row][10]) == ord(apart[row][10]), "the dots below are still there"
    noise = Series("a", x, np.where(x % 2, 1.0, -1.0), "raw")
    frame = draw([noise, Series("b", x, np.zeros(200), "smooth")], 50, 12, ChartSettings())
    crossed = [row[frame.left :] for row in roles(frame)[1:-1] if Role.SMOOTH in row]
    assert len(crossed) == 1
    assert Role.RAW not in crossed[0][:-2]
    assert any(set(row[2:40]) <= {"⠒", "⠤"} for row in plot(frame))


def test_runs_in_the_same_cells_take_turns_and_keep_their_colours() -> None:
    x = np.arange(200.0)
    runs = [Series(f"run {slot}", x, np.ones(200), slot=slot) for slot in (0, 3, 8)]
    frame = draw(runs, 60, 8, ChartSettings())
    [row] = [row[frame.left :] for row in roles(frame)[1:-1] if Role.RUN0 in row]
    assert {Role.RUN0, Role.RUN3} <= set(row)
    only = draw(runs[1:2], 60, 8, ChartSettings())
    assert Role.RUN3 in {role for row in roles(only)[1:-1] for role in row}
    heading = frame.text.splitlines()[0]
    assert len({heading[heading.index(f"run {slot}") - 2] for slot in (0, 3, 8)}) == 3, (
        "signs differ where colours do not"
    )


def test_a_run_s_evaluations_are_values_of_its_entry() -> None:
    x = np.arange(200.0)
    lines = [Series("base", x, np.ones(200), slot=0), Series("", x[::50], np.full(4, 2.0), "eval", sparse=True, slot=0)]
    assert draw(lines, 60, 8, ChartSettings()).text.splitlines()[0] == "● base 1.0000 eval 2.0000"


def test_evaluations_are_on_top_and_exactly_on_their_line() -> None:
    x = np.arange(1000.0)
    noise = 3 + np.random.default_rng(0).normal(0, 0.2, 1000)
    evals = Series("eval", x[50::100], np.linspace(3.3, 2.8, 10), "eval", sparse=True)
    for lines in ([evals, Series("a", x, noise, "raw"), Series("b", x, noise, "smooth")], [evals]):
        frame = draw(lines, 80, 20, ChartSettings())
        alone = plot(draw(lines, 80, 20, ChartSettings(plain=False)))
        for at in evals.x:
            cell = frame.column_of(float(at))
            assert cell is not None
            [row] = [number for number, text in enumerate(alone) if text[cell] == "◆"]
            for beside in ([cell - 1] if at > 50 else []) + ([cell + 1] if at < 950 else []):
                near = [alone[number][beside] for number in range(max(0, row - 1), min(row + 2, len(alone)))]
                assert any(char not in " ·" for char in near)
                assert {Role.EVAL} & {
                    roles(frame)[number + 1][frame.left + beside] for number in range(row - 1, row + 2)
                }


def test_what_is_clipped_does_not_hide_evaluations_in_the_same_row() -> None:
    x = np.arange(1000.0)
    train = np.where(x % 40 < 4, 60.0, 1.3) + np.random.default_rng(0).normal(0, 0.02, 1000)
    evals = Series("eval", x[::3], np.full(334, 4.0), "eval", sparse=True)
    top = plot(draw([Series("train", x, train, "raw"), evals], 80, 20, ChartSettings()))[0]
    assert "▲" not in top
    assert top.count("◆") > 30
    assert "▲" in plot(draw([Series("train", x, train, "raw")], 80, 20, ChartSettings()))[0]


def test_evaluations_are_signs_on_top_and_the_newest_always_shows() -> None:
    x = np.arange(1000.0)
    few, many = x[99::100], x[::5]
    for where, expected in ((few, 10), (many, None)):
        lines = [Series("", where, np.ones(len(where)), "eval", sparse=True), Series("", x, np.ones(1000), "smooth")]
        frame = draw(lines, 60, 10, ChartSettings())
        signs = [row for row in plot(frame) if "◆" in row]
        assert len(signs) == 1
        newest = frame.column_of(float(where[-1]))
        assert newest is not None
        assert signs[0][newest] == "◆"
        if expected:
            assert signs[0].count("◆") == expected
        else:
            assert "◆◆" not in signs[0]


def test_without_colour_every_series_has_its_own_shape() -> None:
    x = np.arange(500.0)
    lines = [Series("a", x, np.full(500, 1.0), "raw"), Series("b", x, np.full(500, 2.0), "smooth")]
    lines.append(Series("c", x, np.full(500, 3.0), "second"))
    text = draw(lines, 60, 13, ChartSettings(plain=True)).text.splitlines()
    assert "⣿ a" in text[0]
    assert "━ b" in text[0]
    assert "× c" in text[0]
    assert sum(row.count("×") for row in text[1:]) >= 3
    coloured = draw(lines, 60, 13, ChartSettings()).text
    assert "×" not in coloured
    rows = [{char for char in row if ord(char) >= 0x2800} for row in text[1:]]
    assert len([row for row in rows if row]) == 3
    assert len({frozenset(row) for row in rows if row}) == 3, "thin, thick and dotted"


def test_the_crosshair_shows_x_and_the_nearest_values() -> None:
    x = np.arange(0.0, 2000.0, 10.0)
    lines = [Series("train", x, x / 100, "raw"), Series("eval", x[::50], x[::50] / 50, "eval", sparse=True)]
    frame = draw(lines, 80, 12, ChartSettings(title="loss", cross=1230.0))
    assert frame.text.splitlines()[0] == "loss   step 1,230   ⣿ train 12.300   ◆ eval 20.000 @ 1,000"
    cell = frame.column_of(1230.0)
    assert cell is not None
    assert {row[frame.left + cell] for row in roles(frame)[1:-1]} == {Role.CROSS}
    assert "│" not in draw(lines, 80, 12, ChartSettings(cross=9999.0)).text


def test_the_same_data_give_the_same_picture_and_settings_another() -> None:
    y = np.random.default_rng(1).lognormal(0, 1, 1000)
    line = Series("loss", STEPS, y, "raw")
    assert draw([line], 70, 14, ChartSettings()).rows == draw([line], 70, 14, ChartSettings()).rows
    assert draw([line], 70, 14, ChartSettings()).rows != draw([line], 70, 14, ChartSettings(log_y=True)).rows


@pytest.mark.parametrize(("unit", "said"), [("", "loss log "), ("GiB", "loss GiB log ")])
def test_a_logarithmic_axis_is_named(unit: str, said: str) -> None:
    line = Series("train", np.arange(9.0), np.arange(1.0, 10.0), "raw")
    assert draw([line], 70, 14, ChartSettings(title="loss", unit=unit, log_y=True)).text.startswith(said)
    assert "log" not in draw([line], 70, 14, ChartSettings(title="loss", unit=unit)).text


@pytest.mark.parametrize(
    ("width", "wanted"),
    [
        (80, "loss nats   ⣿ train 2.5000   ━ smooth 2.5000   ◆ eval 2.5000"),
        (56, "loss nats   ⣿ 2.5000   ━ 2.5000   ◆ 2.5000"),
        (36, "loss nats   ━ 2.5000   ◆ 2.5000"),
        (22, "loss nats   ◆ 2.5000"),
        (10, "loss nats"),
        (3, "los"),
    ],
)
def test_the_header_drops_what_does_not_fit(width: int, wanted: str) -> None:
    x, y = np.arange(10.0), np.full(10, 2.5)
    lines = [Series("train", x, y, "raw"), Series("smooth", x, y, "smooth"), Series("eval", x, y, "eval", sparse=True)]
    assert draw(lines, width, 10, ChartSettings(title="loss", unit="nats")).text.splitlines()[0] == wanted


# Golden frames: CHOMP_UPDATE_GOLDEN=1 writes them anew ---------------------------------------


def curve() -> list[Series]:
    steps = np.arange(1.0, 2001.0)
    base = 2.4 + 8 * np.exp(-steps / 60) + 1.5 * (steps / 40 + 1) ** -0.6
    y = base * (1 + 0.06 * np.sin(steps * 2.1) * np.cos(steps * 0.37))
    y[1200] = 6.5
    y[1500:1560] = math.nan
    evals = steps[99::200]
    return [
        Series("train", steps, y, "raw"),
        Series("smooth", steps, smoothed(steps, y, 20), "smooth"),
        Series("eval", evals, base[99::200] + 0.1, "eval", sparse=True),
    ]


def spiking() -> list[Series]:
    steps = np.arange(1.0, 2001.0)
    y = curve()[0].y.copy()
    y[1500:1560] = 2.6
    y[800:803] = (60, 30, 8)
    return [Series("train", steps, y, "raw"), Series("smoothed", steps, smoothed(steps, y, 20), "smooth")]


def diverged() -> list[Series]:
    steps = np.arange(1.0, 2001.0)
    y = spiking()[0].y.copy()
    y[800:803] = 2.9
    y[1700:] = np.exp(np.linspace(1, 44, 300))
    return [Series("train", steps, y, "raw"), Series("smoothed", steps, smoothed(steps, y, 20), "smooth")]


def five_runs() -> list[Series]:
    steps = np.arange(1.0, 601.0)
    lines = []
    for slot in range(5):
        y = (
            2.4
            + 0.12 * slot
            + 8 * np.exp(-steps / 20)
            + 1.5 * (steps / 12 + 1) ** -0.6
            + 0.02 * np.sin(steps * (slot + 1))
        )
        if slot == 4:
            y[400:] = np.exp(np.linspace(1, 40, 200))
        lines.append(Series(f"lr {slot + 1}e-3", steps, smoothed(steps, y, 10), slot=slot))
        lines.append(Series("", steps[99::100], y[99::100] + 0.05, "eval", sparse=True, slot=slot))
    return lines


PICTURES = {
    "linear": (curve(), 72, 16, ChartSettings(title="loss")),
    "whole": (curve(), 72, 16, ChartSettings(title="loss", shown="all")),
    "log": (curve(), 72, 16, ChartSettings(title="loss", log_y=True, shown="all")),
    "zoomed": (curve(), 72, 12, ChartSettings(title="loss", log_y=True, window=Window(600.0))),
    "panned": (curve(), 72, 12, ChartSettings(title="loss", window=Window(100.0, 1250.0))),
    "block": (curve(), 72, 16, ChartSettings(title="loss", log_y=True, marker="block", shown="all")),
    "plain": (curve(), 72, 16, ChartSettings(title="loss", plain=True, cross=1201.0)),
    "spike": (spiking(), 80, 16, ChartSettings(title="loss")),
    "diverged": (diverged(), 80, 16, ChartSettings(title="loss")),
    "diverged_log_all": (diverged(), 80, 16, ChartSettings(title="loss", log_y=True, shown="all")),
    "five_runs": (five_runs(), 100, 24, ChartSettings(title="eval loss")),
    "five_runs_plain": (five_runs(), 100, 24, ChartSettings(title="eval loss", plain=True, cross=300.0)),
    "time": (
        [Series("", np.arange(500.0) * 20, 50_000 + 1000 * np.sin(np.arange(500.0)), "second")],
        48,
        9,
        ChartSettings(title="speed", unit="tok/s", x_label="time"),
    ),
    "small": (curve(), 24, 5, ChartSettings(title="loss", log_y=True)),
    "one_point": ([Series("loss", np.array([1.0]), np.array([11.4]), "smooth")], 40, 8, ChartSettings(title="loss")),
    "constant": ([Series("lr", STEPS, np.full(1000, 3e-4), "smooth")], 40, 8, ChartSettings(title="lr")),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_as_they_were(name: str) -> None:
    lines, width, height, options = PICTURES[name]
    text = draw(lines, width, height, options).text + "\n"
    path = GOLDEN / f"chart_{name}.txt"
    if os.environ.get("CHOMP_UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
