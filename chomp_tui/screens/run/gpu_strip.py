"""The GPUs of a live run in a row or two: utilisation, memory, power, temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from chomp.device import Gpu, Probe, visible_gpus
from chomp.device.probe import load_nvml
from chomp.record.formatting import one_line
from chomp_tui.live.gpu_watch import GpuWatch
from chomp_tui.live.snapshot import MISSING, RunSnapshot
from chomp_tui.screens.run.panel import bar
from chomp_tui.widgets.update_if_changed import set_text

GPU_PLATFORMS = ("gpu", "cuda", "rocm")
# More than two devices take two rows where they fit, and never more than three.
USUAL_ROWS, MOST_ROWS = 2, 3
# Cells of the three forms of a reading, the longest first.
CELLS = (55, 34, 19)
BAR_CELLS = 8
GAP = 2
# Shares of memory and degrees Celsius above which a reading is coloured.
TIGHT, FULL, HOT = 0.9, 0.97, 85


class GpuStrip(Static):
    """Reads the GPUs of this machine while a run on them is in view; hidden for other runs."""

    class Probed(Message):
        """The GPUs have been read."""

        def __init__(self, probe: Probe) -> None:
            super().__init__()
            self.probe = probe

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, markup=False)
        self._watch: GpuWatch | None = None
        self._probe: Probe | None = None
        self._snapshot: RunSnapshot | None = None

    def draw(self, snapshot: RunSnapshot) -> None:
        """Show the GPUs of a run that trains on this machine's."""
        count = devices_of(snapshot)
        self._snapshot = snapshot if count else None
        self.display = bool(count)
        if not count:
            self.rest()
            return
        if self._watch is None:
            self._watch = GpuWatch(load_nvml, self._deliver)
            self._watch.start()
        self._show(snapshot, count)

    def rest(self) -> None:
        """Read no more."""
        if self._watch is not None:
            self._watch.stop()
            self._watch = None

    def _deliver(self, probe: Probe) -> None:
        """In the watching thread."""
        self.post_message(self.Probed(probe))

    def on_unmount(self) -> None:
        self.rest()

    def on_gpu_strip_probed(self, message: Probed) -> None:
        message.stop()
        self._probe = message.probe
        if self._snapshot is not None:
            self._show(self._snapshot, devices_of(self._snapshot))

    def _show(self, snapshot: RunSnapshot, count: int) -> None:
        width = max(1, (self.size.width or self.app.size.width) - 2)
        rows, _ = form_for(count, width)
        if self.styles.height is None or self.styles.height.value != rows:
            self.styles.height = rows
        set_text(self, _text(self._probe, snapshot, count, width))


def devices_of(snapshot: RunSnapshot) -> int:
    """How many GPUs of this machine a live run trains on; 0 where it does not."""
    started = snapshot.view.started
    if started is None or snapshot.update.liveness.pid is None or started.device.get("platform") not in GPU_PLATFORMS:
        return 0
    here = [len(each["devices"]) for each in _processes(started.device) if each.get("host") == started.host]
    count = sum(here) or started.device.get("count")
    return count if isinstance(count, int) and count > 0 else 1


def _processes(device: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Those of several devices; none of a run on one device, or of an older version."""
    found = device.get("processes")
    known = [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []
    return [each for each in known if isinstance(each.get("devices"), list)]


def gpus_of(probe: Probe, snapshot: RunSnapshot, count: int) -> tuple[Gpu, ...]:
    """Those that the engine computes on, as far as the driver lists its processes; else those that it may use."""
    pid = snapshot.update.liveness.pid
    own = tuple(gpu for gpu in probe.gpus if any(process.pid == pid for process in gpu.processes or ()))
    started = snapshot.view.started
    return own or visible_gpus(probe, started.environment if started else {})[:count]


def form_for(count: int, width: int) -> tuple[int, int]:
    """Rows for so many devices, and the form of each: 0 is the longest."""
    rows = 1
    for detail, cells in enumerate(CELLS):
        rows = -(-count // _in_a_row(cells, width))
        if cells <= width and (rows == 1 or (rows == USUAL_ROWS and count > USUAL_ROWS)):
            return rows, detail
    return min(rows, MOST_ROWS), len(CELLS) - 1


def _in_a_row(cells: int, width: int) -> int:
    return max(1, (width + GAP) // (cells + GAP))


def _text(probe: Probe | None, snapshot: RunSnapshot, count: int, width: int) -> Content:
    if probe is None:
        return Content.styled("reading the GPUs…", "$muted")
    if not probe.gpus:
        return Content.styled(f"GPUs not reported: {one_line(probe.reason or 'no reason')}", "$muted")
    return strip_text(gpus_of(probe, snapshot, count), width)


def strip_text(gpus: Sequence[Gpu], width: int) -> Content:
    """The readings of GPUs in columns; those without room are counted."""
    if not gpus:
        return Content.styled("GPUs not reported: the driver lists none for this run", "$muted")
    rows, form = form_for(len(gpus), width)
    cells = [_gpu_text(gpu, form) for gpu in gpus]
    wide = max(cell.cell_length for cell in cells)
    shown = cells[: _in_a_row(wide, width) * rows]
    a_row = -(-len(shown) // rows)
    if len(shown) < len(cells):
        shown[-1] = Content.styled(f"and {len(cells) - len(shown) + 1} more", "$muted")
    padded = [cell + " " * (wide - cell.cell_length) for cell in shown]
    lines = [Content(" " * GAP).join(padded[start : start + a_row]) for start in range(0, len(padded), a_row)]
    return Content("\n").join(lines)


def _gpu_text(gpu: Gpu, form: int) -> Content:
    """One GPU: its number, then what the driver reports of it."""
    is_long, is_short = form == 0, form == len(CELLS) - 1
    used, total = gpu.memory_used_bytes, gpu.memory_total_bytes
    share = used / total if used is not None and total else 0.0
    memory_colour = "$error" if share > FULL else "$warning" if share > TIGHT else ""
    hot = "$warning" if (gpu.temperature_celsius or 0) >= HOT else ""
    unit, gap = ("G", " ") if is_short else (" GiB", "  ")
    of_total = f"/{total / 2**30:.0f}" if total and not is_short else ""
    memory = f"{used / 2**30:.{0 if is_short else 1}f}{of_total}{unit}" if used is not None else MISSING
    limit = f"/{gpu.power_limit_watts:.0f}" if is_long and gpu.power_limit_watts is not None else ""
    watt = "W" if is_short else " W"
    power = f"{gpu.power_watts:.0f}{limit}{watt}" if gpu.power_watts is not None else MISSING
    degree = "°" if is_short else "°C"
    heat = f"{gpu.temperature_celsius}{degree}" if gpu.temperature_celsius is not None else MISSING
    load = f"{gpu.utilisation_percent}%" if gpu.utilisation_percent is not None else MISSING
    filled, rest = bar((gpu.utilisation_percent or 0) / 100, BAR_CELLS) if is_long else ("", "")
    return Content.assemble(
        (f"{gpu.index}" if is_short else f"GPU {gpu.index}", "$muted"), " ",
        (filled, "$chart-smooth"), (rest, "$border"), " " * is_long,
        (f"{load:>4}", "bold"), gap, (memory, memory_colour), gap, power, gap, (heat, hot),
    )  # fmt: skip
