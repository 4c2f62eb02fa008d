"""Which rollbacks are in a row, and for how long the learning rate stays low."""

from __future__ import annotations

import dataclasses
import json

from chomp.config.fields import MAX_STEPS
from chomp.config.run import DebugConfig
from chomp.train.progress import Rollbacks, TrainProgress

DEBUG = DebugConfig(nonfinite="rollback", rollback_lr_factor=0.25, rollback_steps=100)


def test_another_one_before_the_rate_is_whole_again_is_in_a_row() -> None:
    first = Rollbacks().one_more(480, DEBUG)
    assert first == Rollbacks(count=1, in_a_row=1, lr_factor=0.25, until_step=580)
    assert first.one_more(580, DEBUG) == Rollbacks(count=2, in_a_row=2, lr_factor=0.25, until_step=680)
    assert first.one_more(581, DEBUG) == Rollbacks(count=2, in_a_row=1, lr_factor=0.25, until_step=681)


def test_an_earlier_bad_step_never_shortens_the_low_rate() -> None:
    """Else a run that goes back far would find each rollback the first in its row, and go back for ever."""
    rollbacks = Rollbacks().one_more(480, DEBUG).one_more(20, DEBUG)
    assert (rollbacks.in_a_row, rollbacks.until_step) == (2, 580)


def test_steps_stay_within_what_the_device_counts() -> None:
    assert Rollbacks().one_more(MAX_STEPS - 1, DEBUG).until_step == MAX_STEPS


def test_a_checkpoint_carries_them_and_an_older_one_has_none() -> None:
    rollbacks = Rollbacks().one_more(480, DEBUG)
    meta = json.loads(json.dumps({"rollbacks": dataclasses.asdict(rollbacks)}))
    assert TrainProgress.from_meta(400, meta).rollbacks == rollbacks
    assert TrainProgress.from_meta(400, {}).rollbacks == Rollbacks()
