"""Samples: one prompt across steps, and two steps side by side."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from chomp.record.events import Sampled
from chomp.record.formatting import elapsed, one_line, sanitize
from chomp_tui.live.snapshot import RunSnapshot
from chomp_tui.live.upcoming import none_yet
from chomp_tui.widgets.listing import Column, Listing, Row, cell, fit_text
from chomp_tui.widgets.update_if_changed import same

LONGEST_TEXT = 20_000
SIDE_BY_SIDE = 90
COLUMNS = (Column("step", "step", 10, right=True),)


class SampleText(VerticalScroll, can_focus=True):
    """One sample, literally: the prompt dim, the generated text bright."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._shown: Content | None = None

    def compose(self) -> ComposeResult:
        yield Static(markup=False)

    def show(self, sample: Sampled | None, title: str = "", nothing: str = "") -> None:
        """Show a sample under a title; without one the text `nothing`."""
        content = Content.styled(nothing, "$muted") if sample is None else sample_text(sample, title)
        if not same(content, self._shown):
            self._shown = content
            self.query_one(Static).update(content)
            self.scroll_home(animate=False)


def sample_text(sample: Sampled, title: str) -> Content:
    """Title, prompt and text of a sample."""
    return written(f"{title}{sample.tokens:,} tokens in {elapsed(sample.seconds)}", sample.prompt, sample.text)


def written(head: str, prompt: str, text: str) -> Content:
    """A line, then a prompt and the generated text, literally; long ones are cut."""
    return Content.assemble((head, "$primary"), "\n", (_cut(prompt), "$muted"), (_cut(text), ""))


def _cut(text: str) -> str:
    shown = sanitize(text[:LONGEST_TEXT])
    return shown if len(text) <= LONGEST_TEXT else f"{shown}\n… and {len(text) - LONGEST_TEXT:,} more characters"


class SamplesPanel(Horizontal):
    """Steps on the left, newest first; the text of the selected one, beside that of the marked one if there is one."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, classes="panel")
        self.border_title = "Samples"
        self._samples: tuple[Sampled, ...] | None = None
        self.prompt: str | None = None
        self.marked: str | None = None
        self._nothing = ""

    def compose(self) -> ComposeResult:
        yield Listing(COLUMNS, id="sample-steps")
        yield SampleText(id="sample-marked")
        yield SampleText(id="sample-text")

    def on_mount(self) -> None:
        self.query_one("#sample-marked").display = False

    def on_resize(self) -> None:
        self.set_class(self.size.width < SIDE_BY_SIDE, "-stacked")
        # A title is cut for the width.
        if self._samples is not None:
            self._say_titles(len(self.of_prompt()))

    # What is shown ---------------------------------------------------------------------

    def draw(self, snapshot: RunSnapshot) -> None:
        """Show a snapshot; if the newest sample was selected, select the new one, with its prompt."""
        samples, nothing = snapshot.view.samples, ""
        if not samples:
            nothing = none_yet(snapshot, "sample", "g generates one now.")
        if samples is self._samples and nothing == self._nothing:
            return
        self._nothing = nothing
        steps = self.query_one(Listing)
        at_newest = not steps.keys or steps.selected == steps.keys[0]
        known, self._samples = set(self.prompts), samples
        prompts = self.prompts
        fresh = [prompt for prompt in prompts if prompt not in known]
        if self.prompt not in prompts:
            self.prompt = prompts[0] if prompts else None
        elif fresh and at_newest:
            self.prompt = fresh[-1]
        self._list(to_newest=at_newest)

    @property
    def prompts(self) -> list[str]:
        """All prompts, in the order of their first sample."""
        return list(dict.fromkeys(sample.prompt for sample in self._samples or ()))

    def of_prompt(self) -> dict[str, Sampled]:
        """The samples of the chosen prompt by row key, newest first."""
        found = [sample for sample in self._samples or () if sample.prompt == self.prompt]
        return {f"{sample.step}@{sample.t}": sample for sample in reversed(found)}

    def _list(self, *, to_newest: bool) -> None:
        found = self.of_prompt()
        if self.marked not in found:
            self.marked = None
        rows = [_row(key, one, is_marked=key == self.marked) for key, one in found.items()]
        steps = self.query_one(Listing)
        steps.show(rows)
        if to_newest and rows:
            steps.select(rows[0].key)
        self._show()

    def _show(self) -> None:
        found = self.of_prompt()
        chosen = found.get(self.query_one(Listing).selected or "")
        marked = found.get(self.marked or "")
        beside = marked is not None and marked is not chosen
        left, right = self.query_one("#sample-marked", SampleText), self.query_one("#sample-text", SampleText)
        left.display = beside
        self.set_class(beside, "-beside")
        left.show(marked if beside else None, f"◆ step {marked.step:,} · " if marked else "")
        right.show(chosen, f"step {chosen.step:,} · " if chosen else "", self._nothing)
        self.query_one(Listing).display = bool(found)
        self.set_class(not found, "-none")
        self._say_titles(len(found))

    def _say_titles(self, number: int) -> None:
        if not number:
            self.border_title = "Samples"
            self.border_subtitle = "none yet"
            return
        prompts = self.prompts
        place = prompts.index(self.prompt) + 1 if self.prompt in prompts else 0
        which = f" {place}/{len(prompts)}" if len(prompts) > 1 else ""
        prompt = one_line((self.prompt or "")[:200]).strip() or "(empty)"
        prompt = fit_text(prompt, max(10, self.size.width - 40))
        self.border_title = Content(f"Samples · prompt{which}: {prompt}")
        keys = "v compares, space marks" if self.marked is None else "v ends the comparison"
        self.border_subtitle = f"{'o other prompt · ' if len(prompts) > 1 else ''}{keys}"

    # Choosing --------------------------------------------------------------------------

    def on_listing_selected(self, event: Listing.Selected) -> None:
        event.stop()
        self._show()

    def mark(self) -> None:
        """Mark the selected sample, or unmark the marked one."""
        selected = self.query_one(Listing).selected
        self.marked = None if self.marked is not None and self.marked == selected else selected
        self._list(to_newest=False)

    def compare(self) -> None:
        """Show the selected sample beside the one before it, or beside the next where it is the first; or alone."""
        keys = list(self.of_prompt())
        selected = self.query_one(Listing).selected
        if self.marked is not None or selected not in keys or len(keys) < 2:
            self.marked = None
        else:
            place = keys.index(selected)
            self.marked = keys[place + 1] if place + 1 < len(keys) else keys[place - 1]
        self._list(to_newest=False)

    def other_prompt(self) -> None:
        """Show the samples of the next prompt, at the same step where there is one."""
        prompts = self.prompts
        if len(prompts) < 2:
            return
        before = self.of_prompt().get(self.query_one(Listing).selected or "")
        place = prompts.index(self.prompt) if self.prompt in prompts else -1
        self.prompt = prompts[(place + 1) % len(prompts)]
        self.marked = None
        self._list(to_newest=True)
        if before is not None:
            for key, sample in self.of_prompt().items():
                if sample.step == before.step:
                    self.query_one(Listing).select(key)
                    break


def _row(key: str, sample: Sampled, *, is_marked: bool) -> Row:
    text, tone = (f"◆ {sample.step:,}", "accent") if is_marked else (f"{sample.step:,}", "")
    return Row(key, {"step": cell(text, tone)})
