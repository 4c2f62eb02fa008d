"""The console's helper: a process that has imported the engine and forks `chomp` commands at once.

`python -m chomp.cli.helper` reads requests from standard input and writes answers to standard output, both as lines of
JSON. A command is a fork: it has its own pid, group, files and JAX backend, and frees all memory when it ends.

    {"id": 1, "arguments": ["inspect", "run.yaml"], "input": false}     start `chomp inspect run.yaml`
    {"id": 1, "text": "a line\n"}                                       write to its standard input
    {"id": 1, "signal": 2}                                              send a signal to its process group

    {"ready": true}                                                     requests are answered from now on
    {"id": 1, "pid": 4711}                                              it was started
    {"id": 1, "out": "…"}   {"id": 1, "err": "…"}                       what it printed
    {"id": 1, "code": 0}                                                it ended; negative: by a signal

The helper ends with its standard input, after it has killed its commands, or after `IDLE_SECONDS` without a command. A
command kills itself when the helper is gone. The helper itself starts no thread and no JAX backend, so that forks are
safe and no memory of a GPU is taken.
"""

from __future__ import annotations

import codecs
import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from chomp.data import remembered

IDLE_SECONDS = 900.0
PIECE_BYTES = 1 << 16
# Between two looks at a command that has closed its outputs and still runs.
LINGER_SECONDS = 0.05
# Beside a live engine only what that leaves is used.
NICE = 10
# Imported before the first request: what `chomp inspect` needs. Then, while nothing is requested, the rest.
FIRST = ("chomp.cli.main", "chomp.cli.inspect", "chomp.analysis.inspection")
LATER = (
    "chomp.analysis.preview",
    "chomp.generate.sampling",
    "chomp.export.formats",
    "chomp.data.fast_tokenizers",
    "chomp.data.sources.files",
)


@dataclass
class _Command:
    """A forked command.

    Attributes:
        text_input: writes to its standard input; None if it reads the null device.
        unwritten: text for it that its pipe has no room for yet.
        outputs: its open outputs, by descriptor: their name in answers, and a decoder.
    """

    id: int
    pid: int
    text_input: int | None
    unwritten: bytes = b""
    outputs: dict[int, tuple[str, Any]] = field(default_factory=dict)


