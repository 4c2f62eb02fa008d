"""One GPU as NVML reports it; a missing reading is a dash with its reason, never a zero."""

from __future__ import annotations

import math
from collections.abc import Sequence

from textual.content import Content
from textual.geometry import Region
from textual.widgets import Static

from chomp.device import Gpu, Process
from chomp.record.formatting import sanitize, size
from chomp_tui.chart.sparkline import sparkline
from chomp_tui.engine.machine import Machine
from chomp_tui.live.gpu_watch import KEPT_MINUTES, Trail
from chomp_tui.widgets.update_if_changed import same, set_title

ABSENT = "–"
LABEL_CELLS = 10
# A shorter bar is not readable, a longer one shows no more.
BAR_CELLS = range(8, 41)
MOST_PROCESSES = 5


class _Card(Static):
    """A bordered box; only lines that changed are painted again."""

    def __init__(self) -> None:
        super().__init__(classes="panel gpu")
        self._drawn = Content("")

    def lines(self, width: int) -> Content:
        """The content, drawn for a width in cells."""
        raise NotImplementedError

    def _draw(self) -> None:
        before, self._drawn = self._drawn.split(), self.lines(self.content_size.width or 60)
        after = self._drawn.split()
        if len(before) != len(after):
            self.refresh(layout=True)
        else:
            changed = [row for row, line in enumerate(after) if not same(line, before[row])]
            for row in changed:
                self.refresh(Region(0, row, self.content_size.width, 1))

    def on_resize(self) -> None:
        self._draw()

    def render(self) -> Content:
        return self.lines(self.content_size.width or 60)


class GpuCard(_Card):
    """One GPU.

    Args:
        gpu: the first reading.
        trail: the readings of the last minutes.
        height: lines for each of their curves; 0 for none.
    """

    def __init__(self, gpu: Gpu, trail: Trail | None = None, height: int = 0) -> None:
        super().__init__()
        self.show(gpu, trail, height)

    def show(self, gpu: Gpu, trail: Trail | None = None, height: int = 0) -> None:
        """Replace the reading."""
        self._gpu, self._trail, self._curve_height = gpu, trail, height
        set_title(self, title(gpu))
        self._draw()

    def lines(self, width: int) -> Content:
        return card(self._gpu, width) + past(self._trail, "load", width, self._curve_height)


class MachineCard(_Card):
    """Processors and memory of this machine."""

    def __init__(self) -> None:
        super().__init__()
        self._machine: Machine | None = None
        self._trail: Trail | None = None
        self._curve_height = 0
        set_title(self, "This machine")

    def show(self, machine: Machine, trail: Trail | None = None, height: int = 0) -> None:
        """Replace the reading."""
        self._machine, self._trail, self._curve_height = machine, trail, height
        self._draw()

    def lines(self, width: int) -> Content:
        if self._machine is None:
            return Content("")
        return machine_lines(self._machine, width) + past(self._trail, "CPU", width, self._curve_height)


def past(trail: Trail | None, load: str, width: int, height: int) -> Content:
    """Curves of the last minutes below the bars, each from 0 to 100 %; none without room or readings.

    Args:
        load: name of the load.
        height: lines of a curve.
    """
    cells = width - LABEL_CELLS - len(" 100%")
    if trail is None or height < 1 or cells < len(_axis(0)):
        return Content("")
    curves = [(load, trail.load, "$primary"), ("memory", trail.memory, "$chart-second")]
    known = [curve for curve in curves if not all(math.isnan(value) for value in curve[1])]
    rows = [row for name, values, tone in known for row in (Content(""), *_curve(name, values, tone, cells, height))]
    axis = _label("") + Content.styled(_axis(cells), "$muted")
    # The first line ends the line above.
    return Content("\n").join([Content(""), *rows, axis]) if rows else Content("")


def _curve(name: str, values: Sequence[float], tone: str, cells: int, height: int) -> list[Content]:
    drawn = sparkline(values, cells, "block", height=height, ends=(0.0, 1.0)).split("\n")
    ends = {height - 1: "   0%", 0: " 100%"}
    return [
        _label(name if row == 0 else "") + Content.styled(line, tone) + Content.styled(ends.get(row, ""), "$muted")
        for row, line in enumerate(drawn)
    ]


def _axis(cells: int) -> str:
    left, right = f"{KEPT_MINUTES} minutes ago", "now"
    return left + " " * max(1, cells - len(left) - len(right)) + right


def machine_lines(machine: Machine, width: int) -> Content:
    """Processors and memory, drawn for a width in cells."""
    cells = _bar_cells(width)
    busy, used = machine.busy_percent, machine.memory_used_bytes
    cores = f"{machine.cores} cores"
    if busy is None:
        cpu = _label("CPU") + cores
    else:
        cpu = _label("CPU") + _bar(busy / 100, cells, alarming=False) + f"  {busy:.0f}% of {cores}"
    if used is None:
        memory = _label("memory") + size(machine.memory_bytes)
    else:
        share = used / machine.memory_bytes
        memory = _label("memory") + _bar(share, cells) + f"  {size(used)} of {size(machine.memory_bytes)}"
    return cpu + "\n" + memory


