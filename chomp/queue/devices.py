"""What the runner may start engines on: one slot for each GPU, and one for the CPU."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from chomp.device import Gpu, Probe, visible_gpus
from chomp.device.environment import uses_gpu
from chomp.record.lock import live_holder
from chomp.record.rundir import RunDir, list_runs

CPU = "cpu"
# Serves the processes of a GPU that is shared (NVIDIA's MPS), and computes nothing itself.
_SERVERS = ("nvidia-cuda-mps",)


@dataclass(frozen=True)
class Slot:
    """A device that trains one job at a time.

    Attributes:
        device: `cpu`, or the identifier of a GPU, which CUDA_VISIBLE_DEVICES takes.
        name: for people.
        busy: what it is busy with; empty for a free one.
    """

    device: str
    name: str
    busy: str = ""

    @property
    def is_gpu(self) -> bool:
        return self.device != CPU


def slots(
    probe: Probe, environ: Mapping[str, str], taken: Mapping[str, int], others: Mapping[str, str]
) -> tuple[Slot, ...]:
    """All devices with what they are busy with.

    Args:
        probe: the GPUs of this machine.
        environ: of the runner: CUDA_VISIBLE_DEVICES limits the GPUs that it uses.
        taken: by device, the job that holds it.
        others: by device, what else holds it, as `held_by_runs` finds it.
    """
    found = [
        Slot(device_of(gpu), f"GPU {gpu.index}", _busy(device_of(gpu), taken, others) or _processes(gpu))
        for gpu in (visible_gpus(probe, environ) if uses_gpu(probe, environ) else ())
    ]
    return (*found, Slot(CPU, "CPU", _busy(CPU, taken, others)))


def gpu_shortage(gpus: int, probe: Probe, environ: Mapping[str, str]) -> str:
    """Why a job that requires so many GPUs would wait on this machine, in one sentence; empty if it has enough."""
    here = sum(slot.is_gpu for slot in slots(probe, environ, {}, {}))
    if here >= gpus:
        return ""
    needs = "it requires a GPU" if gpus == 1 else f"it requires {gpus} GPUs"
    has = f"has {here}" if here else "has no GPU"
    return f"the job would wait: {needs}, and this machine {has}; gpus 0 trains on the CPU"


def device_of(gpu: Gpu) -> str:
    """The identifier of a GPU; its number where the driver tells none."""
    return gpu.uuid or str(gpu.index)


def _busy(device: str, taken: Mapping[str, int], others: Mapping[str, str]) -> str:
    return f"job {taken[device]}" if device in taken else others.get(device, "")


def _processes(gpu: Gpu) -> str:
    """The first process that computes on a GPU; those that draw the desktop leave it free."""
    for process in gpu.processes or ():
        if not process.draws and not any(server in (process.name or "") for server in _SERVERS):
            return f"pid {process.pid}" + (f" ({Path(process.name).name})" if process.name else "")
    return ""


def held_by_runs(
    folders: Iterable[Path], ours: Collection[Path], probe: Probe, environ: Mapping[str, str]
) -> dict[str, str]:
    """By device, the live run outside of the queue that holds it.

    A GPU also shows the process, but not before the engine has started JAX.

    Args:
        folders: where runs are.
        ours: resolved run directories of the queue's own engines.
        environ: of the runner.
    """
    held: dict[str, str] = {}
    for path in {path.resolve() for folder in folders for path in list_runs(folder)}:
        holder = live_holder(RunDir(path).lock)
        if holder is None or path in ours:
            continue
        for device in _devices_of(holder.pid, probe, environ):
            held.setdefault(device, f"the run {path.name} (pid {holder.pid})")
    return held


def _devices_of(pid: int, probe: Probe, environ: Mapping[str, str]) -> list[str]:
    """The devices that an engine may hold, by its environment: JAX takes memory of every GPU that it may use."""
    try:
        theirs: Mapping[str, str] = psutil.Process(pid).environ()
    except psutil.Error:
        theirs = environ
    return [device_of(gpu) for gpu in visible_gpus(probe, theirs)] if uses_gpu(probe, theirs) else [CPU]


def engine_environment(devices: Iterable[str]) -> dict[str, str]:
    """The variables with which an engine computes on these devices alone."""
    chosen = [device for device in devices if device != CPU]
    return {"CUDA_VISIBLE_DEVICES": ",".join(chosen)} if chosen else {}
