"""The documents of a step by their loss: the key of the run view, its dialog, and leaving out the step's batch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Label, Static

from chomp.record.formatting import decimal, duration, one_line, plural, sanitize
from chomp_tui import keys
from chomp_tui.engine.helper import Helper
from chomp_tui.engine.process import UNREADABLE, EngineError
from chomp_tui.live.snapshot import RunSnapshot
from chomp_tui.widgets.dialogs import Dialog
from chomp_tui.widgets.update_if_changed import set_text

SHOWN_DOCUMENTS = 20
TICK_SECONDS = 0.5


@dataclass(frozen=True)
class ExplainedStep:
    """A step to explain; `is_discarded` for one that a rollback has replaced."""

    step: int
    is_discarded: bool = False


def step_to_explain(snapshot: RunSnapshot) -> ExplainedStep | None:
    """The step at the crosshair, else the newest bad one, else the newest; None before there is one."""
    view = snapshot.view
    if snapshot.pointed is not None:
        return ExplainedStep(int(view.rows["step"][snapshot.pointed]))
    bad = [(one.t, one.step) for one in view.nonfinite] + [(one.t, one.step) for one in view.spikes]
    # Spikes of runs by versions that had no event for them.
    bad += [(one.t, one.step) for one in view.warnings if one.topic == "spike" and one.step is not None]
    if bad:
        t, step = max(bad)
        later = [one for one in view.rollbacks if one.t >= t and one.step < step <= one.from_step]
        return ExplainedStep(step, is_discarded=bool(later))
    return ExplainedStep(view.step) if view.step else None


class ExplainDialog(Dialog[int]):
    """Shows the documents of a step; answers with the step whose batch is to be left out.

    Args:
        helper: runs the engine.
        run: the run's directory.
        environment: variables to set for the engine.
        may_skip: whether the run is live and may be steered.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("explain")]

    def __init__(
        self, helper: Helper, run: Path, asked: ExplainedStep, environment: Mapping[str, str], *, may_skip: bool
    ) -> None:
        super().__init__(classes="dialog wide explaining")
        self._helper, self._run, self._asked, self._environment = helper, run, asked, environment
        self._may_skip = may_skip and not asked.is_discarded
        self._said, self._began = "starting the engine…", time.monotonic()

    def compose(self) -> ComposeResult:
        discarded = ", which a rollback discarded" if self._asked.is_discarded else ""
        skip = "s goes back and leaves out this batch  " if self._may_skip else ""
        with Vertical(classes="box"):
            yield Label(Content(f"Documents of step {self._asked.step:,}{discarded}"), classes="title")
            yield Static(id="explain-summary", markup=False)
            with VerticalScroll(id="explain-rows"):
                yield Static(id="explain-text", markup=False)
            yield Static(id="explain-state", markup=False)
            yield Label(Content(f"{skip}Esc closes"), classes="hint")

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one("#explain-rows").focus()
        self.set_interval(TICK_SECONDS, self._tick)
        self._worker = self.run_worker(self._ask(), exit_on_error=False)
        self._tick()

    async def _ask(self) -> None:
        arguments = ["explain", "--json", "--top", str(SHOWN_DOCUMENTS)]
        arguments += ["--discarded"] if self._asked.is_discarded else []
        try:
            answer = await self._helper.ask(
                [*arguments, "--", str(self._run), str(self._asked.step)], self._environment, on_errors=self._hear
            )
        except EngineError as error:
            self._end(str(error), "$error")
            return
        if isinstance(answer.get("top"), list):
            set_text(self.query_one("#explain-summary", Static), summary_text(answer))
            set_text(self.query_one("#explain-text", Static), documents_text(answer["top"]))
            self._end("\n".join(answer.get("why_not_exact", [])), "$warning")
        else:
            self._end(UNREADABLE, "$error")

    def _hear(self, errors: str) -> None:
        lines = [line for line in errors.splitlines() if line.strip()]
        if self._said and lines:
            self._said = lines[-1]

    def _tick(self) -> None:
        """Say what the engine does, and for how long."""
        if self.is_attached and self._said:
            self._write(f"{self._said} {duration(time.monotonic() - self._began)}", "$muted")

    def _end(self, text: str, tone: str) -> None:
        self._said = ""
        self._write(text, tone)

    def _write(self, text: str, tone: str) -> None:
        state = self.query_one("#explain-state", Static)
        state.set_class(tone == "$error", "-failed")
        set_text(state, Content.styled(sanitize(text), tone))

    def action_skip(self) -> None:
        """Answer with the step, to leave out its batch."""
        if self._may_skip:
            self._worker.cancel()
            self.answer(self._asked.step)

    def action_cancel(self) -> None:
        """Close; the engine at work is killed."""
        self._worker.cancel()
        self.answer(None)


def summary_text(answer: Mapping[str, Any]) -> Content:
    """Loss and parameters of the step."""
    loss = answer["loss"]
    said = "no token counts" if loss is None else f"loss {decimal(loss)}"
    where = f"the checkpoint of step {answer['checkpoint']:,}" if answer["checkpoint"] else "the start"
    is_own = answer["parameters_of"] == answer["step"] - 1
    parameters = "the parameters with which the step began" if is_own else f"the parameters of {where}"
    counts = f"{plural(answer['tokens'], 'token')} in {plural(answer['documents'], 'document')}"
    return Content.assemble((said, "bold"), f" over {counts}", (f" · by {parameters}", "$muted"))


def documents_text(documents: list[Mapping[str, Any]]) -> Content:
    """The documents, those that raise the loss most first."""
    parts: list[Content] = []
    for one in documents:
        start = f", from token {one['start']:,} on" if one["start"] else ""
        tone = "$error" if one["raises"] > 0 else "$muted"
        parts.append(
            Content.assemble(
                (f"{decimal(one['loss'])}", "bold"),
                (f"  {one['raises']:+.4f}", tone),
                (f"  {plural(one['counted'], 'token')}", "$muted"),
                f"  {one_line(one['place'])}{start}",
            )
        )
        parts += [_text("begins", one["beginning"]), _text(f"worst {decimal(one['worst_loss'])}", one["worst"])]
    return Content("\n").join(parts)


def _text(name: str, text: str) -> Content:
    shown = sanitize(text).replace("\n", "↵").replace("\t", "→")
    return Content.assemble((f"  {name}: ", "$muted"), shown)
