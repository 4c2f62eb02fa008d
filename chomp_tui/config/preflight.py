"""The figures of `chomp inspect` for the configuration that the user edits.

One question to the helper at a time, given up when its answer is no longer needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from chomp.config import Config
from chomp.device import probe_gpus, visible_gpus
from chomp_tui.config.draft import Draft
from chomp_tui.engine.helper import Helper
from chomp_tui.engine.machine import read_machine
from chomp_tui.engine.process import UNREADABLE, EngineError, configuration_file
from chomp_tui.platform.background import in_thread

State = Literal["waiting", "computing", "done", "failed"]
Fit = Literal["fits", "tight", "does not fit", "unknown"]

DEBOUNCE_SECONDS = 0.8
TIMEOUT_SECONDS = 180.0
COMPILE_TIMEOUT_SECONDS = 1800.0
# Shares of the device's memory: what the estimate leaves out (scratch space, fragmentation) fits into the rest.
TIGHT, FULL = 0.75, 0.92
# For the answer that a launch waits for.
LAUNCH_SECONDS = 30.0
# Sections that change none of the figures.
_APART = {"debug"}
# Exit codes of the engine that say that it would not start either: configuration, data, device, run directory.
_REFUSALS = (2, 3, 4, 5)


@dataclass(frozen=True)
class Question:
    """One state of the configuration; equal keys have equal figures.

    Attributes:
        environment: variables to set for the engine, from the device screen.
        devices: those on which the run computes, from there too; empty for all.
        compiled: whether XLA compiles the step.
        origin: the checkpoint that the run continues, or the run whose newest one it continues.
        run_dir: where the run will be written; None where the engine chooses.
        card: the GPU, by its name in `chomp.device.cards`, for which it compiles; None for this machine's device.
    """

    text: str
    overrides: tuple[str, ...]
    key: str
    environment: tuple[tuple[str, str], ...] = ()
    compiled: bool = False
    origin: Path | None = None
    run_dir: Path | None = None
    card: str | None = None
    devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What is known at one moment.

    Attributes:
        figures: the newest answer, as `chomp inspect --json` gives it; {} before the first.
        is_outdated: whether the figures are of an earlier configuration.
        message: why it failed, or why it waits.
        is_compiling: whether the engine at work compiles.
        is_refusal: whether the engine failed in a way in which a run would fail, too.
        limit: bytes that the run may take on the device of the figures, and of what; None where unknown.
    """

    state: State = "waiting"
    figures: Mapping[str, Any] = field(default_factory=dict)
    is_outdated: bool = False
    message: str = ""
    is_compiling: bool = False
    is_refusal: bool = False
    limit: tuple[float, str] | None = None

    @property
    def devices(self) -> int:
        """On which a run would compute here."""
        mesh = (self.figures.get("start") or {}).get("mesh") or {}
        return int(mesh.get("devices", 1))

    @property
    def problems(self) -> tuple[str, ...]:
        """Why a run with this configuration cannot start; empty if nothing is known."""
        if self.state == "failed":
            return (self.message,) if self.is_refusal else ()
        return self._said("problems")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is doubtful about a run with this configuration."""
        return () if self.state == "failed" else self._said("warnings")

    def _said(self, what: str) -> tuple[str, ...]:
        start = self.figures.get("start")
        if self.is_outdated or not isinstance(start, dict):
            return ()
        return tuple(map(str, start.get(what) or ()))


def ask(
    config: Config,
    text: str,
    overrides: Sequence[str],
    environment: Mapping[str, str],
    *,
    compiled: bool = False,
    origin: Path | None = None,
    run_dir: Path | None = None,
    card: str | None = None,
    devices: tuple[str, ...] = (),
) -> Question:
    """The question that a checked configuration poses."""
    key, variables = config.model_dump_json(exclude=_APART), tuple(sorted(environment.items()))
    return Question(text, tuple(overrides), key, variables, compiled, origin, run_dir, card, devices)


def question_about(
    draft: Draft,
    config: Config,
    environment: Mapping[str, str],
    runs: Path,
    *,
    compiled: bool = False,
    card: str | None = None,
    devices: tuple[str, ...] = (),
) -> Question:
    """The question about a draft that is valid; `runs` is the folder of a run without a directory of its own."""
    run_dir = draft.run_dir or (None if config.logging.run_dir else runs)
    document = draft.document
    return ask(
        config,
        document.text,
        document.overrides,
        environment,
        compiled=compiled,
        origin=draft.continues,
        run_dir=run_dir,
        card=card,
        devices=devices,
    )


def fit(total: float, limit: float | None) -> Fit:
    """How a need compares with the memory there is; both in bytes."""
    if not limit:
        return "unknown"
    share = total / limit
    return "fits" if share < TIGHT else "tight" if share < FULL else "does not fit"


class Preflight:
    """Answers the newest question; `deliver` gets a report whenever one changes, on the event loop.

    Args:
        helper: answers; asked for when it is first needed.
        debounce_seconds: how long a question must stay unchanged before it is asked.
    """

    def __init__(
        self,
        deliver: Callable[[Report], None],
        *,
        helper: Callable[[], Helper],
        debounce_seconds: float = DEBOUNCE_SECONDS,
    ) -> None:
        self._deliver = deliver
        self._helper = helper
        self._debounce_seconds = debounce_seconds
        self._task: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._question: Question | None = None
        self._answered: Question | None = None
        self.report = Report()

    def request(self, question: Question) -> None:
        """Ask, unless this very question is answered or being answered."""
        if self._question is not None and _same(self._question, question):
            return
        self.cancel()
        if self._answered is not None and _same(self._answered, question):
            self._say(state="done", is_outdated=False, message="", is_compiling=False)
            return
        self._begin(question, self._debounce_seconds)

    async def renew(self, question: Question) -> Report:
        """Ask at once, also what is answered, as files and disks change; a report that is not done if it takes long."""
        self.cancel()
        task = self._begin(question, 0.0)
        await asyncio.wait([task], timeout=LAUNCH_SECONDS)
        return self.report

    def _begin(self, question: Question, wait_seconds: float) -> asyncio.Task[None]:
        self._question = question
        self._helper().warm_up(dict(question.environment))
        self._say(state="computing", is_outdated=bool(self.report.figures), message="", is_compiling=question.compiled)
        self._task = asyncio.get_running_loop().create_task(self._answer(question, wait_seconds))
        self._ending.add(self._task)
        self._task.add_done_callback(self._ending.discard)
        return self._task

    def hold(self, why: str) -> None:
        """Ask nothing for now; what is known is out of date."""
        self.cancel()
        self._say(state="waiting", is_outdated=bool(self.report.figures), message=why, is_compiling=False)

    def cancel(self) -> None:
        """Give up the current question; the engine at work on it is killed."""
        if self._task is not None:
            self._task.cancel()
        self._task = self._question = None

    async def close(self) -> None:
        """Give up and wait until no engine works on a question."""
        self.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _say(self, **changes: Any) -> None:
        report = replace(self.report, **changes)
        if report != self.report:
            self.report = report
            self._deliver(report)

    async def _answer(self, question: Question, wait_seconds: float) -> None:
        if not question.compiled:
            await asyncio.sleep(wait_seconds)
        try:
            figures = await self._inspect(question)
        except EngineError as error:
            # The same question may be asked again: a GPU that was full may have room by then.
            self._task = self._question = None
            is_refusal = error.exit_code in _REFUSALS and not question.compiled
            self._say(state="failed", message=str(error), is_compiling=False, is_refusal=is_refusal)
        else:
            limit = await in_thread(lambda: memory_limit(figures, dict(question.environment)))
            self._answered = question
            self._say(state="done", figures=figures, is_outdated=False, message="", is_compiling=False, limit=limit)

    async def _inspect(self, question: Question) -> Mapping[str, Any]:
        with configuration_file(question.text) as path:
            arguments = ["inspect", str(path), "--json"]
            if question.compiled:
                arguments += ["--for", question.card] if question.card else ["--compile"]
            for override in question.overrides:
                arguments += ["-o", override]
            if question.devices and question.card is None:
                arguments += ["--devices", ",".join(question.devices)]
            if question.origin is not None:
                arguments += ["--continue", str(question.origin)]
            if question.run_dir is not None:
                arguments += ["--run-dir", str(question.run_dir)]
            limit = COMPILE_TIMEOUT_SECONDS if question.compiled else TIMEOUT_SECONDS
            answer = await self._helper().ask(
                arguments, dict(question.environment), limit_seconds=limit, is_answer=_has_figures
            )
            return _figures(answer)


def _same(one: Question, other: Question) -> bool:
    """Whether two questions have one answer; a compiled answer also answers the plain question."""
    compiled = (one.compiled and one.card == other.card) or not other.compiled
    return compiled and _apart_from_card(one) == _apart_from_card(other)


def _apart_from_card(one: Question) -> tuple[object, ...]:
    return one.key, one.environment, one.devices, one.origin, one.run_dir


def _has_figures(answer: Mapping[str, Any]) -> bool:
    """Whether these are figures: `chomp inspect` fails after them where the run cannot start."""
    return isinstance(answer.get("memory"), dict) and "parameters" in answer


def _figures(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    if not _has_figures(answer):
        raise EngineError(UNREADABLE)
    return answer


def memory_limit(figures: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[float, str] | None:
    """Bytes that a run may take on the device of the figures, and of what; None where unknown. May block."""
    device = figures.get("device", {})
    if device.get("memory_limit"):
        return float(device["memory_limit"]), "that JAX may take of the GPU"
    if device.get("platform") == "cpu":
        machine = read_machine()
        return float(machine.memory_bytes - (machine.memory_used_bytes or 0)), "free on this machine"
    sizes = [gpu.memory_total_bytes for gpu in visible_gpus(probe_gpus(), environ) if gpu.memory_total_bytes]
    return (float(sizes[0]), "of the GPU") if sizes else None
