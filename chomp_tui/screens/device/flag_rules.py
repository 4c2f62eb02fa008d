"""The list of recommended variables with their switches."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from chomp.device import Decision
from chomp.record.formatting import sanitize
from chomp_tui.engine import flags

INDENT = Content(" " * 5)
_MARKS = {"already set": "[=]", "kept": "[–]"}


class RuleList(OptionList):
    """One entry for each decision; the screen switches the highlighted one."""

    def __init__(self) -> None:
        super().__init__(id="rules", markup=False)
        self._rules: tuple[tuple[Decision, bool], ...] = ()

    def show(self, decisions: Sequence[Decision], on: frozenset[str]) -> None:
        """Replace the entries; the cursor stays."""
        before = [decision.rule for decision, _ in self._rules]
        self._rules = tuple((decision, decision.rule in on) for decision in decisions)
        if before != [decision.rule for decision, _ in self._rules]:
            self.clear_options()
            self.add_options([Option("", id=decision.rule) for decision, _ in self._rules])
            self.highlighted = 0 if self._rules else None
        self._draw()

    @property
    def current(self) -> Decision | None:
        """The decision under the cursor."""
        index = self.highlighted
        return self._rules[index][0] if index is not None and index < len(self._rules) else None

    def on_resize(self) -> None:
        self._draw()

    def on_option_list_option_highlighted(self) -> None:
        self._draw()

    def _draw(self) -> None:
        width = self.scrollable_content_region.width or 60
        short = self.screen.has_class("-short")
        for index, (decision, is_on) in enumerate(self._rules):
            current = index == self.highlighted
            prompt = entry(decision, is_on=is_on, width=width, current=current, whole=current or not short)
            if self.get_option_at_index(index).prompt != prompt:
                self.replace_option_prompt_at_index(index, prompt)
                self.refresh(layout=True)


def entry(decision: Decision, *, is_on: bool, width: int = 76, current: bool = False, whole: bool = True) -> Content:
    """Switch, variable, value and state; as a `whole` also the reason and its source."""
    mark, tone = _mark(decision, is_on=is_on)
    pointer = Content.assemble(("▸" if current else " ", "bold $primary"), (f"{mark} ", tone))
    lines = [
        pointer + hung(f"{decision.variable} {sanitize(decision.value)}", width, "bold"),
        INDENT + hung(state(decision, is_on=is_on), width, tone),
    ]
    if whole:
        lines += [INDENT + hung(sanitize(decision.why), width), INDENT + hung(decision.source, width, "$muted")]
    return Content("\n").join(lines)


def hung(text: str, width: int, style: str = "", indent: Content = INDENT) -> Content:
    """`text` wrapped to a width, every line indented like the first, which the caller indents."""
    lines = textwrap.wrap(text, max(20, width - len(indent)), break_on_hyphens=False)
    return Content.styled(f"\n{indent.plain}".join(lines), style)


def state(decision: Decision, *, is_on: bool) -> str:
    """The state of a decision, in words that begin with its action."""
    match decision.action:
        case "apply" if is_on:
            return "apply: every run gets it"
        case "apply":
            return f"off: runs get {flags.opposite(decision.value)} instead"
        case "recommend" if is_on:
            return "on: runs started here get it"
        case "recommend":
            return "recommend: yours to switch on"
        case "already set":
            return "already set in your environment"
        case _:
            return f"kept as you set it: {decision.variable}={sanitize(decision.current or '')}"


def _mark(decision: Decision, *, is_on: bool) -> tuple[str, str]:
    if decision.action in _MARKS:
        return _MARKS[decision.action], "$muted" if decision.action == "already set" else "$warning"
    return ("[x]", "$success") if is_on else ("[ ]", "$warning" if decision.action == "apply" else "$muted")
