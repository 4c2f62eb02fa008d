"""What a run would compute with on this machine, in sentences for the device screen; never imports JAX."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import psutil

from chomp.device import Gpu, Probe, cuda_packages, fitting_wheels, problems, visible_gpus
from chomp.device.packages import PLUGINS
from chomp.device.wheels import WHEELS
from chomp.record.formatting import size

_GPU_PLATFORMS = ("cuda", "gpu")


@dataclass(frozen=True)
class Machine:
    """What runs have besides GPUs.

    Attributes:
        cores: that this process may use.
        memory_bytes: of the machine, or of the container if that is less.
        busy_percent: of all processors since the last reading; None in the first one.
        memory_used_bytes: what is not available; None in a container, whose own use is hidden.
        packages: versions of that package and of the NVIDIA packages it uses.
        plugin: the installed package that lets JAX use a GPU, with its version; None without one.
    """

    cores: int
    memory_bytes: int
    plugin: str | None = None
    busy_percent: float | None = None
    memory_used_bytes: int | None = None
    packages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Remark:
    """One sentence, and whether it is good to know (`idle`), fine (`good`) or something to mend (`warn`)."""

    tone: Literal["good", "warn", "idle"]
    text: str


def read_machine() -> Machine:
    """Ask the system and the installed packages; takes milliseconds."""
    memory = psutil.virtual_memory()
    limit = _container_limit()
    contained = limit is not None and limit < memory.total
    packages = cuda_packages()
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=limit if limit is not None and contained else memory.total,
        plugin=next((f"{name} {packages[name]}" for name in PLUGINS if name in packages), None),
        # psutil's first answer is 0.0.
        busy_percent=psutil.cpu_percent() or None,
        memory_used_bytes=None if contained else memory.total - memory.available,
        packages=packages,
    )


def _container_limit() -> int | None:
    """The memory limit of the control group in bytes, or None."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path) as file:  # noqa: PTH123 - no Path is needed for a constant
                text = file.read().strip()
        except OSError:
            continue
        return int(text) if text.isdecimal() else None
    return None


def remarks(probe: Probe, machine: Machine, environ: Mapping[str, str], devices: Sequence[str] = ()) -> list[Remark]:
    """Where runs started here compute, what keeps them from a GPU, and what to do about it.

    Args:
        environ: what the engine would get.
        devices: those that the user has chosen, by their names for `--devices`; empty for all.
    """
    platforms = _platforms(environ)
    cpu = f"the CPU: {machine.cores} cores, {size(machine.memory_bytes)} of memory"
    if platforms and platforms[0] == "cpu":
        return [Remark("warn", f"Runs use {cpu}, because {_where_set(environ)} says so.")]
    if not probe.gpus:
        return _without_gpu(probe, machine, cpu, environ)
    visible = visible_gpus(probe, environ)
    if not visible:
        shown = environ.get("CUDA_VISIBLE_DEVICES", "")
        return [Remark("warn", f"Runs use {cpu}, because CUDA_VISIBLE_DEVICES={shown} hides every GPU."), _allow()]
    if machine.plugin is None:
        return [Remark("warn", f"Runs use {cpu}: JAX is installed without CUDA. {_install(probe)}"), _allow()]
    found = problems(probe, environ, machine.packages)
    misfits = [Remark("warn", f"{problem.message}.") for problem in found]
    return [_on_gpu(visible, machine.plugin, devices), *misfits, *_ambiguous(probe, environ)]


def _install(probe: Probe) -> str:
    """What to install for the GPUs of a probe, or why nothing fits."""
    wheels = fitting_wheels(probe)
    if wheels is None or wheels.extra is None:
        return wheels.why if wheels else ""
    return f"Install it: {_pip(wheels.extra)}"


def _pip(extra: str) -> str:
    return f"pip install 'chomp[{extra}]'"


def _without_gpu(probe: Probe, machine: Machine, cpu: str, environ: Mapping[str, str]) -> list[Remark]:
    if set(_platforms(environ)) & set(_GPU_PLATFORMS) and "cpu" not in _platforms(environ):
        said = [Remark("warn", f"{_where_set(environ)} asks for a GPU: a run would end at once without one.")]
    else:
        said = [Remark("good", f"Runs use {cpu}."), _allow()]
    steps = ["install NVIDIA's driver"] if "no NVIDIA driver" in (probe.reason or "") else []
    # The newest driver comes with the newest wheels.
    steps += [_pip(WHEELS[0].extra)] if machine.plugin is None else []
    return [*said, Remark("idle", f"For an NVIDIA GPU: {', then '.join(steps)}")] if steps else said


def _allow() -> Remark:
    return Remark("idle", "A configuration must allow that with train.allow_cpu: true.")


def _on_gpu(visible: tuple[Gpu, ...], plugin: str, devices: Sequence[str]) -> Remark:
    if len(visible) == 1:
        name = f", {visible[0].name}" if visible[0].name else ""
        return Remark("good", f"A run uses GPU {visible[0].index}{name} ({plugin}).")
    if devices:
        return Remark("good", f"A run uses {len(devices)} of the {len(visible)} GPUs that CUDA shows it ({plugin}).")
    if len({gpu.name for gpu in visible}) > 1:
        return Remark(
            "good", f"A run uses the GPUs of one kind among the {len(visible)} that CUDA shows it ({plugin})."
        )
    return Remark("good", f"A run uses all {len(visible)} GPUs that CUDA shows it ({plugin}).")


def _ambiguous(probe: Probe, environ: Mapping[str, str]) -> list[Remark]:
    """CUDA numbers unequal cards by speed, NVML by slot: a number may mean another card than it seems."""
    chosen = environ.get("CUDA_VISIBLE_DEVICES", "")
    numbers = re.search(r"(^|,)\s*\d", chosen) is not None
    unequal = len({gpu.name for gpu in probe.gpus}) > 1
    if numbers and unequal and environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        return [
            Remark(
                "warn",
                f"CUDA_VISIBLE_DEVICES={chosen} counts the fastest card first, this list by slot; "
                "set CUDA_DEVICE_ORDER=PCI_BUS_ID for the same numbers.",
            )
        ]
    return []


def _platforms(environ: Mapping[str, str]) -> list[str]:
    """JAX's platforms in order of preference; empty when it chooses by itself."""
    name = _platform_variable(environ)
    return [part.strip().lower() for part in environ.get(name, "").split(",") if part.strip()]


def _platform_variable(environ: Mapping[str, str]) -> str:
    return "JAX_PLATFORMS" if environ.get("JAX_PLATFORMS") else "JAX_PLATFORM_NAME"


def _where_set(environ: Mapping[str, str]) -> str:
    name = _platform_variable(environ)
    return f"{name}={environ[name]}"
