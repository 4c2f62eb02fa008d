"""The device that JAX computes on, and one sentence where it finds none."""

import os
from collections.abc import Mapping

import jax

from chomp.errors import DeviceError

# Variables that choose the device.
CHOICES = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME", "CUDA_VISIBLE_DEVICES")


def first_device() -> jax.Device:
    """The device to compute on; the first call starts JAX's backend.

    Raises:
        DeviceError: JAX cannot start with the variables of this process, or on this machine.
    """
    try:
        return jax.devices()[0]
    except Exception as error:
        raise DeviceError(f"JAX found no usable device: {_why(error)}{_chosen_by(os.environ)}") from error


def _chosen_by(environ: Mapping[str, str]) -> str:
    """The variables that choose the device, in parentheses, and what to do; empty without any."""
    chosen = [f"{name}={environ[name]}" for name in CHOICES if name in environ]
    return f" ({', '.join(chosen)}); correct or unset the variable" if chosen else ""


def _why(error: Exception) -> str:
    """JAX's reason without its advice; it has none where the platforms that were chosen are all absent."""
    reason = next(iter(str(error).strip().splitlines()), "")
    return reason.partition(" (set JAX_PLATFORMS=")[0] or "no GPU is visible"
