"""`chomp preview --interactive` through the helper: opens a text once and answers which batch looks how."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chomp_tui.engine.helper import Call, Helper
from chomp_tui.engine.process import UNREADABLE, EngineError, configuration_file, printed_object, sentence


@dataclass(frozen=True)
class PreviewSource:
    """What is previewed.

    Attributes:
        text: the configuration.
        origin: the checkpoint that the run continues from; None for a run from nothing.
        environment: variables to set for the engine.
    """

    text: str
    overrides: tuple[str, ...]
    origin: Path | None
    environment: Mapping[str, str]


class PreviewSession:
    """An engine that has opened the text of a configuration.

    Args:
        say: gets one sentence on what the engine does, and whether it is a failure; "" when it has answered.
        show: gets an answer, as `chomp preview --json` prints it.

    Attributes:
        is_ready: whether it would answer a question now.
    """

    def __init__(
        self,
        helper: Helper,
        source: PreviewSource,
        say: Callable[[str, bool], None],
        show: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._helper, self._source = helper, source
        self._say, self._show = say, show
        self._call: Call | None = None
        self._request = ""
        self._is_over = False
        self.is_waiting = False

    @property
    def is_ready(self) -> bool:
        return not self.is_waiting and not self._is_over

    async def run(self) -> None:
        """Run the engine until it ends; cancelling this kills it."""
        try:
            with configuration_file(self._source.text) as path:
                arguments = ["preview", str(path), "--interactive", "--json"]
                for override in self._source.overrides:
                    arguments += ["-o", override]
                if self._source.origin is not None:
                    arguments += ["--continue", str(self._source.origin)]
                async with self._helper.call(
                    arguments, self._source.environment, has_input=True, on_line=self._take, on_errors=self._hear
                ) as call:
                    self._call = call
                    self._send()
                    code = await asyncio.shield(call.ended)
                    raise EngineError(sentence(code, call.errors))
        except EngineError as error:
            self._is_over, self.is_waiting = True, False
            self._say(str(error), True)

    def ask(self, *, batch: int, first: int, rows: int) -> None:
        """Ask for sequences of a batch, from sequence `first` on; the newest question counts."""
        self._request = json.dumps({"batch": batch, "first": first, "rows": rows}) + "\n"
        self.is_waiting = True
        self._send()

    def _send(self) -> None:
        if self._call is not None and self._request:
            self._call.write(self._request)
            self._request = ""

    def _take(self, line: bytes) -> None:
        answer = printed_object(line.decode("utf-8", "replace"))
        if "summary" in answer and isinstance(answer.get("rows"), list):
            self.is_waiting = False
            self._say("", False)
            self._show(answer)
        elif answer:
            self.is_waiting = False
            self._say(str(answer.get("problem", UNREADABLE)), True)

    def _hear(self, errors: str) -> None:
        """What takes time is the last line that the engine says."""
        lines = [line for line in errors.splitlines() if line.strip()]
        if self.is_waiting and lines and not lines[-1].startswith("error: "):
            self._say(lines[-1], False)
