"""`chomp generate --interactive` in a child process: continues one prompt after another."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from chomp_tui.engine.process import engine_command, helper_environment, printed_object, sentence, start_problem
from chomp_tui.platform.child import child_process, read_errors

ENDS = {
    "length": "the token limit",
    "end-of-text": "the end-of-text id",
    "stop": "a stop text",
    "stopped": "your key",
}
# Of a longer text the end is kept.
MOST_CHARACTERS = 100_000


def generate_command(checkpoint: Path) -> list[str]:
    """The child's argument list: it answers each line of its input with lines of JSON."""
    return engine_command("generate", str(checkpoint), "--interactive", "--json")


class SampleSession:
    """An engine that holds a checkpoint's model and writes with it.

    Args:
        checkpoint: its folder.
        environment: variables to set for the child.
        say: gets one sentence on what the engine does, and whether it is a failure.

    Attributes:
        process: the child, None before it is started.
        prompt: of the newest text.
        text: the newest text as far as it is written.
        has_news: prompt or text have changed; the reader sets it back.
        is_writing: whether the text is unfinished.
    """

    def __init__(self, checkpoint: Path, environment: Mapping[str, str], say: Callable[[str, bool], None]) -> None:
        self._command = generate_command(checkpoint)
        self._environ = helper_environment(environment)
        self._say = say
        self._is_ready = False
        self._request: bytes | None = None
        self.process: Process | None = None
        self.prompt = self.text = ""
        self.has_news = self.is_writing = False

    async def run(self) -> None:
        """Run the engine until it ends; cancelling this kills it."""
        self._say("loading the model…", False)
        try:
            async with child_process(self._command, self._environ, stdin=PIPE) as process:
                self.process = process
                # Both at once: a full pipe would stop the child.
                _, errors = await asyncio.gather(self._read(process), read_errors(process))
                problem = sentence(await process.wait(), errors)
        except (OSError, ValueError) as error:
            problem = start_problem(error) if self.process is None else f"the engine cannot be read: {error}"
        self._is_ready = self.is_writing = False
        self._say(problem, True)

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self.take(line)

    def take(self, line: bytes) -> None:
        """Take in one line of the child's output."""
        said = printed_object(line.decode("utf-8", "replace"))
        if "step" in said:
            self._is_ready = True
            self._say("ready", False)
            self._send()
        elif "prompt" in said:
            self.prompt, self.text, self.has_news = str(said["prompt"]), "", True
        elif "piece" in said:
            self.text, self.has_news = (self.text + str(said["piece"]))[-MOST_CHARACTERS:], True
        elif said:
            self.is_writing = False
            self._say(str(said["problem"]) if "problem" in said else summary(said), "problem" in said)

    def write(self, request: Mapping[str, Any]) -> None:
        """Have a prompt continued, once the model is loaded; `request` holds it and the options that are set."""
        self._request = json.dumps(request).encode() + b"\n"
        self._send()

    def _send(self) -> None:
        if self._request is None or not self._is_ready or self.process is None or self.process.stdin is None:
            return
        self.process.stdin.write(self._request)
        self._request, self.is_writing = None, True
        self._say("writing…" if self.text else "writing… (the first time it is compiled)", False)

    def interrupt(self) -> bool:
        """End the text that is being written; returns False if there is none."""
        if self.process is None or not self.is_writing or not self.text:
            return False
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT)
        return True


def summary(said: Mapping[str, Any]) -> str:
    """What a continuation took, from the line that ends it."""
    tokens, seconds = said.get("tokens"), said.get("seconds")
    rate = ""
    if isinstance(tokens, int) and isinstance(seconds, float) and seconds > 0:
        rate = f", {tokens / seconds:.1f} tokens/s"
    return f"{tokens} tokens{rate}; ended at {ENDS.get(str(said.get('end')), said.get('end'))}"
