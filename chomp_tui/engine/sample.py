"""`chomp generate --interactive` through the helper: continues one prompt after another."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from chomp_tui.engine.helper import Call, Helper
from chomp_tui.engine.process import EngineError, printed_object, sentence

ENDS = {
    "length": "the token limit",
    "end-of-text": "the end-of-text id",
    "stop": "a stop text",
    "stopped": "your key",
}
# Of a longer text the end is kept.
MOST_CHARACTERS = 100_000


class SampleSession:
    """An engine that holds a checkpoint's model and writes with it.

    Args:
        helper: runs the engine.
        checkpoint: its folder.
        environment: variables to set for the engine.
        say: gets one sentence on what the engine does, and whether it is a failure.

    Attributes:
        call: the engine at work, None before it is started.
        prompt: of the newest text.
        text: the newest text as far as it is written.
        has_news: prompt or text have changed; the reader sets it back.
        is_writing: whether the text is unfinished.
    """

    def __init__(
        self, helper: Helper, checkpoint: Path, environment: Mapping[str, str], say: Callable[[str, bool], None]
    ) -> None:
        self._helper = helper
        # It answers each line of its input with lines of JSON.
        self._arguments = ["generate", str(checkpoint), "--interactive", "--json"]
        self._environment = environment
        self._say = say
        self._is_ready = False
        self._request: str | None = None
        self.call: Call | None = None
        self.prompt = self.text = ""
        self.has_news = self.is_writing = False

    async def run(self) -> None:
        """Run the engine until it ends; cancelling this kills it."""
        self._say("loading the model…", False)
        try:
            async with self._helper.call(
                self._arguments, self._environment, has_input=True, on_line=self.take
            ) as self.call:
                problem = sentence(await asyncio.shield(self.call.ended), self.call.errors)
        except EngineError as error:
            problem = str(error)
        self._is_ready = self.is_writing = False
        self._say(problem, True)

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
        self._request = json.dumps(request) + "\n"
        self._send()

    def _send(self) -> None:
        if self._request is None or not self._is_ready or self.call is None:
            return
        self.call.write(self._request)
        self._request, self.is_writing = None, True
        self._say("writing…" if self.text else "writing… (the first time it is compiled)", False)

    def interrupt(self) -> bool:
        """End the text that is being written; returns False if there is none."""
        if self.call is None or not self.is_writing or not self.text:
            return False
        self.call.signal(signal.SIGINT)
        return True


def summary(said: Mapping[str, Any]) -> str:
    """What a continuation took, from the line that ends it."""
    tokens, seconds = said.get("tokens"), said.get("seconds")
    rate = ""
    if isinstance(tokens, int) and isinstance(seconds, float) and seconds > 0:
        rate = f", {tokens / seconds:.1f} tokens/s"
    return f"{tokens} tokens{rate}; ended at {ENDS.get(str(said.get('end')), said.get('end'))}"
