"""What the hub served is pinned by its commit, so that a dataset that moved is noticed at a resume."""

from __future__ import annotations

from pathlib import Path

import pytest

from chomp.config.compat import blocking, compare
from chomp.config.data import DataConfig
from chomp.data.sources.hf import pinned, split_facts


def serving(monkeypatch: pytest.MonkeyPatch, commit: str | None) -> None:
    monkeypatch.setattr("chomp.data.sources.hf.commit_of", lambda name, revision: commit)


def facts(data: DataConfig) -> dict[str, object]:
    return {"data_fingerprint": {"source": split_facts(pinned(data), "train")}}


def test_a_dataset_that_moved_forbids_resuming_until_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataConfig(backend="hf", hf_dataset="some/where")
    serving(monkeypatch, "aaaa")
    before = facts(data)
    assert compare(before, facts(data)) == []
    serving(monkeypatch, "bbbb")
    (difference,) = compare(before, facts(data))
    assert (difference.path, difference.saved, difference.now) == ("data_fingerprint.source.revision", "aaaa", "bbbb")
    assert blocking([difference], []) == [difference]
    assert blocking([difference], ["data_fingerprint"]) == []


def test_going_back_to_the_old_commit_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    serving(monkeypatch, "aaaa")
    before = {**facts(DataConfig(backend="hf", hf_dataset="some/where")), "data": {"hf_revision": None}}
    now = {
        **facts(DataConfig(backend="hf", hf_dataset="some/where", hf_revision="aaaa")),
        "data": {"hf_revision": "aaaa"},
    }
    assert blocking(compare(before, now), []) == []


def test_a_local_folder_and_a_silent_hub_keep_what_was_configured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serving(monkeypatch, None)
    assert pinned(DataConfig(backend="hf", hf_dataset="some/where", hf_revision="v1")).hf_revision == "v1"
    serving(monkeypatch, "aaaa")
    assert pinned(DataConfig(backend="hf", hf_dataset=str(tmp_path))).hf_revision is None
