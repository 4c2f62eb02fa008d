"""Columns: versions that never change, growth that stays cheap, and little memory."""

from __future__ import annotations

import numpy as np
import pytest

from chomp.record.columns import MOST_COLUMNS, Columns, block_of

NAMES = ("step", "loss", "mfu")


def grown(count: int, start: int = 1) -> dict[str, np.ndarray]:
    steps = np.arange(start, start + count)
    return {"step": steps, "loss": steps / 8}


def test_a_version_keeps_its_rows_when_a_later_one_grows() -> None:
    first = Columns.empty(NAMES).extend(grown(3))
    view = first["loss"]
    second = first.extend(grown(500, 4))
    assert len(first) == 3
    assert len(second) == 503
    assert view.tolist() == first["loss"].tolist() == [0.125, 0.25, 0.375]
    assert second["step"].tolist() == list(range(1, 504))


def test_two_continuations_of_one_version_do_not_meet() -> None:
    base = Columns.empty(NAMES).extend(grown(5))
    left = base.extend({"step": [6.0], "loss": [1.0]})
    right = base.extend({"step": [6.0], "loss": [2.0]})
    assert left["loss"][-1] == 1.0
    assert right["loss"][-1] == 2.0
    assert len(base) == 5


def test_growth_of_the_newest_version_does_not_copy_every_time() -> None:
    columns, buffers = Columns.empty(NAMES), set()
    for step in range(1, 2001):
        columns = columns.extend({"step": [step], "loss": [0.5]})
        buffers.add(columns["loss"].__array_interface__["data"][0])
    assert len(buffers) < 12


def test_cut_drops_what_is_beyond_a_step_and_leaves_the_longer_version_alone() -> None:
    whole = Columns.empty(NAMES).extend(grown(10))
    short = whole.cut(4)
    again = short.extend({"step": [5.0], "loss": [99.0]})
    assert short["step"].tolist() == [1, 2, 3, 4]
    assert again["loss"].tolist()[-1] == 99.0
    assert whole["loss"][4] == 5 / 8
    assert whole.cut(10) is whole
    assert len(whole.cut(-1)) == 0


def test_absent_values_are_nan_before_and_after_the_first_number() -> None:
    columns = Columns.empty(NAMES).extend(grown(2))
    assert np.isnan(columns["mfu"]).all()
    assert len(columns["mfu"]) == 2
    later = columns.extend({"step": [3.0], "mfu": [0.5]}).extend({"step": [4.0]})
    np.testing.assert_array_equal(later["mfu"], np.float32([np.nan, np.nan, 0.5, np.nan]))
    assert np.isnan(columns["mfu"]).all()
    assert later.last("mfu") is None
    assert later.last("step") == 4.0
    assert Columns.empty(NAMES).last("step") is None


def test_what_is_read_cannot_be_written() -> None:
    columns = Columns.empty(NAMES).extend(grown(2))
    for name in NAMES:
        with pytest.raises(ValueError, match="read-only"):
            columns[name][0] = 1.0


def test_equality_is_of_values() -> None:
    one = Columns.empty(NAMES).extend(grown(4))
    two = Columns.empty(NAMES).extend(grown(2)).extend(grown(2, 3))
    assert one == two
    assert one != two.cut(3)
    assert one == Columns.empty().extend(grown(4)), "mfu has no number in either"
    assert one != Columns.empty().extend({**grown(4), "new": np.ones(4)})
    assert one != two.cut(3).extend({"step": [4.0]})
    assert one != "columns"


def test_columns_must_be_of_one_length() -> None:
    with pytest.raises(ValueError, match="different lengths"):
        Columns.empty(NAMES).extend({"step": [1.0, 2.0], "loss": [1.0]})


def test_a_column_begins_with_its_first_number() -> None:
    first = Columns.empty().extend(grown(3))
    later = first.extend({"step": [4.0], "my_metric": [1.5]})
    np.testing.assert_array_equal(later["my_metric"], np.float32([np.nan, np.nan, np.nan, 1.5]))
    assert np.isnan(first["my_metric"]).all()
    assert np.isnan(first["never"]).all()
    assert len(first["never"]) == 3
    assert later.has_numbers("my_metric")
    assert not later.has_numbers("never")
    assert later.cut(3) == first


def test_a_file_of_endless_names_fills_no_memory() -> None:
    columns = Columns.empty().extend({"step": [1.0], **{f"x{i}": [1.0] for i in range(10 * MOST_COLUMNS)}})
    assert len(columns.names) == MOST_COLUMNS


def test_rows_are_appended_by_step_and_the_newer_ones_count() -> None:
    columns = Columns.empty().append({"step": np.array([1.0, 2, 3, 4]), "loss": np.array([1.0, 2, 3, 4])})
    again = columns.append({"step": np.array([3.0, 3, 5]), "loss": np.array([7.0, 8, 9])})
    assert again["step"].tolist() == [1, 2, 3, 5]
    assert again["loss"].tolist() == [1, 2, 8, 9]
    assert columns["step"].tolist() == [1, 2, 3, 4]


def test_every_number_of_a_row_is_kept() -> None:
    block = block_of([{"step": 1, "note": "x", "on": True}, {"step": 2, "mine": 0.5, "huge": 10**400}])
    assert {name: column.tolist() for name, column in block.items() if name == "step"} == {"step": [1, 2]}
    assert set(block) == {"step", "mine"}
    assert np.isnan(block["mine"][0])
    assert block["mine"][1] == 0.5


def test_whole_numbers_and_times_keep_every_digit() -> None:
    columns = Columns.empty().extend({"step": [2**40 + 1], "t": [1795241449.418], "tokens_seen": [2**52 + 1]})
    assert columns["step"][0] == 2**40 + 1
    assert columns["t"][0] == 1795241449.418
    assert columns["tokens_seen"][0] == 2**52 + 1


def test_a_million_full_rows_take_less_than_90_mb() -> None:
    """Of a run on a GPU that minimises its loss and nothing else; each further column takes what its numbers take."""
    block = np.arange(1.0, 50_001.0)
    columns = Columns.empty()
    names = ["step", "t", "tokens_seen", *(f"number {i}" for i in range(12))]
    for _ in range(20):
        columns = columns.extend(dict.fromkeys(names, block))
    assert len(columns) == 1_000_000
    assert list(columns.names) == names
    assert sum(columns[name].nbytes for name in names) < 90e6
