"""`chomp` processes forked from one that has imported the engine, which spares each the two seconds of its imports.

A fork is a process like any other: its own pid, signals, files, threads and JAX. The server never starts a thread or a
JAX backend, and refuses to fork if it has; what a child imports, reads or changes stays in that child.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
# What `chomp train` imports before it opens its text; pyarrow, which a text then needs, starts a thread.
PRELOADED = ("chomp.cli.loading", "chomp.cli.train", "chomp.train.loop", "chomp.generate.load")
STATUS = struct.Struct("i")
# Variables that libraries read when they are imported: what has others is not forked.
READ_AT_IMPORT = ("JAX_", "XLA_", "EQX_")
# Not those of JAX's cache, which can be set until the first compilation: the setting of each, and how it is read.
OF_THE_CACHE: dict[str, tuple[str, Callable[[str], object]]] = {
    "JAX_COMPILATION_CACHE_DIR": ("jax_compilation_cache_dir", str),
    "JAX_ENABLE_COMPILATION_CACHE": ("jax_enable_compilation_cache", lambda value: value.lower() in ("true", "1")),
}
COMMAND = """\
#!{python} -IS
import json, os, socket, struct, sys

def is_read(name):
    return name.startswith({prefixes!r}) and name not in {later!r}

read = {{name: value for name, value in os.environ.items() if is_read(name)}}
if read != {read!r}:
    os.execv({chomp!r}, ["chomp", *sys.argv[1:]])
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
reading, writing = os.pipe()
request = {{"module": "chomp", "args": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd()}}
body = json.dumps(request).encode()
socket.send_fds(server, [struct.pack("i", len(body))], [0, 1, 2, writing])
server.sendall(body)
os.close(writing)
server.recv(4)
(code,) = struct.unpack("i", os.read(reading, 4))
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


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
        self._environment = environment
        # OpenBLAS, which NumPy brings along, would start a thread for each further core.
        with socket.socket(socket.AF_UNIX) as listener:
            # An address that the kernel chooses, outside the file system.
            listener.bind("")
            listener.listen()
            self._address = listener.getsockname()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forks", str(there.fileno()), str(listener.fileno())],
                cwd=ROOT,
                env={**environment, "OPENBLAS_NUM_THREADS": "1"},
                pass_fds=[there.fileno(), listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        there.close()

    def start(
        self, module: str, args: list[str], *, env: Mapping[str, str], cwd: Path, streams: tuple[int, ...]
    ) -> Forked:
        """Start `python -m MODULE ARGS` with file descriptors for its three streams."""
        request = {"module": module, "args": args, "env": dict(env), "cwd": str(cwd)}
        reading, writing = os.pipe()
        body = json.dumps(request).encode()
        socket.send_fds(self._here, [STATUS.pack(len(body))], [*streams, writing])
        self._here.sendall(body)
        os.close(writing)
        (pid,) = STATUS.unpack(self._here.recv(STATUS.size, socket.MSG_WAITALL))
        return Forked(pid, reading)

    def write_command(self, path: Path) -> None:
        """Write a program that does what `chomp` does, forked; with other settings of libraries it starts `chomp`."""
        later = tuple(OF_THE_CACHE)
        read = {
            name: value
            for name, value in self._environment.items()
            if name.startswith(READ_AT_IMPORT) and name not in later
        }
        chomp = Path(sys.executable).with_name("chomp")
        text = COMMAND.format(
            python=sys.executable,
            chomp=str(chomp),
            address=self._address,
            read=read,
            prefixes=READ_AT_IMPORT,
            later=later,
        )
        path.write_text(text)
        path.chmod(0o700)

    def close(self) -> None:
        self._here.close()
        self._process.wait(60)


class Server:
    """Forks on a client's request and sends it the exit status of the child.

    The server ends with its first client, the process that started it. A child of another client is killed when that
    client ends.
    """

    def __init__(self, control: socket.socket, listener: socket.socket):
        self._control, self._listener = control, listener
        self._clients = [control]
        # By a descriptor of each child: its pid, the pipe for its status, and who started it.
        self._children: dict[int, tuple[int, int, socket.socket]] = {}

    def serve(self) -> None:
        while self._control in self._clients:
            for ready in select.select([self._listener, *self._clients, *self._children], [], [])[0]:
                if ready is self._listener:
                    self._clients.append(self._listener.accept()[0])
                elif isinstance(ready, socket.socket):
                    self._answer(ready)
                else:
                    pid, status, _ = self._children.pop(ready)
                    os.close(ready)
                    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    # A client may have ended before what it started.
                    with contextlib.suppress(BrokenPipeError):
                        os.write(status, STATUS.pack(code))
                    os.close(status)

    def _answer(self, client: socket.socket) -> None:
        head, received, _, _ = socket.recv_fds(client, STATUS.size, 4)
        if not head:
            self._clients.remove(client)
            client.close()
            for pid, _, owner in self._children.values():
                if owner is client and client is not self._control:
                    os.kill(pid, signal.SIGKILL)
            return
        request = json.loads(client.recv(*STATUS.unpack(head), socket.MSG_WAITALL))
        threads = list(Path("/proc/self/task").iterdir())
        assert len(threads) == 1, f"no fork is safe in a process of {len(threads)} threads"
        pid = os.fork()
        if pid == 0:
            for other in (self._listener, *self._clients):
                other.close()
            for fd in (*self._children, *(status for _, status, _ in self._children.values()), received[3]):
                os.close(fd)
            become(request, received[:3])
        for fd in received[:3]:
            os.close(fd)
        self._children[os.pidfd_open(pid)] = (pid, received[3], client)
        with contextlib.suppress(BrokenPipeError):
            client.sendall(STATUS.pack(pid))


def become(request: dict[str, Any], streams: list[int]) -> None:
    """In the child: what `python -m MODULE ARGS` makes of a process."""
    import runpy

    import jax

    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    # The server's own streams take its files for seekable, as /dev/null is.
    sys.stdin, sys.stdout = os.fdopen(0, "r", closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["env"])
    for name, (setting, read) in OF_THE_CACHE.items():
        if name in os.environ:
            jax.config.update(setting, read(os.environ[name]))
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
    # Tests look at what `chomp fit` and `chomp probe --compare` say, not at how fast this machine is.
    fit = importlib.import_module("chomp.analysis.fit")
    assert fit.MEASURED_SECONDS > 1
    fit.MEASURED_SECONDS = 0.2
    # The first line that a process reads builds the table of all kinds of events.
    assert importlib.import_module("chomp.record.codec").decode('{"kind": "phase"}') is not None
    # Children compile as the process of the tests does, and find in the cache what it compiled.
    importlib.import_module("tests.compiling").compile_quickly()
    gc.collect()
    gc.freeze()
    Server(*(socket.socket(fileno=int(fd)) for fd in sys.argv[1:3])).serve()


if __name__ == "__main__":
    main()
