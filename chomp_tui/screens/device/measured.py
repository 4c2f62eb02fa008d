"""The measured effect of the variables: the last result of this machine, and a new measurement."""

from __future__ import annotations

import time
from collections.abc import Mapping

from textual.content import Content
from textual.widgets import Static
from textual.worker import Worker

from chomp.config import LoadedConfig
from chomp.device.comparison import Comparison, comparison_file, load_comparison
from chomp.record.formatting import one_line, sanitize
from chomp_tui.engine.comparing import compare_flags
from chomp_tui.engine.process import EngineError
from chomp_tui.platform.background import in_thread
from chomp_tui.widgets.update_if_changed import set_text


class MeasuredFlags(Static):
    """Hidden until there is a result, a measurement or a failure."""

    def __init__(self) -> None:
        super().__init__(id="measured", markup=False)
        self.display = False
        self._found: Comparison | None = None
        self._problem = ""
        self._worker: Worker[None] | None = None

    def on_mount(self) -> None:
        self.run_worker(self._load())

    @property
    def is_measuring(self) -> bool:
        """Whether a child process measures."""
        return self._worker is not None

    def measure(self, loaded: LoadedConfig, environ: Mapping[str, str], variables: Mapping[str, str]) -> None:
        """Start a measurement, in place of one that runs."""
        self.cancel()
        self._problem = ""
        self._worker = self.run_worker(self._measure(loaded, environ, variables))
        self._show()

    def cancel(self) -> None:
        """End the measurement; the last result stays."""
        if self._worker is not None:
            self._worker.cancel()
            self._worker = None
        self._show()

    async def _load(self) -> None:
        found = await in_thread(lambda: load_comparison(comparison_file()))
        self._found = self._found or found
        self._show()

    async def _measure(self, loaded: LoadedConfig, environ: Mapping[str, str], variables: Mapping[str, str]) -> None:
        try:
            self._found = await compare_flags(loaded, environ, variables)
        except EngineError as error:
            self._problem = str(error)
        self._worker = None
        self._show()

    def _show(self) -> None:
        parts = [result(self._found)] if self._found is not None else []
        if self._worker is not None:
            parts.append(Content.styled("… measuring with and without the variables; m stops", "$muted"))
        elif self._problem:
            parts.append(Content.styled(f"✗ not measured: {sanitize(self._problem)}", "$error"))
        self.display = bool(parts)
        set_text(self, Content("\n").join(parts))


def result(found: Comparison) -> Content:
    """One comparison as text."""
    when = time.strftime("%Y-%m-%d", time.localtime(found.t))
    variables = " ".join(f"{name}={value}" for name, value in found.variables.items())
    gain = found.gain
    tone = "$success" if gain is not None and gain > 0 else "$warning"
    return Content.assemble(
        (f"Measured on {when}", "bold $primary"),
        f": {one_line(variables)}\n",
        Content.styled(one_line(found.words), tone),
    )
