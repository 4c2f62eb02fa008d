"""Processes that were started with different things."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chomp.errors import ConfigError, DataError, DeviceError, RunDirError
from chomp.parallel.facts import require_equal
from chomp.parallel.members import Member
from chomp.parallel.world import World
from chomp.train.request import require_seen


class Follower(World):
    """Process 1 of three, whose leader found `leaders`, while process 2 complains as well if `others`."""

    index, count = 1, 3

    def __init__(self, leaders: dict[str, Any], *, others: bool = False):
        self.members = tuple(Member(index, f"host{index}", 100 + index) for index in range(3))
        self._leaders = leaders
        self._others = others

    def share(self, value: Any) -> Any:
        return self._leaders

    def meet(self, wish: Any = None) -> list[Any]:
        return [[], wish, wish if self._others else []]


def test_what_differs_is_named_with_both_processes() -> None:
    leaders = {"optim.lr": 0.1, "train.steps": 5, "same": 1}
    with pytest.raises(ConfigError) as found:
        require_equal(Follower(leaders), "configuration", {"optim.lr": 0.2, "same": 1})
    assert str(found.value) == (
        "process 1 (pid 101 on host1) differs from process 0 (pid 100 on host0) in its configuration: optim.lr is 0.2, "
        "not 0.1; train.steps is null, not 5; start every process with the same configuration and overrides"
    )
    with pytest.raises(DataError, match=r"process 2 \(pid 102 on host2\) differs too; give every host the same text"):
        require_equal(Follower({"a": "x" * 100}, others=True), "text", {"a": "y" * 100})
    with pytest.raises(DeviceError, match=r"in its devices: count is 7, not 8"):
        require_equal(Follower({"count": 8}), "devices", {"count": 7})
    require_equal(Follower({"a": [1, {"b": None}]}), "text", {"a": (1, {"b": None})})


def test_a_run_directory_that_is_not_shared_is_named_with_the_hosts() -> None:
    world = Follower({})
    require_seen(Path("/r"), world, [True, True, True])
    with pytest.raises(RunDirError, match=r"process 1 \(pid 101 on host1\), process 2 .* choose a --run-dir on a file"):
        require_seen(Path("/r"), world, [True, False, False])
