"""Whatever a file holds, it folds; however it is divided, it folds to the same; the fast reader reads the same."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chomp.record.codec import decode
from chomp.record.columns import WIDE
from chomp.record.events import KINDS, Event, Step
from chomp.record.row_blocks import ROW_FIELDS
from chomp.record.run_view import Folding, RunView, fold, fold_many
from chomp_tui.live.fastrows import RowReader, learn
from tests.console.runs import T0, lines, row, started

HOSTILE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.one_of(st.none(), st.floats(), st.text(max_size=3)), max_size=2),
)
FIELD_NAMES = sorted({name for cls in KINDS.values() for name in cls.__dataclass_fields__} | set(ROW_FIELDS) | {"v"})
STEPS = st.integers(0, 30)


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    """A line as an engine writes it, or with some of its values replaced by anything."""
    kind = draw(st.sampled_from([*KINDS, "weather"]))
    record: dict[str, Any] = {"v": 1, "t": T0 + draw(st.integers(0, 1000)), "kind": kind}
    if kind in KINDS and kind != "step":
        for name in KINDS[kind].__dataclass_fields__:
            if name != "t":
                record[name] = draw(HOSTILE)
    for name in ("step", "resumed_from", "attempt"):
        if name in record or kind == "step":
            record[name] = draw(st.one_of(STEPS, STEPS, STEPS, st.none(), HOSTILE))
    if kind == "phase":
        record["name"] = draw(st.sampled_from(["data", "compile", "train", "eval", "save", "paused", 7]))
    if kind == "checkpoint":
        record["state"] = draw(st.sampled_from(["saving", "committed", "failed", "deleted", "refused", None]))
    return record | draw(st.dictionaries(st.sampled_from(FIELD_NAMES), HOSTILE, max_size=3))


@st.composite
def raw_lines(draw: st.DrawFn) -> bytes:
    line = json.dumps(draw(records())).encode()
    torn = draw(st.integers(0, 9))
    return line[: draw(st.integers(0, len(line)))] if torn == 0 else draw(st.binary(max_size=30)) if torn == 1 else line


def events_of(raw: list[bytes]) -> list[Event]:
    return [event for line in raw if (event := decode(line)) is not None]


@settings(max_examples=150, deadline=None)
@given(st.lists(raw_lines(), max_size=25), st.integers(0, 25))
def test_anything_folds_and_division_does_not_matter(raw: list[bytes], split: int) -> None:
    events = events_of(raw)
    whole = fold_many(RunView(), events)
    assert fold_many(fold_many(RunView(), events[:split]), events[split:]) == whole
    one_by_one = RunView()
    for event in events:
        one_by_one = fold(one_by_one, event)
    assert one_by_one == whole
    assert (np.diff(whole.rows["step"]) > 0).all()
    assert (np.diff(whole.evals["step"]) > 0).all()
    assert all(type(seconds) is float for seconds in whole.budget.values())


# Rows as the engine writes them --------------------------------------------------------

POSITIVE = st.floats(0, 1e6, allow_nan=False)
SHAPES = st.sets(st.sampled_from(["lr_muon", "mfu", "device_memory_gb", "eval_loss", "first_step_compile_time_s"]))
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "loss": st.one_of(POSITIVE, st.none(), st.floats(-10, 10)),
        "grad_norm": st.one_of(POSITIVE, st.floats(0, 1e300)),
        "lr": st.one_of(st.floats(0, 1e-3), POSITIVE),
        "tokens_seen": st.integers(0, 10**17),
        "tokens_per_sec": POSITIVE.map(lambda value: round(value, 2)),
        "step_time_s": POSITIVE.map(lambda value: round(value, 6)),
        "packing_utilization": st.floats(0, 1).map(lambda value: round(value, 4)),
        "packing_mode": st.sampled_from(["sequential", "bin", 'a,"b":1', ""]),
    },
)


@st.composite
def many_rows(draw: st.DrawFn) -> list[bytes]:
    """Enough rows for the fast reader, of a few shapes, some with a byte changed, and other lines among them."""
    given_rows = draw(st.lists(st.tuples(ROWS, SHAPES), min_size=1, max_size=12))
    made: list[bytes] = []
    for step in range(1, 90):
        values, shape = given_rows[step * 7 % len(given_rows)]
        extra = {name: round(0.1 + step / 64, 4) for name in sorted(shape)}
        made.append(lines([row(step, t=round(T0 + step / 3, 3), **{**values, **extra})])[:-1])
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(made) - 1))
        line = made[place]
        at = draw(st.integers(0, max(len(line) - 1, 0)))
        made[place] = (
            line[:at]
            + draw(st.sampled_from([b"", b"0", b".", b"9", b"e", b"-", b",", b"}", b"x", b'"']))
            + line[at + 1 :]
        )
    if draw(st.booleans()):
        made.insert(draw(st.integers(0, len(made))), lines([started(draw(st.integers(0, 40)))])[:-1])
    return made


def fold_fast(raw: list[bytes], chunks: int) -> tuple[RunView, int]:
    """The view by the fast reader, and how many rows it read in blocks."""
    reader, folding, fast = RowReader(), Folding(RunView()), 0
    size = -(-len(raw) // chunks)
    for begin in range(0, len(raw), size):
        for part in reader.parts(b"".join(line + b"\n" for line in raw[begin : begin + size])):
            if not isinstance(part, bytes):
                fast += len(part["step"])
                folding.add_rows(part)
            elif (event := decode(part)) is not None:
                folding.add(event)
    return folding.view(), fast


def assert_same(fast: RunView, slow: RunView) -> None:
    for name in slow.rows.names:
        if name in WIDE:
            np.testing.assert_array_equal(fast.rows[name], slow.rows[name], err_msg=name)
        else:
            # One unit in the last place of a float32.
            np.testing.assert_allclose(fast.rows[name], slow.rows[name], rtol=1.3e-7, atol=1e-44, err_msg=name)
    assert (fast.step, fast.tokens_seen, fast.last_t) == (slow.step, slow.tokens_seen, slow.last_t)
    assert (fast.started, fast.unknown_kinds) == (slow.started, slow.unknown_kinds)


@settings(max_examples=150, deadline=None)
@given(many_rows(), st.integers(1, 2))
def test_the_fast_reader_reads_what_the_ordinary_one_reads(raw: list[bytes], chunks: int) -> None:
    fast, _ = fold_fast(raw, chunks)
    assert_same(fast, fold_many(RunView(), events_of(raw)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line), min_size=60, max_size=80))
@example([b""] * 60)
@example([b"," * 40] * 60)
@example([b'{"v":1,"t":1,"kind":"step","step":1}'] * 60)
@example([b'{"v":1,"t":01,"kind":"step","step":1}', b'{"v":1,"t":1,"kind":"step","step":1}'] * 40)
def test_the_fast_reader_survives_anything(raw: list[bytes]) -> None:
    fast, _ = fold_fast(raw, 1)
    assert_same(fast, fold_many(RunView(), events_of(raw)))


def test_plain_rows_are_read_in_blocks() -> None:
    raw = [lines([row(step, lr=10.0 ** -(step % 7), loss=9.9 + step / 100, mfu=0.31)])[:-1] for step in range(1, 400)]
    view, fast = fold_fast(raw, 2)
    assert fast > 390
    assert_same(view, fold_many(RunView(), events_of(raw)))


def test_only_the_engines_own_rows_are_learnt() -> None:
    good = lines([row(1)])[:-1]
    assert learn(good) is not None
    for other in (
        good.replace(b'"v":1', b'"v":2'),
        good.replace(b'"v":1', b'"v": 1'),
        good.replace(b'"kind":"step"', b'"kind":"stop"'),
        good.replace(b'"step":1', b'"step":1.5'),
        good.replace(b'"loss":3.999', b'"loss":[3.999]'),
        good.replace(b'"loss":3.999', b'"loss":{"a":1}'),
        good.replace(b'"lr":', b'"loss":'),
        good.replace(b'"sequential"', b'"\\ud800"'),
        good[:-1],
        good + b" ",
        b"[]",
        b"\xff",
    ):
        assert learn(other) is None


def test_text_is_measured_in_bytes_before_it_is_looked_for_beyond_the_last_line() -> None:
    strange = [lines([row(step, **{"ñ" * 150: 1.5})]) for step in range(1, 101)]
    commas = strange[0].count(b",")
    short = b"{" + b",".join([b'"":1'] * (commas + 1)) + b"}\n"
    text = b"".join(strange) + 60 * short
    assert [part for part in RowReader().parts(text) if part == short[:-1]] == 60 * [short[:-1]]


def test_a_changed_byte_in_the_text_between_numbers_is_noticed() -> None:
    raw = [lines([row(step)])[:-1] for step in range(1, 101)]
    raw[50] = raw[50].replace(b'"loss"', b'"lost"')
    raw[60] = raw[60].replace(b'"v":1', b'"v":2')
    view, fast = fold_fast(raw, 1)
    assert fast <= 98
    assert np.isnan(view.rows["loss"][50])
    assert isinstance(decode(raw[60]), Step)
