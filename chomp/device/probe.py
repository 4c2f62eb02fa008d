"""What NVIDIA's management library (NVML) says about the GPUs of this machine.

Read in-process and without JAX. Any field may be unavailable (a laptop has no power
reading, WSL no processes, MIG no utilisation, a container no permission); it is then None
and `Gpu.unavailable` says why. A machine without a GPU gives an empty probe with a reason.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

# NVML error code -> message. Other codes use NVML's own text.
_REASONS = {
    3: "not supported by this device",
    4: "the driver denies it to this user",
    9: "the NVIDIA driver is installed but not loaded",
    12: "no NVIDIA driver is installed (libnvidia-ml was not found)",
    13: "the driver is too old to report it",
    15: "the GPU has fallen off the bus; restart the machine",
    18: "the NVIDIA driver was updated and its running kernel module was not; restart the machine",
    999: "the driver reports an unknown error",
}


@dataclass(frozen=True)
class Process:
    """A process that uses a GPU. `memory_bytes` and `name` are None where the driver hides them.

    Attributes:
        draws: whether it uses the GPU for graphics.
    """

    pid: int
    memory_bytes: int | None = None
    name: str | None = None
    draws: bool = False


@dataclass(frozen=True)
class Gpu:
    """One GPU; every reading may be None.

    Attributes:
        index: NVML's index, which is PCI bus order.
        compute_capability: (major, minor), e.g. (12, 0).
        memory_used_bytes: of all processes, preallocated pools included.
        utilisation_percent: share of the last sample period in which a kernel ran.
        mig: whether the GPU is split into MIG instances; None where it cannot be.
        processes: None where the driver does not list them, () when there are none.
        desktop: whether the GPU drives a display or a process draws with it; None where the driver does not report it.
        unavailable: field name -> why it is None.
    """

    index: int
    name: str | None = None
    uuid: str | None = None
    compute_capability: tuple[int, int] | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    utilisation_percent: int | None = None
    temperature_celsius: int | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    mig: bool | None = None
    processes: tuple[Process, ...] | None = None
    desktop: bool | None = None
    unavailable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Probe:
    """All GPUs.

    Attributes:
        driver: NVIDIA driver version.
        cuda: newest CUDA version the driver supports, `13.0`.
        reason: why there are no GPUs; None when there are some.
    """

    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    cuda: str | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def load_nvml() -> Any:
    """The `pynvml` module; the boundary that tests replace."""
    return importlib.import_module("pynvml")


def probe_gpus(load: Callable[[], Any] = load_nvml) -> Probe:
    """Read all GPUs once; never raises for a missing driver, device or reading."""
    try:
        nvml = load()
    except ImportError:
        return Probe(reason="the package nvidia-ml-py is not installed")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return Probe(reason=_why(error))
    try:
        return _read(nvml)
    finally:
        # A driver that is reloaded meanwhile has nothing to shut down.
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _read(nvml: Any) -> Probe:
    system = _Reader(nvml)
    driver = system.get("driver", nvml.nvmlSystemGetDriverVersion)
    cuda = system.get("cuda", nvml.nvmlSystemGetCudaDriverVersion)
    count = system.get("count", nvml.nvmlDeviceGetCount)
    gpus = tuple(_gpu(nvml, index) for index in range(count or 0))
    reason = None if gpus else system.missing.get("count", "the NVIDIA driver is loaded but reports no GPU")
    version = f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda is not None else None
    return Probe(gpus, _text(driver), version, reason)


def _gpu(nvml: Any, index: int) -> Gpu:
    reader = _Reader(nvml)
    handle = reader.get("name", lambda: nvml.nvmlDeviceGetHandleByIndex(index))
    if handle is None:
        return Gpu(index, unavailable=reader.missing)
    memory = reader.get("memory", lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    capability = reader.get("compute_capability", lambda: nvml.nvmlDeviceGetCudaComputeCapability(handle))
    load = reader.get("utilisation_percent", lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    power = reader.get("power_watts", lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    limit = reader.get("power_limit_watts", lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle))
    mig = reader.get("mig", lambda: nvml.nvmlDeviceGetMigMode(handle))
    drawing = _processes(reader, "desktop", lambda: nvml.nvmlDeviceGetGraphicsRunningProcesses(handle), draws=True)
    return Gpu(
        index=index,
        name=_text(reader.get("name", lambda: nvml.nvmlDeviceGetName(handle))),
        uuid=_text(reader.get("uuid", lambda: nvml.nvmlDeviceGetUUID(handle))),
        compute_capability=(int(capability[0]), int(capability[1])) if capability is not None else None,
        memory_total_bytes=memory.total if memory is not None else None,
        memory_used_bytes=memory.used if memory is not None else None,
        utilisation_percent=load.gpu if load is not None else None,
        temperature_celsius=reader.get(
            "temperature_celsius", lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
        ),
        power_watts=power / 1000 if power is not None else None,
        power_limit_watts=limit / 1000 if limit is not None else None,
        mig=bool(mig[0]) if mig is not None else None,
        processes=_all(
            _processes(reader, "processes", lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle)), drawing
        ),
        desktop=_desktop(reader, handle, drawing),
        unavailable=reader.missing,
    )


def _processes(
    reader: _Reader, field: str, ask: Callable[[], Any], *, draws: bool = False
) -> tuple[Process, ...] | None:
    found = reader.get(field, ask)
    if found is None:
        return None
    return tuple(Process(item.pid, item.usedGpuMemory, _process_name(reader.nvml, item.pid), draws) for item in found)


def _all(computing: tuple[Process, ...] | None, drawing: tuple[Process, ...] | None) -> tuple[Process, ...] | None:
    """The processes of both lists; one that is in both is named once."""
    if computing is None:
        return None
    by_pid = {process.pid: process for process in (*computing, *(drawing or ()))}
    return tuple(by_pid.values())


def _desktop(reader: _Reader, handle: Any, drawing: tuple[Process, ...] | None) -> bool | None:
    displays = reader.get("desktop", lambda: reader.nvml.nvmlDeviceGetDisplayActive(handle))
    if displays or drawing:
        reader.missing.pop("desktop", None)
        return True
    return None if displays is None or drawing is None else False


def _process_name(nvml: Any, pid: int) -> str | None:
    return _text(_Reader(nvml).get("name", lambda: nvml.nvmlSystemGetProcessName(pid)))


@dataclass
class _Reader:
    """Reads NVML; a failed reading becomes None and an entry in `missing`."""

    nvml: Any
    missing: dict[str, str] = field(default_factory=dict)

    def get(self, name: str, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except self.nvml.NVMLError as error:
            self.missing[name] = _why(error)
            return None


def _why(error: Any) -> str:
    return _REASONS.get(error.value, str(error))


def _text(value: str | bytes | None) -> str | None:
    """NVML's text (bytes in old versions) on one line: a process may carry control characters in its name."""
    if value is None:
        return None
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return "".join(letter if letter.isprintable() else "?" for letter in text)
