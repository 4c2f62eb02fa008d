"""The GPUs with boxes: on which of them runs started here compute."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from chomp.device import Gpu
from chomp.record.formatting import one_line, size
from chomp_tui.widgets.listing import fit_text


class DeviceList(OptionList):
    """One entry for each GPU that runs may use; hidden where there is no choice."""

    def __init__(self) -> None:
        super().__init__(id="devices", markup=False)
        self._shown: tuple[tuple[str, Gpu], ...] = ()
        self._chosen: tuple[str, ...] = ()

    def show(self, choices: Sequence[tuple[str, Gpu]], chosen: Sequence[str]) -> None:
        """Replace the entries; the cursor stays.

        Args:
            choices: the GPUs by their names for `--devices`.
            chosen: names; empty for all.
        """
        before, self._shown, self._chosen = [name for name, _ in self._shown], tuple(choices), tuple(chosen)
        self.display = len(choices) > 1
        if before != [name for name, _ in choices]:
            self.clear_options()
            self.add_options([Option("", id=name) for name, _ in choices])
            self.highlighted = 0 if choices else None
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def on_option_list_option_highlighted(self) -> None:
        self._draw()

    def _draw(self) -> None:
        width = self.scrollable_content_region.width or 60
        for index, (name, gpu) in enumerate(self._shown):
            is_on = not self._chosen or name in self._chosen
            prompt = entry(gpu, is_on=is_on, width=width, current=index == self.highlighted)
            if self.get_option_at_index(index).prompt != prompt:
                self.replace_option_prompt_at_index(index, prompt)

    @property
    def current(self) -> str | None:
        """The name of the GPU under the cursor."""
        index = self.highlighted
        return self._shown[index][0] if index is not None and index < len(self._shown) else None

    @property
    def names(self) -> tuple[str, ...]:
        """All GPUs."""
        return tuple(name for name, _ in self._shown)


def entry(gpu: Gpu, *, is_on: bool, width: int, current: bool) -> Content:
    """Box, number, name, and how much of the memory is in use."""
    used, total = gpu.memory_used_bytes, gpu.memory_total_bytes
    memory = f"  {size(used)} of {size(total)} in use" if used is not None and total else ""
    name = fit_text(f" GPU {gpu.index}  {one_line(gpu.name or '')}", max(8, width - len("▸[x]") - len(memory)))
    pointer, tone = "▸" if current else " ", "$success" if is_on else "$muted"
    return Content.assemble((pointer, "bold $primary"), ("[x]" if is_on else "[ ]", tone), name, (memory, "$muted"))


def toggled(names: Sequence[str], chosen: Sequence[str], name: str) -> tuple[str, ...]:
    """The choice with one GPU the other way; empty for all of them, and unchanged where none would be left."""
    now = set(chosen or names) ^ {name}
    if not now:
        return tuple(chosen)
    return tuple(one for one in names if one in now) if now != set(names) else ()
