"""Runs chosen by conditions and ordered by keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chomp.errors import ConfigError
from chomp.record.notes import Notes
from chomp.record.selection import parse_filter, require_key, shown, sorted_runs, value_of
from chomp.record.status import Status
from chomp.record.summary import BestEval, RunSummary


def run(name: str, state: str = "completed", loss: float | None = None, notes: Notes | None = None, **settings: Any):
    best = None if loss is None else BestEval(100, loss, loss / 3)
    flat = {key.replace("__", "."): value for key, value in settings.items()}
    word = "out of text" if state == "data_exhausted" else state
    status = Status(word, "x", "idle", state=state)
    return RunSummary(name, Path(name), status, best=best, notes=notes or Notes(), settings=flat)


RUNS = (
    run("a", "completed", 2.0, Notes("Wide", "with rope", ("base", "x")), optim__lr=3e-4, model__share_emb=True),
    run("b", "crashed", None, Notes(tags=("base",)), optim__lr=1e-2, data__files=["a", "b"], model__preset=None),
    run("c", "data_exhausted", 1.5, optim__lr=10**400, model__preset="tiny one"),
)


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("", "abc"),
        ("optim.lr>1e-3", "b"),
        ("optim.lr = 0.0003", "a"),
        ("optim.lr>=3e-4 optim.lr <1", "ab"),
        ("optim.lr!=3e-4", "bc"),
        ("state=crashed", "b"),
        ("state=crashed,data_exhausted", "bc"),
        ('state="out of text"', "c"),
        ("state!=crashed", "ac"),
        ("tag=base", "ab"),
        ("tag!=x", "bc"),
        ("tag!=none", "ab"),
        ("tag=none", "c"),
        ("eval<1.9", "c"),
        ("eval=none", "b"),
        ("model.share_emb=TRUE", "a"),
        ('data.files="a, b"', "b"),
        ("model.preset=none", "ab"),
        ('model.preset="tiny one"', "c"),
        ("label=wi*", "a"),
        ("ROPE", "a"),
        ("wide base", "a"),
        ("base eval<9 nothing", ""),
        ("name=b", "b"),
        ("name>1", ""),
    ],
)
def test_a_filter_chooses(line: str, names: str) -> None:
    chosen = parse_filter(line, RUNS)
    assert "".join(run.name for run in RUNS if chosen.holds(run)) == names


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("optim.lrr>1", "no run has 'optim.lrr'; did you mean optim.lr?"),
        ("lr>1", "no run has 'lr'; did you mean optim.lr?"),
        ("zzzzzz=1", "no run has 'zzzzzz'; known are settings such as optim.lr, and name, label"),
        ("optim.lr>fast", r"optim.lr>fast: > compares with a number, such as optim.lr>1e-3"),
        ("tag!=", "tag!=: a value is missing; tag!=none leaves out runs without one"),
        ("tag=", "tag=: a value is missing; tag=none chooses runs without one"),
        ("state=crashed,", "state=crashed,: a value is missing"),
        ("eval<", "eval<: < compares with a number"),
        ("rope", "'rope' is not a condition: write a key, one of"),
    ],
)
def test_a_wrong_filter_is_a_sentence(line: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_filter(line, RUNS, plain_words=False)
    assert str(raised.value).startswith(says)


def test_order() -> None:
    def names(key: str, *, reverse: bool = False) -> str:
        return "".join(one.name for one in sorted_runs(RUNS, key, reverse=reverse))

    assert names("eval") == "cab", "the best first, runs without a value last"
    assert names("eval", reverse=True) == "acb"
    assert names("optim.lr") == "abc", "a number that no float can hold is not one"
    assert names("name", reverse=True) == "cba"
    assert names("model.preset") == "cab"


def test_what_may_need_its_owner_comes_first() -> None:
    runs = [
        run(state, state)
        for state in ("completed", "stopped", "crashed", "new", "paused by a later version", "running")
    ]
    ordered = [one.name for one in sorted_runs(runs, "state")]
    assert ordered == ["running", "crashed", "new", "stopped", "completed", "paused by a later version"]


def test_values() -> None:
    assert value_of(RUNS[0], "optim.lr") == 3e-4
    assert value_of(RUNS[0], "nothing") is None
    assert require_key("data.shuffle", RUNS) == "data.shuffle", "a setting that no run here has"
    assert [shown(one) for one in (None, True, 3e-4, ["a", 1], "x\x1b\ny")] == ["", "true", "0.0003", "a, 1", "x� y"]
