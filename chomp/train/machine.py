"""What an attempt runs on: versions, devices, and memory in use in GiB."""

from __future__ import annotations

import functools
import platform
import resource
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import jax
import psutil

from chomp import __version__
from chomp.device.packages import cuda_packages
from chomp.parallel.mesh import ONE_DEVICE, Placement

GIB = 2**30
PACKAGES = (
    "jax",
    "jaxlib",
    "equinox",
    "optax",
    "orbax-checkpoint",
    "grain",
    "megalodon-jax",
    "datasets",
    "transformers",
)


def package_versions() -> dict[str, str]:
    """Installed versions of all that may change a number, and of Python."""
    # That of the code: an editable installation's metadata may be older.
    return {"chomp": __version__} | _installed() | cuda_packages() | {"python": platform.python_version()}


@functools.cache
def _installed() -> dict[str, str]:
    """Read once: each save and each receipt names them, and their metadata are long texts."""
    return {name: version(name) for name in PACKAGES}


def device_facts(placement: Placement = ONE_DEVICE, hosts: Sequence[str] = ()) -> dict[str, Any]:
    """Platform, kind and number of the devices that compute a run; of several also the mesh, and who has which.

    Args:
        hosts: that of each process; this machine's if empty.
    """
    devices = placement.devices()
    facts = {"platform": devices[0].platform, "name": devices[0].device_kind, "count": len(devices)}
    if len(devices) == 1:
        return facts
    names = hosts or [platform.node()] * jax.process_count()
    processes = [
        {"host": host, "devices": [_number(device) for device in devices if device.process_index == index]}
        for index, host in enumerate(names)
    ]
    return {**facts, "mesh": placement.shape, "processes": processes}


def what_rounds(device: dict[str, Any]) -> dict[str, Any]:
    """What of `device_facts` may round differently, by a name for a sentence; without a mesh it was one device."""
    mesh = device.get("mesh") or ONE_DEVICE.shape
    return {
        "device": device.get("name"),
        "mesh": " x ".join(f"{axis} {size}" for axis, size in mesh.items()),
        "number of processes": len(device.get("processes") or [device]),
    }


def changes_since(meta: Mapping[str, Any], placement: Placement) -> str:
    """`NAME X is now Y` for a sentence: what of versions and devices is not as in a checkpoint's metadata.

    Each may round differently. Empty where all that the metadata names agrees.
    """
    was = {**meta.get("versions", {}), **what_rounds(meta.get("device", {}))}
    now = {**package_versions(), **what_rounds(device_facts(placement))}
    return ", ".join(f"{name} {was[name]} is now {now[name]}" for name in now if was.get(name) not in (None, now[name]))


def _number(device: jax.Device) -> int:
    """Of a device among those that its process sees."""
    number = device.local_hardware_id
    return device.id if number is None else number


def host_memory_gb() -> float:
    """Resident memory of this process now."""
    return psutil.Process().memory_info().rss / GIB


def peak_host_memory_gb() -> float:
    """The most resident memory this process ever had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak * (1 if sys.platform == "darwin" else 1024) / GIB


def device_memory_gb() -> dict[str, float]:
    """In use, peak and limit over the local devices, from the allocator; absent where it reports none (CPU).

    The peak and the limit are those of the fullest device, since that is the one to run out. Of several devices, what
    is in use on each of them as well.
    """
    stats = [s for s in (device.memory_stats() for device in jax.local_devices()) if s]
    if not stats:
        return {}
    in_use = [s.get("bytes_in_use", 0) for s in stats]
    each = {f"device_{number}_memory_gb": round(used / GIB, 3) for number, used in enumerate(in_use)}
    names = {
        "device_memory_gb": "bytes_in_use",
        "peak_memory_gb": "peak_bytes_in_use",
        "device_memory_limit_gb": "bytes_limit",
    }
    fullest = {
        name: round(max(s[key] for s in stats) / GIB, 3) for name, key in names.items() if all(key in s for s in stats)
    }
    return fullest | (each if len(stats) > 1 else {})
