"""Reading the GPUs again and again in a thread; it never touches a widget."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from chomp.device import Probe, probe_gpus

INTERVAL_SECONDS = 2.0


class GpuWatch:
    """Reads all GPUs every two seconds between `start` and `stop`.

    A daemon thread, because a driver in trouble may keep its caller for minutes.

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
        self._load = load
        self._deliver = deliver
        self._interval_seconds = interval_seconds
        self._wake = threading.Event()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin; may be called once."""
        threading.Thread(target=self._run, name="gpu-watch", daemon=True).start()

    def poke(self) -> None:
        """Read now instead of at the next interval."""
        self._wake.set()

    def stop(self) -> None:
        """End soon; returns at once, and nothing is delivered any more."""
        self._stopped.set()
        self._wake.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wake.clear()
            probe = probe_gpus(self._load)
            if not self._stopped.is_set():
                self._deliver(probe)
                self._wake.wait(self._interval_seconds)
