"""The mesh on which steps were computed, laid over the devices that there are now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from chomp.config import Config
from chomp.parallel.mesh import Placement, place_on
from chomp.record.formatting import plural
from chomp.record.json_text import natural


class RecordedMesh(NamedTuple):
    """What `chomp.train.machine.device_facts` says of a mesh: copies, devices that share one, and processes."""

    data: int
    fsdp: int
    processes: int

    @property
    def devices(self) -> int:
        """How many it takes."""
        return self.data * self.fsdp

    def why_not_on(self, devices: int) -> str:
        """Why its steps cannot be repeated on so many devices, in words; empty where they can."""
        if self.devices <= devices:
            return ""
        here = f"here {'is' if devices == 1 else 'are'} {devices}"
        return (
            f"{plural(self.devices, 'device')} computed them (mesh data {self.data} x fsdp {self.fsdp}) and {here}; "
            "another mesh orders sums otherwise, and the last digits differ"
        )


def recorded_mesh(device: Mapping[str, Any]) -> RecordedMesh:
    """The mesh of a checkpoint's or an attempt's device facts; without one it was one device."""
    mesh, processes = device.get("mesh"), device.get("processes")
    data, fsdp = (natural(mesh.get(axis)) or 1 if isinstance(mesh, dict) else 1 for axis in ("data", "fsdp"))
    return RecordedMesh(data, fsdp, len(processes) if isinstance(processes, list) and processes else 1)


def lay_out(config: Config, device: Mapping[str, Any], devices: Sequence[jax.Device]) -> Placement:
    """The recorded mesh on the first of these devices, or where they are too few one that uses all of them.

    Args:
        device: facts of the checkpoint.

    Raises:
        ConfigError: so few devices cannot share the rows of a step.
    """
    recorded = recorded_mesh(device)
    if recorded.devices <= len(devices):
        return place_on(_with_mesh(config, recorded.data, recorded.fsdp), devices[: recorded.devices])
    axes = (-1, 1) if recorded.fsdp == 1 else (1, -1)
    return place_on(_with_mesh(config, *axes), devices)


def _with_mesh(config: Config, data: int, fsdp: int) -> Config:
    parallel = config.parallel.model_copy(update={"data": data, "fsdp": fsdp})
    return config.model_copy(update={"parallel": parallel})
