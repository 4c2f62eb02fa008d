"""`--devices 0,1`: on which devices of this machine a command computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from chomp.device.environment import MOST_DIGITS, uses_gpu
from chomp.device.probe import Gpu, Probe
from chomp.errors import DeviceError
from chomp.record.formatting import one_line

VARIABLE = "CUDA_VISIBLE_DEVICES"
_IDENTIFIERS = ("GPU-", "MIG-")


def split_devices(text: str) -> tuple[str, ...]:
    """The devices that `0,1` names.

    Raises:
        ValueError: it names none, one of them twice, or something that is no device.
    """
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if not (name.isdecimal() and len(name) <= MOST_DIGITS) and not name.startswith(_IDENTIFIERS):
            raise ValueError(f"{name!r} is no device; write numbers as in 0,1, or identifiers of GPUs (GPU-…)")
    names = tuple(str(int(name)) if name.isdecimal() else name for name in names)
    twice = next((name for name, times in Counter(names).items() if times > 1), None)
    if twice is not None:
        raise ValueError(f"device {twice} is named twice")
    return names


def gpu_environment(chosen: Sequence[str], probe: Probe, environ: Mapping[str, str]) -> dict[str, str]:
    """The variable with which CUDA sees the chosen GPUs alone; empty where JAX computes on no GPU.

    Numbers count the GPUs as `chomp probe` and nvidia-smi do, and where the user has set CUDA_VISIBLE_DEVICES, its
    entries. CUDA may number unequal cards in another order, so the variable gets identifiers where the driver tells
    them.

    Args:
        chosen: from `split_devices`; empty for all.

    Raises:
        DeviceError: one of them is not there, or is not to be used.
    """
    if not chosen:
        return {}
    if not uses_gpu(probe, environ):
        _refuse_identifiers(chosen)
        return {}
    there = _entries(probe, environ)
    return {VARIABLE: ",".join(_entry(name, there, environ) for name in chosen)}


def choices(probe: Probe, environ: Mapping[str, str]) -> list[tuple[str, Gpu]]:
    """The GPUs that a run may use, each with its number for `--devices`; none where it is not sure which is which."""
    if not uses_gpu(probe, environ):
        return []
    by_name = {name: gpu for gpu in probe.gpus for name in (gpu.uuid or "", _identifier(gpu), *_numbers(gpu, probe))}
    found = [by_name.get(entry) for entry, _ in _entries(probe, environ)]
    known = [(str(number), gpu) for number, gpu in enumerate(found) if gpu is not None]
    return known if len(known) == len(found) else []


def _numbers(gpu: Gpu, probe: Probe) -> list[str]:
    """The number by which CUDA_VISIBLE_DEVICES means a GPU: of unequal cards it may be another one's."""
    return [str(gpu.index)] if len({one.name for one in probe.gpus}) == 1 else []


def _entries(probe: Probe, environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """What CUDA_VISIBLE_DEVICES may list, with the name of each where it is sure."""
    limited = environ.get(VARIABLE)
    if limited is None:
        return [(_identifier(gpu), gpu.name or "") for gpu in probe.gpus]
    return [(name.strip(), "") for name in limited.split(",") if name.strip()]


def _identifier(gpu: Gpu) -> str:
    # A GPU that is split into instances is named by its number, which means its first instance.
    return gpu.uuid if gpu.uuid and not gpu.mig else str(gpu.index)


def _entry(name: str, there: Sequence[tuple[str, str]], environ: Mapping[str, str]) -> str:
    if name.isdecimal():
        if int(name) < len(there):
            return there[int(name)][0]
    elif name.startswith("MIG-") and VARIABLE not in environ:
        # The driver lists no instances.
        return name
    elif len(found := [entry for entry, _ in there if entry.startswith(name)]) == 1:
        return found[0]
    raise DeviceError(f"--devices {one_line(name)}: there is no such GPU; {_listed(there, environ)}")


def _listed(there: Sequence[tuple[str, str]], environ: Mapping[str, str]) -> str:
    limited = environ.get(VARIABLE)
    leaves = "this machine has" if limited is None else f"CUDA_VISIBLE_DEVICES={one_line(limited)} leaves"
    return (
        f"{leaves} {', '.join(f'{number} ({one_line(name or entry)})' for number, (entry, name) in enumerate(there))}"
    )


def _refuse_identifiers(chosen: Sequence[str]) -> None:
    wrong = next((name for name in chosen if not name.isdecimal()), None)
    if wrong is not None:
        raise DeviceError(
            f"--devices {one_line(wrong)}: no GPU is visible here, and devices of the CPU are numbers, as in 0,1"
        )
