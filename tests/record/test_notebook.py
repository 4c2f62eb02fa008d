"""`chomp.Run` says what it does not have, instead of giving something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chomp.errors import ChompError, ConfigError
from chomp.notebook import MissingColumnError, Run
from chomp.record.events import Step
from chomp.record.run_record import X_AXES
from tests.fakeruns import append, make_checkpoint, make_run, started

pytestmark = pytest.mark.pure


def test_an_axis_and_a_table_that_are_unknown_are_refused(tmp_path: Path) -> None:
    run = Run(make_run(tmp_path / "demo").path)
    for axis in X_AXES:
        assert len(run.x(axis)) == 20  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"there is no axis 'foo'; a run has step, tokens, time, flops$"):
        run.x("foo")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"no table 'foo'; a run has rows, evaluations, samples, checkpoints$"):
        run.to_arrow("foo")  # type: ignore[arg-type]
    assert run.to_arrow("rows").num_rows == 20


def test_a_missing_column_is_explained(tmp_path: Path) -> None:
    run = Run(make_run(tmp_path / "demo").path)
    assert np.isfinite(run.rows["loss"]).all()
    says = f"no metrics row of {run.path} has a finite 'los'; did you mean 'loss'? there are "
    with pytest.raises(MissingColumnError) as raised:
        _ = run.rows["los"]
    assert str(raised.value).startswith(says)
    assert isinstance(raised.value, KeyError)
    assert isinstance(raised.value, ChompError)
    assert "los" not in run.rows
    assert run.rows.get("los") is None
    # A loss that is finite nowhere is not a column; nor are there any without a row.
    fresh = make_run(tmp_path / "nan", steps=0)
    append(fresh, Step(row={"step": 1, "loss": None, "lr": 0.1}))
    with pytest.raises(MissingColumnError, match=r"has a finite 'loss'; .*lr"):
        _ = Run(fresh.path).rows["loss"]
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "config_resolved.json").write_text((fresh.config_resolved).read_text())
    append(type(fresh)(empty), started())
    for ask in (lambda: Run(empty).rows["loss"], lambda: Run(empty).x("tokens")):
        with pytest.raises(MissingColumnError, match=r"was written yet: there is no '(loss|step)'"):
            ask()


def test_a_checkpoint_is_one_line(tmp_path: Path) -> None:
    run = make_run(tmp_path / "demo")
    make_checkpoint(run, 20, eval_loss=3.25, tags=("best",))
    (found,) = Run(run.path).checkpoints
    assert repr(found).startswith(f"<Checkpoint step 20 in {run.checkpoints / '20'}, ")
    assert repr(found).endswith(", eval loss 3.2500, #best>")
    assert len(repr(found).splitlines()) == 1
