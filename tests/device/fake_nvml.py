"""NVML as a module that answers from a file of readings.

The readings are written in the form of NVML's answers; `{"error": CODE}` takes the place where the
driver answers with that error code.
"""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from chomp.device import Probe, probe_gpus

READINGS = Path(__file__).parent / "readings"


class NVMLError(Exception):
    """The library's error, with its code."""

    def __init__(self, value: int):
        super().__init__(f"NVML error {value}")
        self.value = value


def answer(value: Any) -> Any:
    if isinstance(value, dict) and "error" in value:
        raise NVMLError(value["error"])
    return value


class FakeNvml:
    """The functions that the probe calls."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, readings: dict[str, Any]):
        self._readings = readings
        self.open = 0

    def nvmlInit(self):
        answer(self._readings.get("init"))
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlSystemGetDriverVersion(self):
        return answer(self._readings["driver"])

    def nvmlSystemGetCudaDriverVersion(self):
        return answer(self._readings["cuda"])

    def nvmlDeviceGetCount(self):
        return len(answer(self._readings["gpus"]))

    def nvmlDeviceGetHandleByIndex(self, index):
        gpu = self._readings["gpus"][index]
        answer(gpu.get("handle"))
        return gpu

    def nvmlDeviceGetName(self, gpu):
        return answer(gpu["name"])

    def nvmlDeviceGetUUID(self, gpu):
        return answer(gpu["uuid"])

    def nvmlDeviceGetCudaComputeCapability(self, gpu):
        return tuple(answer(gpu["compute_capability"]))

    def nvmlDeviceGetMemoryInfo(self, gpu):
        return SimpleNamespace(**answer(gpu["memory"]))

    def nvmlDeviceGetUtilizationRates(self, gpu):
        return SimpleNamespace(gpu=answer(gpu["utilisation"]), memory=0)

    def nvmlDeviceGetTemperature(self, gpu, sensor):
        assert sensor == self.NVML_TEMPERATURE_GPU
        return answer(gpu["temperature"])

    def nvmlDeviceGetPowerUsage(self, gpu):
        return answer(gpu["power_milliwatts"])

    def nvmlDeviceGetEnforcedPowerLimit(self, gpu):
        return answer(gpu["power_limit_milliwatts"])

    def nvmlDeviceGetMigMode(self, gpu):
        return answer(gpu["mig"])

    def nvmlDeviceGetComputeRunningProcesses(self, gpu):
        return listed(gpu["processes"])

    def nvmlDeviceGetGraphicsRunningProcesses(self, gpu):
        return listed(gpu["graphics"])

    def nvmlDeviceGetDisplayActive(self, gpu):
        return answer(gpu["display_active"])

    def nvmlSystemGetProcessName(self, pid):
        names = {
            process["pid"]: process["name"]
            for gpu in self._readings["gpus"]
            for kind in ("processes", "graphics")
            if isinstance(gpu.get(kind), list)
            for process in gpu[kind]
        }
        return answer(names[pid])


def listed(processes: Any) -> list[SimpleNamespace]:
    return [SimpleNamespace(pid=process["pid"], usedGpuMemory=process["memory"]) for process in answer(processes)]


def fake(name: str) -> FakeNvml:
    return FakeNvml(json.loads((READINGS / f"{name}.json").read_text()))


def probe_of(name: str) -> Probe:
    """The probe of a machine with these readings."""
    return probe_gpus(lambda: fake(name))