class Server:
    """Answers requests until standard input ends.

    Args:
        requests, answers: descriptors of the two pipes.
        work: runs a command line in the forked process; never returns.
        later: names of modules to import while nothing is requested.
    """

    def __init__(
        self, requests: int, answers: int, work: Callable[[list[str]], NoReturn], later: Sequence[str] = ()
    ) -> None:
        self._requests, self._answers, self._work = requests, answers, work
        self._later = list(later)
        self._pending = b""
        self._commands: dict[int, _Command] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(requests, selectors.EVENT_READ)
        # Files that a command has found good are not read again by the next ones.
        self._news, self._tell = os.pipe()
        self._unlearnt = b""
        self._selector.register(self._news, selectors.EVENT_READ)
        # Only this process holds the writing end: its commands see by the end of it that this process is gone.
        self._lifeline, self._held = os.pipe()

    def serve(self) -> None:
        """Serve until the console is gone or asks for nothing for a long time."""
        self._say(ready=True)
        idle_since = time.monotonic()
        while True:
            ready = self._selector.select(self._patience())
            for key, _ in ready:
                if key.fd == self._news:
                    self._learn()
                elif key.fd == self._requests:
                    if not self._read_requests():
                        self._kill_all()
                        return
                elif (command := self._commands.get(key.data)) is not None:
                    if key.fd == command.text_input:
                        self._write_input(command)
                    else:
                        self._read_output(command, key.fd)
            self._reap()
            if ready or self._commands:
                idle_since = time.monotonic()
            elif self._later:
                _import(self._later.pop(0))
            elif time.monotonic() - idle_since >= IDLE_SECONDS:
                return

    def _learn(self) -> None:
        *keys, self._unlearnt = (self._unlearnt + os.read(self._news, PIECE_BYTES)).split(b"\n")
        for key in keys:
            remembered.learn(key.decode())

    def _patience(self) -> float:
        if any(not command.outputs for command in self._commands.values()):
            return LINGER_SECONDS
        return 0.0 if self._later and not self._commands else IDLE_SECONDS

    def _read_requests(self) -> bool:
        """Do what the next requests say; False at the end."""
        read = os.read(self._requests, PIECE_BYTES)
        *lines, self._pending = (self._pending + read).split(b"\n")
        for line in lines:
            self._obey(json.loads(line))
        return bool(read)

    def _obey(self, request: dict[str, Any]) -> None:
        number = request["id"]
        if "arguments" in request:
            self._start(number, request["arguments"], has_input=request.get("input", False))
            return
        command = self._commands.get(number)
        if command is None:
            return
        if "signal" in request:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(command.pid, request["signal"])
        elif command.text_input is not None:
            if not command.unwritten:
                self._selector.register(command.text_input, selectors.EVENT_WRITE, number)
            command.unwritten += request["text"].encode()

    def _write_input(self, command: _Command) -> None:
        """Write what there is room for: a command that reads nothing must not hold up the others."""
        assert command.text_input is not None
        try:
            written = os.write(command.text_input, command.unwritten)
        except BrokenPipeError:
            # It has ended meanwhile.
            written = len(command.unwritten)
        command.unwritten = command.unwritten[written:]
        if not command.unwritten:
            self._selector.unregister(command.text_input)

    def _start(self, number: int, arguments: list[str], *, has_input: bool) -> None:
        child_input, our_input = os.pipe() if has_input else (os.open(os.devnull, os.O_RDONLY), None)
        (out, child_out), (err, child_err) = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                self._let_go(*(fd for fd in (our_input, out, err) if fd is not None))
                remembered.tell_to(self._tell_of)
                _become((child_input, child_out, child_err), self._lifeline)
                self._work(arguments)
            except BaseException:  # noqa: BLE001 - as the interpreter does with what nothing caught
                sys.excepthook(*sys.exc_info())
            os._exit(1)
        for fd in (child_input, child_out, child_err):
            os.close(fd)
        # Here too: a signal may be sent before the child has done it.
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)
        decoder = codecs.getincrementaldecoder("utf-8")
        if our_input is not None:
            os.set_blocking(our_input, False)
        outputs = {out: ("out", decoder("replace")), err: ("err", decoder("replace"))}
        command = _Command(number, pid, our_input, outputs=outputs)
        self._commands[number] = command
        for fd in command.outputs:
            self._selector.register(fd, selectors.EVENT_READ, number)
        self._say(id=number, pid=pid)

    def _let_go(self, *fds: int) -> None:
        """In the child: close what belongs to this process and to other commands."""
        self._selector.close()
        mine = [self._requests, self._answers, self._held, self._news, *fds]
        for command in self._commands.values():
            mine += command.outputs if command.text_input is None else [command.text_input, *command.outputs]
        for fd in mine:
            os.close(fd)

    def _tell_of(self, key: str) -> None:
        """In the child: a line that is short enough to be written as a whole."""
        # The helper may be gone.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._tell, f"{key}\n".encode())

    def _read_output(self, command: _Command, fd: int) -> None:
        name, decoder = command.outputs[fd]
        piece = os.read(fd, PIECE_BYTES)
        text = decoder.decode(piece, final=not piece)
        if text:
            self._say(id=command.id, **{name: text})
        if not piece:
            self._selector.unregister(fd)
            os.close(fd)
            del command.outputs[fd]

    def _reap(self) -> None:
        """Tell of commands that have ended and whose outputs are read to their ends."""
        for command in [one for one in self._commands.values() if not one.outputs]:
            pid, status = os.waitpid(command.pid, os.WNOHANG)
            if pid:
                self._forget(command, os.waitstatus_to_exitcode(status))

    def _forget(self, command: _Command, code: int) -> None:
        del self._commands[command.id]
        if command.text_input is not None:
            if command.unwritten:
                self._selector.unregister(command.text_input)
            os.close(command.text_input)
        self._say(id=command.id, code=code)

    def _kill_all(self) -> None:
        for command in list(self._commands.values()):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(command.pid, signal.SIGKILL)
            self._forget(command, os.waitstatus_to_exitcode(os.waitpid(command.pid, 0)[1]))

    def _say(self, **values: Any) -> None:
        line = json.dumps(values).encode() + b"\n"
        # The console may be gone; the end of the requests says so, too.
        with contextlib.suppress(BrokenPipeError):
            while line:
                line = line[os.write(self._answers, line) :]


def _become(streams: tuple[int, int, int], lifeline: int) -> None:
    """In the child: a process of its own group with these standard streams, which ends with the helper."""
    os.setpgid(0, 0)
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    # Like those of a new interpreter; `chomp.cli.endings` prepares them further.
    sys.stdin = os.fdopen(0, "r", encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1, errors="backslashreplace", closefd=False)
    # Also where the console was started with interrupts ignored: they end a text that is being generated.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.unfreeze()
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True, name="lifeline").start()


def _end_with(lifeline: int) -> None:
    """Kill this command and what it has started once the helper is gone."""
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


def _import(name: str) -> None:
    """Import a module before a command needs it."""
    try:
        importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - the command that imports it again says what is wrong
        print(f"{name} cannot be imported before it is needed: {error}", file=sys.stderr)


def _run_chomp(arguments: list[str]) -> NoReturn:
    from chomp.cli.main import cli, run

    sys.argv = ["chomp", *arguments]
    run(cli, arguments)
    raise AssertionError("a command leaves by itself")


def serve(
    work: Callable[[list[str]], NoReturn] = _run_chomp, first: Sequence[str] = FIRST, later: Sequence[str] = LATER
) -> None:
    """Serve on this process's standard streams; what libraries print goes to standard error."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    os.nice(NICE)
    for name in first:
        _import(name)
    gc.collect()
    gc.freeze()
    Server(requests, answers, work, later).serve()


def main() -> None:
    """Set what libraries read at their import, and serve."""
    from chomp.cli.engine import BEFORE_IMPORT

    for name, value in BEFORE_IMPORT.items():
        os.environ.setdefault(name, value)
    # NumPy's OpenBLAS would start threads; matrices are multiplied by JAX.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    serve()
    os._exit(0)


if __name__ == "__main__":
    main()
