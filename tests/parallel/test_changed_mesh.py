"""What a resume says of the mesh on which its checkpoint was computed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from chomp.parallel.mesh import ONE_DEVICE
from chomp.record.events import Warned
from chomp.train.machine import device_facts, package_versions
from chomp.train.restorer import Restorer

DIGITS = "later losses may differ in their last digits from those of an uninterrupted run"
EIGHT = {"mesh": {"data": 2, "fsdp": 4}, "processes": [{"host": "a"}, {"host": "b"}]}


@pytest.mark.parametrize(
    ("device", "changed"),
    [
        ({}, None),
        ({"mesh": {"data": 2, "fsdp": 4}}, "mesh data 2 x fsdp 4 is now data 1 x fsdp 1"),
        (EIGHT, "mesh data 2 x fsdp 4 is now data 1 x fsdp 1, number of processes 2 is now 1"),
    ],
)
def test_another_mesh_is_named(device: dict[str, Any], changed: str | None) -> None:
    told: list[Warned] = []
    unused: Any = None
    reporter: Any = SimpleNamespace(publish=told.append)
    meta = {"versions": package_versions(), "device": device_facts() | device}
    Restorer(unused, unused, unused, reporter, unused)._warn_of_changed_machine(meta, ONE_DEVICE)
    assert [event.message for event in told] == ([f"{changed}: {DIGITS}"] if changed else [])
