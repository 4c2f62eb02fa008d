"""The console's end of `chomp.cli.helper`: engine commands without the seconds that an import of JAX takes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from chomp_tui.engine.process import (
    EngineError,
    helper_command,
    helper_environment,
    printed_object,
    sentence,
    start_problem,
)
from chomp_tui.platform.child import MOST_ERRORS, child_process, read_errors

# Of a helper whose input is closed, for the end of its commands.
CLOSE_SECONDS = 5.0


class Call:
    """One command line that the helper runs.

    Attributes:
        pid: of its process; None before it is started.
        out, errors: what it has printed; of the errors the end.
        ended: its exit code, once it is known; an `EngineError` if the helper ended first.
    """

    def __init__(
        self,
        on_start: Callable[[int], None],
        on_line: Callable[[bytes], None] | None,
        on_errors: Callable[[str], None],
    ) -> None:
        self._on_start, self._on_line, self._on_errors = on_start, on_line, on_errors
        self._post: Callable[[Mapping[str, Any]], None] = lambda request: None
        self.pid: int | None = None
        self.out = self.errors = ""
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connect(self, post: Callable[[Mapping[str, Any]], None]) -> None:
        """Send requests to this helper from now on."""
        self._post = post

    def write(self, text: str) -> None:
        """Write to its standard input."""
        self._post({"text": text})

    def signal(self, number: int) -> None:
        """Send a signal to it and to what it has started."""
        self._post({"signal": number})

    def take(self, answer: Mapping[str, Any]) -> None:
        """Take in one answer of the helper."""
        if "pid" in answer:
            self.pid = int(answer["pid"])
            self._on_start(self.pid)
        elif "out" in answer:
            self.out += str(answer["out"])
            if self._on_line is not None:
                *lines, self.out = self.out.split("\n")
                for line in lines:
                    self._on_line(line.encode())
        elif "err" in answer:
            self.errors = (self.errors + str(answer["err"]))[-MOST_ERRORS:]
            self._on_errors(self.errors)
        elif "code" in answer and not self.ended.done():
            self.ended.set_result(int(answer["code"]))

    def fail(self, why: str) -> None:
        """The helper is gone."""
        if not self.ended.done():
            self.ended.set_exception(EngineError(why))
            # Of a call that was given up nothing asks for it.
            self.ended.exception()


class _Running:
    """One helper process with its calls."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command, self._environment = command, environment
        self._process: Process | None = None
        self._calls: dict[int, Call] = {}
        # Until it has imported the engine: a call that is given up meanwhile is never sent.
        self._waiting: list[Mapping[str, Any]] = []
        self._is_ready = False
        self._newest = 0
        self.is_gone = False
        self.task = asyncio.get_running_loop().create_task(self._run())

    @property
    def is_idle(self) -> bool:
        return not self._calls

    def start(self, call: Call, arguments: Sequence[str], *, has_input: bool) -> None:
        self._newest += 1
        number = self._newest
        self._calls[number] = call
        call.ended.add_done_callback(lambda _: self._calls.pop(number, None))
        call.connect(lambda request: self._send({"id": number, **request}))
        self._send({"id": number, "arguments": list(arguments), "input": has_input})

    def _send(self, request: Mapping[str, Any]) -> None:
        if not self._is_ready and "signal" in request:
            self._waiting = [one for one in self._waiting if one["id"] != request["id"]]
            self._calls[request["id"]].take({"code": -request["signal"]})
        elif not self._is_ready:
            self._waiting.append(request)
        elif self._process is not None and self._process.stdin is not None and not self.is_gone:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")

    async def _run(self) -> None:
        """Read its answers until it ends; then fail what is unanswered."""
        why = "the engine's helper ended"
        try:
            async with child_process(self._command, self._environment, stdin=PIPE) as process:
                self._process = process
                _, errors = await asyncio.gather(self._read(process), read_errors(process))
                why = sentence(await process.wait(), errors)
        except (OSError, ValueError) as error:
            why = start_problem(error) if self._process is None else f"the engine's helper cannot be read: {error}"
        finally:
            self.is_gone = True
            for call in list(self._calls.values()):
                call.fail(why)

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            answer = printed_object(line.decode("utf-8", "replace"))
            if "ready" in answer:
                self._is_ready = True
                waiting, self._waiting = self._waiting, []
                for request in waiting:
                    self._send(request)
            elif (call := self._calls.get(answer.get("id", 0))) is not None:
                call.take(answer)

    async def close(self) -> None:
        """Close its input, which ends it and kills its commands; wait for that."""
        if self._is_ready and self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await asyncio.wait([self.task], timeout=CLOSE_SECONDS)
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class Helper:
    """Runs engine commands in one warm process, which is started when it is first needed and again when it has ended.

    Args:
        command: the helper's argument list.
    """

    def __init__(self, command: Sequence[str] | None = None) -> None:
        self._command = tuple(command or helper_command())
        # By the variables of the device screen, which libraries read at their import: nearly always one.
        self._running: dict[tuple[tuple[str, str], ...], _Running] = {}
        self._ending: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def call(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        has_input: bool = False,
        on_start: Callable[[int], None] = lambda pid: None,
        on_line: Callable[[bytes], None] | None = None,
        on_errors: Callable[[str], None] = lambda text: None,
    ) -> AsyncIterator[Call]:
        """Run `chomp ARGUMENTS`; leaving the block kills it, if it still runs, and waits for its end.

        Args:
            environment: variables to set for it.
            has_input: whether `Call.write` will be used.
            on_start: gets its pid.
            on_line: gets each line of its output; without it the output is kept whole.
            on_errors: gets the end of its error output, whenever there is more.
        """
        call = Call(on_start, on_line, on_errors)
        self._of(environment).start(call, arguments, has_input=has_input)
        try:
            yield call
        finally:
            if not call.ended.done():
                call.signal(signal.SIGKILL)
                with contextlib.suppress(EngineError):
                    await asyncio.shield(call.ended)

    async def ask(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        limit_seconds: float | None = None,
        on_start: Callable[[int], None] = lambda pid: None,
        on_errors: Callable[[str], None] = lambda text: None,
        is_answer: Callable[[Mapping[str, Any]], bool] = lambda found: False,
    ) -> Mapping[str, Any]:
        """Run a command to its end and return the JSON object that it printed last, {} if none.

        Arguments are those of `call`; cancelling this kills the command.

        Args:
            is_answer: whether such an object counts although the command's exit code is not 0.

        Raises:
            EngineError: it failed, or it took longer than the limit.
        """
        pids: list[int] = []
        is_retried = False

        def started(pid: int) -> None:
            pids.append(pid)
            on_start(pid)

        try:
            async with asyncio.timeout(limit_seconds):
                while True:
                    try:
                        async with self.call(arguments, environment, on_start=started, on_errors=on_errors) as call:
                            code = await asyncio.shield(call.ended)
                        break
                    except EngineError:
                        # A helper may leave in the moment in which it is needed.
                        if pids or is_retried:
                            raise
                        is_retried = True
        except TimeoutError:
            raise EngineError(f"no answer within {limit_seconds:.0f} s") from None
        found = printed_object(call.out)
        if code != 0 and not is_answer(found):
            raise EngineError(sentence(code, call.errors), code)
        return found

    def warm_up(self, environment: Mapping[str, str]) -> None:
        """Start the process now, so that the first command need not wait for its imports."""
        self._start(tuple(sorted(environment.items())))

    def _of(self, environment: Mapping[str, str]) -> _Running:
        key = tuple(sorted(environment.items()))
        for other, running in list(self._running.items()):
            if running.is_gone or (other != key and running.is_idle):
                self._end(self._running.pop(other))
        return self._start(key)

    def _end(self, running: _Running) -> None:
        task = asyncio.get_running_loop().create_task(running.close())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _start(self, key: tuple[tuple[str, str], ...]) -> _Running:
        if key not in self._running:
            self._running[key] = _Running(self._command, helper_environment(dict(key)))
        return self._running[key]

    async def close(self) -> None:
        """End every process, and wait for that."""
        for key in list(self._running):
            self._end(self._running.pop(key))
        await asyncio.gather(*self._ending)
