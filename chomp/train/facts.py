"""What an attempt ran on, as it is written to events and checkpoints."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

import jax

PACKAGES = (
    "chomp",
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
    return {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}


def device_facts() -> dict[str, Any]:
    """Platform, kind and number of the local devices."""
    device = jax.devices()[0]
    return {"platform": device.platform, "name": device.device_kind, "count": jax.local_device_count()}
