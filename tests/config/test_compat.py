"""Differences between a checkpoint and the current settings."""

from chomp.config import Config, config_from_dict
from chomp.config.compat import compare


def test_a_setting_newer_than_the_checkpoint_had_its_default() -> None:
    now = config_from_dict({"optim": {"name": "lion"}}).model_dump()
    saved = config_from_dict({"optim": {"name": "lion"}}).model_dump()
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


def test_a_run_of_adamw_does_not_go_on_with_the_default_update_rule() -> None:
    saved = config_from_dict({"optim": {"name": "adamw"}}).model_dump()
    (found,) = compare(saved, Config().model_dump())
    assert (found.path, found.saved, found.now, found.severity) == ("optim.name", "adamw", "muon", "incompatible")


def test_settings_of_an_update_rule_that_neither_side_uses_are_not_compared() -> None:
    def differing(name: str) -> list[str]:
        saved, now = (
            config_from_dict({"optim": {"name": name, "lion": {"b1": b1}, "muon": {"lr_scale": scale}}}).model_dump()
            for b1, scale in ((0.9, 100.0), (0.8, 10.0))
        )
        return [found.path for found in compare(saved, now)]

    assert [differing(name) for name in ("adamw", "lion", "muon")] == [[], ["optim.lion.b1"], ["optim.muon.lr_scale"]]


def test_what_is_no_setting_is_absent_without_a_value() -> None:
    (found,) = compare({}, {"data_fingerprint": "abc"})
    assert (found.path, found.saved, found.now) == ("data_fingerprint", None, "abc")
