"""Several decays from one stable run: each branch goes on where that stood, and knows where it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from chomp.record.events import Warned
from chomp.record.origin import read_origin
from chomp.record.rundir import RunDir
from tests.engine import dummy_config, events_of, rows
from tests.in_process import run
from tests.references import References

pytestmark = pytest.mark.compile
PEAK, FLOOR, AT = 3e-3, 0.1, 10


@pytest.fixture
def stable(references: References, tmp_path: Path) -> Path:
    """A run of 20 steps that never decays."""
    optim = {"lr": PEAK, "min_lr_ratio": FLOOR, "schedule": "wsd", "decay_steps": 0}
    config = dummy_config(references.corpus, optim=optim, checkpoint={"max_to_keep": 9})
    return references.copy(tmp_path / "stable", run, config)


def branch(stable: Path, name: str, steps: int, **optim: object) -> Path:
    """Fork at step AT and train to `steps` with these settings."""
    folder = stable.with_name(name)
    forked = run("fork", stable, folder, "--step", AT)
    assert forked.returncode == 0, forked.stderr
    changes = [word for key, to in optim.items() for word in ("-o", f"optim.{key}={to}", "--accept", f"optim.{key}")]
    trained = run("train", "--run-dir", folder, "--resume", AT, "-o", f"train.steps={steps}", *changes)
    assert trained.returncode == 0, trained.stderr
    return folder


def rates(run_dir: Path) -> dict[int, float]:
    return {row["step"]: row["lr"] for row in rows(run_dir)}


def test_branches_continue_the_stable_run_and_decay_each_in_its_way(stable: Path) -> None:
    assert [rate for step, rate in rates(stable).items() if step >= 2] == pytest.approx([PEAK] * 19)
    short = branch(stable, "short", 14, decay_steps=4)
    long = branch(stable, "long", 20, decay_steps=8, decay_shape="sqrt")
    for folder, steps, begins in ((short, 14, 10), (long, 20, 12)):
        origin = read_origin(RunDir(folder))
        assert origin is not None
        assert (origin.run, origin.path, origin.step) == ("stable", str(stable.resolve()), AT)
        assert list(rates(folder)) == list(range(1, steps + 1))
        assert rows(folder)[:AT] == rows(stable)[:AT]
        # The update after `begins` others is the first of the decay, and has the peak rate still.
        for row, same in zip(rows(folder)[AT : begins + 1], rows(stable)[AT:], strict=False):
            assert (row["step"], row["lr"], row["loss"]) == (same["step"], same["lr"], same["loss"])
            assert row["tokens_seen"] == same["tokens_seen"]
        assert rates(folder)[begins + 2] < PEAK
        assert not [event for event in events_of(folder, Warned) if event.topic == "schedule"]
    assert rates(short)[14] == pytest.approx(PEAK * (FLOOR + (1 - FLOOR) * 0.25))
    assert rates(long)[20] == pytest.approx(PEAK * (FLOOR + (1 - FLOOR) * (1 - (7 / 8) ** 0.5)))
    listed = run("runs", stable.parent).stdout.splitlines()
    last = {line.split()[0]: line.split("  ")[-1] for line in listed}
    assert last["short"] == last["long"] == "fork of stable step 10"


def test_a_decay_that_would_have_begun_earlier_is_warned_of(stable: Path) -> None:
    folder = branch(stable, "steep", 14, decay_steps=6)
    (warned,) = [event for event in events_of(folder, Warned) if event.topic == "schedule"]
    assert warned.message == (
        "the decay of 6 steps ends with step 14, so that it would have begun at step 8, before the checkpoint of step "
        "10: the learning rate is not continuous there; raise train.steps to 16, or set optim.decay_steps to 4 or less"
    )
    assert rates(folder)[AT + 1] == pytest.approx(PEAK * (FLOOR + (1 - FLOOR) * 4 / 6))


def test_a_stable_run_is_made_longer(stable: Path) -> None:
    done = run("train", "--run-dir", stable, "--resume", "latest", "-o", "train.steps=24")
    assert done.returncode == 0, done.stderr
    assert list(rates(stable).values())[2:] == pytest.approx([PEAK] * 22)
