"""Names in `--accept` and values of `--resume` are checked before anything is built."""

from __future__ import annotations

import pytest

from chomp.config.compat import require_known
from chomp.errors import ConfigError
from chomp.record.manifest import parse_resume


@pytest.mark.parametrize(("text", "value"), [("none", "none"), ("latest", "latest"), ("120", 120)])
def test_resume_takes_none_latest_or_a_step(text: str, value: str | int) -> None:
    assert parse_resume(text) == value


def test_another_resume_is_explained() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_resume("newest")
    assert str(caught.value) == "--resume newest: expected none, latest or a step number"


def test_settings_sections_and_the_fingerprint_can_be_accepted() -> None:
    require_known(["optim.lr", "optim", "data_fingerprint", "derived.train.grad_accum"])


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        require_known(["optim.lrr"])
    assert str(caught.value) == "--accept optim.lrr: there is no such setting; did you mean optim.lr?"
