"""Polls the GPUs in a thread, and keeps the readings of the last minutes; never touches a widget."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from chomp.device import Probe, probe_gpus
from chomp_tui.engine.machine import Machine
from chomp_tui.platform.poller import Poller

INTERVAL_SECONDS = 2.0
KEPT_READINGS = 150
KEPT_MINUTES = round(KEPT_READINGS * INTERVAL_SECONDS / 60)


@dataclass(frozen=True)
class Trail:
    """Shares between 0 and 1, one for each reading of the last minutes, newest last; NaN where there was none."""

    load: tuple[float, ...] = ()
    memory: tuple[float, ...] = ()


@dataclass
class History:
    """The readings of the last minutes.

    The machine's own have the key None, those of a GPU its number.
    """

    _readings: deque[dict[int | None, tuple[float, float]]] = field(
        default_factory=lambda: deque(({} for _ in range(KEPT_READINGS)), maxlen=KEPT_READINGS)
    )
    _last: float = -math.inf

    def add(self, probe: Probe, machine: Machine, now: float) -> None:
        """Note a reading; `now` is any clock's time in seconds. What was missed since the last one is a gap."""
        missed = round(min(now - self._last, KEPT_READINGS * INTERVAL_SECONDS) / INTERVAL_SECONDS) - 1
        if missed < 0:
            # A reading between two intervals, after a key.
            self._readings.pop()
        else:
            self._last = now
            self._readings.extend({} for _ in range(missed))
        reading: dict[int | None, tuple[float, float]] = {
            gpu.index: (_share(gpu.utilisation_percent, 100), _share(gpu.memory_used_bytes, gpu.memory_total_bytes))
            for gpu in probe.gpus
        }
        reading[None] = (_share(machine.busy_percent, 100), _share(machine.memory_used_bytes, machine.memory_bytes))
        self._readings.append(reading)

    def trail(self, gpu: int | None) -> Trail:
        """The readings of a GPU, or of the machine."""
        absent = (math.nan, math.nan)
        pairs = [reading.get(gpu, absent) for reading in self._readings]
        return Trail(tuple(load for load, _ in pairs), tuple(memory for _, memory in pairs))


def _share(part: float | None, whole: float | None) -> float:
    return min(1.0, part / whole) if part is not None and whole else math.nan


class GpuWatch(Poller[Probe]):
    """Reads all GPUs every two seconds; a driver in trouble may keep its thread for minutes.

    Args:
        load: gives the NVML module; called in the thread.
        deliver: called in the thread with every reading.
    """

    def __init__(
        self,
        load: Callable[[], Any],
        deliver: Callable[[Probe], None],
        *,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        super().__init__(deliver, interval_seconds=interval_seconds, name="gpu-watch")
        self._load = load

    def look(self) -> Iterator[Probe]:
        yield probe_gpus(self._load)
