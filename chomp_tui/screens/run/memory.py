"""Memory of the device and of the host, as bars."""

from __future__ import annotations

from textwrap import wrap

from textual.content import Content

from chomp.record.formatting import size
from chomp_tui.live.snapshot import MISSING, RunSnapshot
from chomp_tui.screens.run.panel import TextPanel, bar

# Above these shares of the limit a peak is coloured as a warning, and as an error.
TIGHT, FULL = 0.85, 0.95


class MemoryPanel(TextPanel):
    """In use, peak and limit of the fullest device; the engine's resident memory; the disk."""

    def text(self, snapshot: RunSnapshot, width: int) -> Content:
        limit = snapshot.newest("device_memory_limit_gb")
        in_use, peak = snapshot.newest("device_memory_gb"), snapshot.newest("peak_memory_gb")
        device = [
            _line("in use", in_use, limit, width),
            _line("peak", peak, limit, width),
            Content.assemble(("limit   ", "$muted"), (_memory(limit), "bold")),
        ]
        if in_use is None and peak is None and snapshot.view.rows:
            # In place of dashes, so that the lines below stay visible.
            device[1:] = [Content.styled(_why_none(snapshot), "$muted")]
        lines = [
            *device,
            *_each(snapshot, width),
            Content.assemble(("host    ", "$muted"), (_memory(snapshot.newest("host_memory_gb")), "bold")),
            Content.assemble(
                ("step    ", "$muted"),
                (_program(snapshot), "bold"),
                ("  by the compiler" if width > 34 else "", "$muted"),
            ),
            Content.assemble(("disk    ", "$muted"), (_disk(snapshot), "bold")),
        ]
        return Content("\n").join(lines)


def _line(label: str, value: float | None, limit: float | None, width: int) -> Content:
    text = Content.assemble((f"{label:<8}", "$muted"), (f"{_memory(value):>10}", "bold"))
    cells = min(40, width - 27)
    if value is None or not limit or cells < 4:
        return text
    share = value / limit
    colour = "$error" if share > FULL else "$warning" if share > TIGHT else "$chart-smooth"
    filled, rest = bar(share, cells)
    return text + Content.assemble("  ", (filled, colour), (rest, "$border"), (f" {share:>4.0%}", "$muted"))


def _each(snapshot: RunSnapshot, width: int) -> list[Content]:
    """What is in use on each of several devices of the host that writes the rows."""
    used: list[str] = []
    while (gib := snapshot.newest(f"device_{len(used)}_memory_gb")) is not None:
        used.append(f"{gib:.1f}")
    lines = wrap(" ".join(used), max(12, width - 12))
    return [
        Content.assemble((f"{'each' if not number else '':<8}", "$muted"), line, (" GiB" * (not number), "$muted"))
        for number, line in enumerate(lines)
    ]


def _memory(gib: float | None) -> str:
    return MISSING if gib is None else size(gib * 2**30)


def _why_none(snapshot: RunSnapshot) -> str:
    started = snapshot.view.started
    is_cpu = started is not None and started.device.get("platform") == "cpu"
    return "not reported on CPU" if is_cpu else "not reported by this device"


def _program(snapshot: RunSnapshot) -> str:
    total = snapshot.view.compiled.memory.get("total") if snapshot.view.compiled is not None else None
    return MISSING if not total else size(total)


def _disk(snapshot: RunSnapshot) -> str:
    free = snapshot.update.disk_free_bytes
    return MISSING if free is None else f"{size(free)} free"