def title(gpu: Gpu) -> str:
    """`GPU 0 · NVIDIA H200`."""
    return f"GPU {gpu.index} · {gpu.name}" if gpu.name else f"GPU {gpu.index}"


def card(gpu: Gpu, width: int) -> Content:
    """All readings, drawn for a width in cells."""
    if gpu.name is None:
        return Content.styled(f"No reading: {_why(gpu, 'name')}.", "$warning")
    bar = _bar_cells(width)
    lines = [_memory(gpu, bar), _load(gpu, bar), _power(gpu, bar), _facts(gpu), *_processes(gpu, width)]
    return Content("\n").join(lines)


def _memory(gpu: Gpu, cells: int) -> Content:
    used, total = gpu.memory_used_bytes, gpu.memory_total_bytes
    if used is None or not total:
        return _missing("memory", gpu, "memory")
    return _label("memory") + _bar(used / total, cells) + f"  {size(used)} of {size(total)}  {used / total:.0%}"


def _load(gpu: Gpu, cells: int) -> Content:
    load = gpu.utilisation_percent
    if load is None:
        return _missing("load", gpu, "utilisation_percent")
    return _label("load") + _bar(load / 100, cells, alarming=False) + f"  {load}%"


def _power(gpu: Gpu, cells: int) -> Content:
    watts, limit = gpu.power_watts, gpu.power_limit_watts
    if watts is None:
        return _missing("power", gpu, "power_watts")
    if not limit:
        return _label("power") + f"{watts:.0f} W, limit " + _dash(_why(gpu, "power_limit_watts"))
    return _label("power") + _bar(watts / limit, cells, alarming=False) + f"  {watts:.0f} of {limit:.0f} W"


def _facts(gpu: Gpu) -> Content:
    capability = ".".join(map(str, gpu.compute_capability)) if gpu.compute_capability else None
    heat = f"{gpu.temperature_celsius} °C" if gpu.temperature_celsius is not None else None
    mig = {True: "on", False: "off", None: None}[gpu.mig]
    facts = (
        ("", heat, "temperature_celsius", "temperature "),
        ("compute capability ", capability, "compute_capability", "compute capability "),
        ("MIG ", mig, "mig", "MIG "),
    )
    parts = [
        Content(f"{prefix}{value}") if value is not None else Content(name) + _dash(_why(gpu, field, short=True))
        for prefix, value, field, name in facts
    ]
    return _label("state") + Content(" · ").join(parts)


def _processes(gpu: Gpu, width: int) -> list[Content]:
    if gpu.processes is None:
        return [_missing("processes", gpu, "processes")]
    if not gpu.processes:
        return [_label("processes") + Content.styled("none", "$muted")]
    known = sorted(gpu.processes, key=lambda process: -(process.memory_bytes or 0))
    lines = [
        _label("processes" if number == 0 else "") + _process(process, width - LABEL_CELLS)
        for number, process in enumerate(known[:MOST_PROCESSES])
    ]
    if len(known) > MOST_PROCESSES:
        lines.append(_label("") + Content.styled(f"and {len(known) - MOST_PROCESSES} more", "$muted"))
    return lines


def _process(process: Process, width: int) -> Content:
    memory = size(process.memory_bytes) if process.memory_bytes is not None else ABSENT
    before = f"{process.pid:>7}  {memory:>10}  "
    name = sanitize(process.name or ABSENT)
    room = max(4, width - len(before))
    # The end of a path identifies the program.
    return Content(before + (name if len(name) <= room else "…" + name[1 - room :]))


def _bar_cells(width: int) -> int:
    return max(BAR_CELLS.start, min(BAR_CELLS.stop - 1, width - LABEL_CELLS - 30))


def _bar(share: float, cells: int, *, alarming: bool = True) -> Content:
    full = round(max(0.0, min(1.0, share)) * cells)
    tone = "$warning" if alarming and share >= 0.95 else "$primary"
    return Content.assemble(("━" * full, tone), ("─" * (cells - full), "$border"))


def _label(name: str) -> Content:
    return Content.styled(name.ljust(LABEL_CELLS), "$muted")


def _missing(label: str, gpu: Gpu, field: str) -> Content:
    return _label(label) + _dash(_why(gpu, field))


def _dash(reason: str) -> Content:
    return Content.styled(f"{ABSENT} {reason}", "$muted")


def _why(gpu: Gpu, field: str, *, short: bool = False) -> str:
    reason = sanitize(gpu.unavailable.get(field, "not reported"))
    return reason.removesuffix(" by this device") if short else reason
