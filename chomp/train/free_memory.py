"""What is free of the memory that training uses, and which other processes hold the rest."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import psutil

from chomp.device.environment import visible_gpus
from chomp.device.probe import Process, probe_gpus
from chomp.record.formatting import one_line, size

CGROUPS = Path("/sys/fs/cgroup")
CGROUP_FILES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
MOST_PROCESSES = 3
# A process with less than this share of the memory is no reason for a failure.
WORTH_NAMING = 0.02


@dataclass(frozen=True)
class FreeMemory:
    """One memory: bytes that are free, bytes there are, and who holds the rest; None where the platform does not say.

    Attributes:
        name: of the device or of the limit.
        usable: bytes that a process of ours could have, those that this one holds included.
        largest_block: the longest free range, where the allocator reports it.
        holders: other processes, or all of a GPU where this process cannot find itself among them.
    """

    name: str
    free: int | None = None
    limit: int | None = None
    usable: int | None = None
    largest_block: int | None = None
    holders: tuple[Process, ...] = ()

    @property
    def sentence(self) -> str:
        """`1.2 GiB of 23.0 GiB are free on NVIDIA RTX 4090; process 4242 (firefox) holds 1.1 GiB`."""
        if self.free is None:
            said = f"{self.name} does not report its free memory"
        else:
            said = (
                f"{size(self.free)}{f' of {size(self.limit)}' if self.limit is not None else ''} are free {self.name}"
            )
            if self.largest_block is not None and self.largest_block < self.free:
                said += f", the largest block has {size(self.largest_block)}"
        held = [_held(process) for process in self.holders]
        return f"{said} ({', '.join(held)})" if held else said


def _held(process: Process) -> str:
    amount = size(process.memory_bytes) if process.memory_bytes is not None else "memory"
    return f"process {process.pid} {one_line(process.name or '?')} holds {amount}"


def free_memory(*, host: bool = False) -> FreeMemory:
    """The memory of the first device; the host's where that is a CPU, or on request."""
    device = jax.local_devices()[0]
    return host_memory() if host or device.platform == "cpu" else _device_memory(device)


def _device_memory(device: jax.Device) -> FreeMemory:
    stats, name = device.memory_stats() or {}, f"on {device.device_kind}"
    gpus = visible_gpus(probe_gpus(), os.environ)
    processes = [process for gpu in gpus for process in gpu.processes or ()]
    others = [process for process in processes if process.pid != os.getpid()]
    limit, used = stats.get("bytes_limit"), stats.get("bytes_in_use")
    if limit is None or used is None:
        return FreeMemory(name, holders=_largest(others, 0))
    usable = limit
    total = gpus[0].memory_total_bytes if len(gpus) == 1 else None
    # In a container the driver may list processes by pids of the host: then it is unknown which of them is this one.
    if total is not None and len(others) < len(processes):
        usable = min(limit, total - sum(process.memory_bytes or 0 for process in others))
    block = stats.get("largest_free_block_bytes")
    return FreeMemory(name, max(0, usable - used), limit, usable, block, _largest(others, limit))


def host_memory() -> FreeMemory:
    """The tightest of the machine's memory and the limits on this process."""
    return min(_host_limits(), key=lambda memory: memory.free or 0)


def _host_limits() -> Iterator[FreeMemory]:
    ours, machine = psutil.Process(), psutil.virtual_memory()
    held = sum(array.nbytes for array in jax.live_arrays())
    yield _within("on this machine", machine.available, machine.total, held, _host_processes(machine.total))
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        yield _within("under this process's limit of addresses (ulimit -v)", soft - ours.memory_info().vms, soft, held)
    for folder in _cgroups():
        for names in CGROUP_FILES:
            # A file that is absent, or holds the word `max`, is no limit.
            with contextlib.suppress(OSError, ValueError):
                limit, usage = (int((folder / name).read_text()) for name in names)
                if limit < machine.total:
                    yield _within("under the memory limit of this container (cgroup)", limit - usage, limit, held)


def _within(name: str, free: int, limit: int, held: int, holders: tuple[Process, ...] = ()) -> FreeMemory:
    free = max(0, free)
    return FreeMemory(name, free, limit, free + held, None, holders)


def _cgroups() -> Iterator[Path]:
    """This process's folders of the memory controller, of either version."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                yield from (CGROUPS / controllers, CGROUPS / controllers / path.lstrip("/"))


def _host_processes(total: int) -> tuple[Process, ...]:
    found = psutil.process_iter(["pid", "name", "memory_info"])
    others = [
        Process(each.info["pid"], each.info["memory_info"].rss, each.info["name"])
        for each in found
        if each.info["memory_info"] is not None and each.info["pid"] != os.getpid()
    ]
    return _largest(others, total)


def _largest(processes: list[Process], total: int) -> tuple[Process, ...]:
    worth = [each for each in processes if each.memory_bytes is None or each.memory_bytes >= WORTH_NAMING * total]
    return tuple(sorted(worth, key=lambda each: -(each.memory_bytes or 0))[:MOST_PROCESSES])
