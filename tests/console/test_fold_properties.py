"""Whatever an event log holds, it folds; however it is divided, it folds to the same."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from chomp.record.codec import decode
from chomp.record.events import KINDS, Event
from chomp.record.fold import fold
from chomp.record.run_view import RunView
from tests.fakeruns import T0

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
FIELD_NAMES = sorted(
    {name for cls in KINDS.values() for name in cls.__dataclass_fields__} | {"v", "loss", "lr", "my_metric"}
)
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
    whole = fold(RunView(), events)
    assert fold(fold(RunView(), events[:split]), events[split:]) == whole
    one_by_one = RunView()
    for event in events:
        one_by_one = fold(one_by_one, [event])
    assert one_by_one == whole
    assert (np.diff(whole.rows["step"]) > 0).all()
    assert (np.diff(whole.evals["step"]) > 0).all()
    assert all(type(seconds) is float for seconds in whole.budget.values())
