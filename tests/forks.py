"""`chomp` processes forked from one that has imported the engine, which spares each the two seconds of its imports.

A fork is a process like any other: its own pid, signals, files, threads and JAX. The server never starts a thread or a
JAX backend, and refuses to fork if it has; what a child imports, reads or changes stays in that child.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
# What `chomp train` imports before it opens its text; pyarrow, which a text then needs, starts a thread.
PRELOADED = ("chomp.cli.loading", "chomp.cli.train", "chomp.train.loop", "chomp.generate.load")
STATUS = struct.Struct("i")


class Forked:
    """A forked process, as far as tests use it, with the interface of `subprocess.Popen`."""

    def __init__(self, pid: int, status: int):
        self.pid = pid
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"fork {self.pid}", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, seconds: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], seconds)[0]:
            told = os.read(self._status, STATUS.size)
            assert told, "the fork server ended"
            (self.returncode,) = STATUS.unpack(told)
            os.close(self._status)
        return self.returncode


class ForkServer:
    """The process that forks; it ends when this side of the socket is closed."""

    def __init__(self, environment: Mapping[str, str]):
        self._here, there = socket.socketpair()
        # OpenBLAS, which NumPy brings along, would start a thread for each further core.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forks", str(there.fileno())],
            cwd=ROOT,
            env={**environment, "OPENBLAS_NUM_THREADS": "1"},
            pass_fds=[there.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        there.close()

    def start(
        self, module: str, args: list[str], *, env: Mapping[str, str], cwd: Path, streams: tuple[int, ...]
    ) -> Forked:
        """Start `python -m MODULE ARGS` with file descriptors for its three streams."""
        reading, writing = os.pipe()
        request = {"module": module, "args": args, "env": dict(env), "cwd": str(cwd)}
        body = json.dumps(request).encode()
        socket.send_fds(self._here, [STATUS.pack(len(body))], [*streams, writing])
        self._here.sendall(body)
        os.close(writing)
        (pid,) = STATUS.unpack(self._here.recv(STATUS.size, socket.MSG_WAITALL))
        return Forked(pid, reading)

    def close(self) -> None:
        self._here.close()
        self._process.wait(60)


def serve(control: socket.socket) -> None:
    """Fork as told, and tell of each child's end, until the other side is gone."""
    children: dict[int, tuple[int, int]] = {}
    while True:
        for ready in select.select([control, *children], [], [])[0]:
            if ready is not control:
                pid, status = children.pop(ready)
                os.close(ready)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                os.write(status, STATUS.pack(code))
                os.close(status)
                continue
            head, received, _, _ = socket.recv_fds(control, STATUS.size, 4)
            if not head:
                return
            request = json.loads(control.recv(*STATUS.unpack(head), socket.MSG_WAITALL))
            threads = list(Path("/proc/self/task").iterdir())
            assert len(threads) == 1, f"no fork is safe in a process of {len(threads)} threads"
            pid = os.fork()
            if pid == 0:
                control.close()
                for fd in (*children, *(status for _, status in children.values()), received[3]):
                    os.close(fd)
                become(request, received[:3])
            for fd in received[:3]:
                os.close(fd)
            children[os.pidfd_open(pid)] = (pid, received[3])
            control.sendall(STATUS.pack(pid))


def become(request: dict[str, Any], streams: list[int]) -> None:
    """In the child: what `python -m MODULE ARGS` makes of a process."""
    import runpy

    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.path[0] = request["cwd"]
    sys.argv = [request["module"], *request["args"]]
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    except BaseException:  # noqa: BLE001 - as the interpreter does with what nothing caught
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)


def main() -> None:
    import gc
    import importlib

    # Ctrl+C goes to the whole process group; the server ends with its client.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
