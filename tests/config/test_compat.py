"""Differences between a checkpoint and the current settings."""

from chomp.config import Config
from chomp.config.compat import compare


def test_a_setting_newer_than_the_checkpoint_had_its_default() -> None:
    now = Config().model_dump()
    saved = Config().model_dump()
    del saved["optim"]["lion"]
    del saved["model"]["num_kv_heads"]
    assert compare(saved, now) == []
    now["optim"]["lion"]["b1"] = 0.5
    (found,) = compare(saved, now)
    assert (found.path, found.saved, found.now, found.severity) == ("optim.lion.b1", 0.9, 0.5, "needs_accept")


def test_a_checkpoint_from_before_there_were_streams_has_one() -> None:
    now, saved = Config().model_dump(), Config().model_dump()
    del saved["model"]["residual_streams"]
    assert compare(saved, now) == []
    now["model"]["residual_streams"] = 2
    (found,) = compare(saved, now)
    assert (found.path, found.saved, found.now, found.severity) == ("model.residual_streams", 1, 2, "incompatible")


def test_what_is_no_setting_is_absent_without_a_value() -> None:
    (found,) = compare({}, {"data_fingerprint": "abc"})
    assert (found.path, found.saved, found.now) == ("data_fingerprint", None, "abc")
