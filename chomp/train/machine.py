"""What an attempt runs on: versions, devices, and memory in use in GiB."""

from __future__ import annotations

import platform
import resource
import sys
from importlib.metadata import version
from typing import Any

import jax
import psutil

from chomp import __version__
from chomp.device.packages import cuda_packages

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
    found = {name: version(name) for name in PACKAGES}
    # That of the code: an editable installation's metadata may be older.
    return {"chomp": __version__} | found | cuda_packages() | {"python": platform.python_version()}


def device_facts() -> dict[str, Any]:
    """Platform, kind and number of the local devices."""
    device = jax.devices()[0]
    return {"platform": device.platform, "name": device.device_kind, "count": jax.local_device_count()}


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

    The peak and the limit are those of the fullest device, since that is the one to run out.
    """
    stats = [s for s in (device.memory_stats() for device in jax.local_devices()) if s]
    if not stats:
        return {}
    names = {
        "device_memory_gb": "bytes_in_use",
        "peak_memory_gb": "peak_bytes_in_use",
        "device_memory_limit_gb": "bytes_limit",
    }
    return {
        name: round(max(s[key] for s in stats) / GIB, 3) for name, key in names.items() if all(key in s for s in stats)
    }
