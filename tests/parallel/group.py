"""Several engines that train one run together, as real processes."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from chomp.record.events import Event, RunEnded
from tests.engine import Engine, events_of


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def outputs(processes: Sequence[subprocess.Popen[str]], seconds: float = 240) -> list[str]:
    """What processes print, which all end well; none is left behind."""
    try:
        printed = [process.communicate(timeout=seconds)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(processes)
    return printed


class Group:
    """`chomp train ARGS` as processes of one run; the leader's events can be watched.

    Args:
        own: more arguments of some processes, by index.
        folders: in which the processes work, by index.
    """

    def __init__(
        self,
        run_dir: Path,
        *args: object,
        count: int = 2,
        own: dict[int, Sequence[object]] | None = None,
        folders: Sequence[Path] | None = None,
        **options: Any,
    ):
        self.run_dir = run_dir
        port = free_port()
        self.engines = [
            Engine(
                run_dir,
                *("train", *args, *(own or {}).get(index, ()), "--run-dir", run_dir),
                *("--coordinator", f"127.0.0.1:{port}", "--processes", count, "--process", index),
                **(options if folders is None else {**options, "cwd": folders[index]}),
            )
            for index in range(count)
        ]

    def wait_for(self, wanted: Callable[[Event], bool]) -> None:
        assert self.engines[0].wait_for(wanted) is not None, self.texts()

    def strike(self, index: int, number: int) -> None:
        self.engines[index].signal(number)

    def finish(self, seconds: float = 120) -> list[int]:
        """The exit codes, by index."""
        deadline = time.monotonic() + seconds
        return [engine.finish(max(0.1, deadline - time.monotonic())) for engine in self.engines]

    def texts(self) -> list[str]:
        return [engine.text() for engine in self.engines]

    def end(self) -> RunEnded:
        """The newest end of the run."""
        return events_of(self.run_dir, RunEnded)[-1]

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_: object) -> None:
        for engine in self.engines:
            if engine.process.poll() is None:
                engine.process.kill()
                engine.process.wait(10)
