"""The device that JAX computes on, and one sentence where it finds none."""

import os
from collections.abc import Mapping, Sequence

import jax

from chomp.errors import DeviceError
from chomp.record.formatting import plural

# Variables that choose the device.
CHOICES = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME", "CUDA_VISIBLE_DEVICES")


def first_device() -> jax.Device:
    """The first of the devices to compute on; arguments and errors are those of `chosen_devices`."""
    return chosen_devices()[0]


def chosen_devices(chosen: Sequence[str] = ()) -> list[jax.Device]:
    """The devices to compute on, those of all processes; the first call starts JAX's backend.

    Args:
        chosen: numbers of devices of each process, as `--devices` names them; empty for all of one kind, that of the
            first. A GPU that was not chosen is not visible here (`gpu_environment` in `chomp.device.choice`), so they
            choose among those of a CPU.

    Raises:
        DeviceError: JAX cannot start with the variables of this process, or on this machine, or a device is not there,
            or the chosen ones are of several kinds.
    """
    try:
        found = jax.devices()
    except Exception as error:
        raise DeviceError(f"JAX found no usable device: {_why(error)}{_chosen_by(os.environ)}") from error
    alike = [device for device in found if device.device_kind == found[0].device_kind]
    if not chosen:
        return alike
    if found[0].platform != "cpu":
        if len(alike) < len(found):
            kinds = ", ".join(dict.fromkeys(device.device_kind for device in found))
            raise DeviceError(f"--devices {','.join(chosen)}: one run computes on devices of one kind, not {kinds}")
        return found
    by_process: dict[int, list[jax.Device]] = {}
    for device in found:
        by_process.setdefault(device.process_index, []).append(device)
    for name in chosen:
        if any(not name.isdecimal() or int(name) >= len(own) for own in by_process.values()):
            count = min(map(len, by_process.values()))
            there = f"JAX has {plural(count, 'device')} on the CPU, {'0' if count == 1 else f'0 to {count - 1}'}"
            raise DeviceError(f"--devices {name}: there is no such device; {there}")
    return [own[int(name)] for own in by_process.values() for name in chosen]


def unused_devices() -> str | None:
    """A sentence where a run without `--devices` leaves some out, because they are of another kind than the first."""
    used, there = chosen_devices(), len(jax.devices())
    if len(used) == there:
        return None
    return (
        f"{len(used)} of {there} GPUs are used, those of the kind {used[0].device_kind}: one run computes on devices "
        "of one kind; --devices chooses others"
    )


def _chosen_by(environ: Mapping[str, str]) -> str:
    """The variables that choose the device, in parentheses, and what to do; empty without any."""
    chosen = [f"{name}={environ[name]}" for name in CHOICES if name in environ]
    return f" ({', '.join(chosen)}); correct or unset the variable" if chosen else ""


def _why(error: Exception) -> str:
    """JAX's reason without its advice; it has none where the platforms that were chosen are all absent."""
    reason = next(iter(str(error).strip().splitlines()), "")
    return reason.partition(" (set JAX_PLATFORMS=")[0] or "no GPU is visible"
