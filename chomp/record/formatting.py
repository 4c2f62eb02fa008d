"""Events as text for people: numbers in a fixed form, untrusted text made harmless."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    # For which the console's first frame does not wait.
    from chomp.record.events import Evaluated, Progress, SetEvaluated, TaskEvaluated


# Characters of a run's name in a list.
LONGEST_NAME = 40


def sanitize(text: str) -> str:
    """`text` without control characters, so that a sample or a file name cannot steer a terminal.

    Newlines and tabs stay; every other control character, the bidirectional marks and lone
    surrogates become a visible replacement character.
    """
    return "".join(char if char in "\n\t" or _is_harmless(char) else "�" for char in text)


def one_line(text: str) -> str:
    """`sanitize`, with each line end or tab as one space; other spaces stay, so that columns stay columns."""
    first, *others = re.split(r"[\n\t]+", sanitize(text).strip("\n\t"))
    if not others:
        return first
    *middle, last = others
    return " ".join([first.rstrip(" "), *(part.strip(" ") for part in middle), last.lstrip(" ")])


def short_name(name: str, longest: int = LONGEST_NAME) -> str:
    """A name on one line; of a long one the beginning and the end, by which names of a series differ."""
    shown = one_line(name)
    if len(shown) <= longest:
        return shown
    tail = (longest - 1) * 2 // 3
    return f"{shown[: longest - 1 - tail].rstrip()}…{shown[-tail:].lstrip()}"


def _is_harmless(char: str) -> bool:
    code = ord(char)
    return not (
        code < 0x20
        or 0x7F <= code < 0xA0
        or 0x202A <= code <= 0x202E
        or 0x2066 <= code <= 0x2069
        or code in (0x061C, 0x200E, 0x200F, 0x2028, 0x2029)
        or 0xD800 <= code <= 0xDFFF
    )


def duration(seconds: float) -> str:
    """Seconds as `41s`, `3m05s`, `2h07m` or `4d02h`."""
    total = max(0, round(seconds))
    if total < 60:
        return f"{total}s"
    if total < 3600:
        return f"{total // 60}m{total % 60:02d}s"
    if total < 86400:
        return f"{total // 3600}h{total % 3600 // 60:02d}m"
    return f"{total // 86400}d{total % 86400 // 3600:02d}h"


def since(seconds: float) -> str:
    """An age that a terminal is to be told seldom: `<10s`, `20s`, `3m`, `2h` or `4d`, rounded down."""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds // 10) * 10}s" if seconds >= 10 else "<10s"


# Names that do not depend on the locale.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def when(t: float, now: float) -> str:
    """A Unix time of today as `14:05`, of another day of this year as `Nov 28`, else the year: the same all day."""
    then, today = time.localtime(t), time.localtime(now)
    if then[:3] == today[:3]:
        return time.strftime("%H:%M", then)
    return f"{_MONTHS[then.tm_mon - 1]} {then.tm_mday}" if then.tm_year == today.tm_year else f"{then.tm_year}"


def moment(t: float, now: float) -> str:
    """The same to the minute: `14:05`, `Nov 28 14:05` or `2025-11-28 14:05`."""
    then, short = time.localtime(t), when(t, now)
    clock = time.strftime("%H:%M", then)
    if short == clock:
        return clock
    return f"{short} {clock}" if not short.isdigit() else time.strftime("%Y-%m-%d %H:%M", then)


def age(t: float, now: float | None = None) -> str:
    """How long ago a Unix time is: `3 days ago`."""
    seconds = max(0.0, (time.time() if now is None else now) - t)
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return f"{plural(int(seconds // length), unit)} ago"
    return "less than a minute ago"


def elapsed(seconds: float) -> str:
    """A measured time as `0.75 ms`, `538 ms`, `1.20 s` or `61.3 s`."""
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.{2 if seconds < 10 else 1}f} s"


def size(count: float) -> str:
    """Bytes as `512 B`, `3.4 MiB` or `120 GiB`, in eight characters: powers of 1024, of memory and of files alike."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 999.5 or unit == "TiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" or abs(count) >= 99.95 else f"{count:.1f} {unit}"


def count(number: float) -> str:
    """A large count as `693,952`, `3.20M` or `1.10B`."""
    for limit, unit in ((1e9, "B"), (1e6, "M")):
        if number >= limit:
            return f"{number / limit:.2f}{unit}"
    return f"{number:,.0f}"


def progress_line(event: Progress) -> str:
    """How far long work is: `converting tables: 120,000 of 400,000 rows`."""
    show = size if event.unit == "bytes" else "{:,}".format
    of = f" of {show(event.total)}" if event.total is not None else ""
    return f"{one_line(event.what)}: {show(event.done)}{of}" + (
        "" if event.unit == "bytes" else f" {one_line(event.unit)}"
    )


def device_name(device: Mapping[str, Any]) -> str:
    """`2 × NVIDIA H100` from `run_started`'s `device`, or what there is of it."""
    name = str(device.get("name") or device.get("platform") or "unknown device")
    number = device.get("count")
    return f"{number} × {name}" if isinstance(number, int) and number > 1 else name


def device_words(device: Mapping[str, Any]) -> str:
    """`16 × NVIDIA H100, data 2 × fsdp 8, 2 processes on 2 hosts`; of one device its name."""
    words = [device_name(device)]
    mesh = device.get("mesh")
    if isinstance(mesh, Mapping):
        axes = [f"{axis} {size}" for axis, size in mesh.items() if isinstance(size, int) and size > 1]
        words += [" × ".join(axes)] if axes else []
    hosts = hosts_of(device)
    if len(hosts) > 1:
        words.append(f"{len(hosts)} processes on {plural(len(set(hosts)), 'host')}")
    return ", ".join(words)


def hosts_of(device: Mapping[str, Any]) -> list[str]:
    """The host of each process from `run_started`'s `device`; none of a run on one device, or of an older version."""
    processes = device.get("processes")
    if not isinstance(processes, list):
        return []
    return [str(each.get("host")) for each in processes if isinstance(each, Mapping)]


def plural(number: int, noun: str) -> str:
    """`1 document` or `4,211 documents`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def is_finite(value: float | None) -> TypeGuard[float]:
    """Whether it is a number; files hold null where it is not."""
    return value is not None and math.isfinite(value)


def scientific(value: float, decimals: int = 3) -> str:
    """`1.963e19`, without the signs and zeros that only add width."""
    mantissa, exponent = f"{value:.{decimals}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def decimal(value: float, decimals: int = 4) -> str:
    """`2.0624`; from 10,000 on, as diverged losses are, `1.963e19`."""
    return scientific(value) if math.isfinite(value) and abs(value) >= 1e4 else f"{value:.{decimals}f}"


def narrow(value: float) -> str:
    """A loss in seven cells at most: `2.0624`, `1234.5`, `1.96e19`."""
    if not abs(value) >= 1e5 or math.isinf(value):
        return f"{value:.{4 if abs(value) < 100 else 1}f}"
    return scientific(value, 2)


def loss(value: float | None) -> str:
    """A loss with four decimals, or `non-finite`."""
    return decimal(value) if is_finite(value) else "non-finite"


def evaluated_line(event: Evaluated) -> str:
    """An evaluation as one line, with the loss of the unigram baseline."""
    line = f"evaluated {event.tokens:,} tokens in {elapsed(event.seconds)}: loss {loss(event.loss)}"
    if is_finite(event.unigram_loss):
        line += f", unigram baseline {loss(event.unigram_loss)}"
    return line


def set_line(event: SetEvaluated) -> str:
    """An evaluation of a set as one line."""
    bpb = f" ({decimal(event.bpb, 3)} bits/byte)" if is_finite(event.bpb) else ""
    return f"evaluated {event.name}, {event.tokens:,} tokens in {elapsed(event.seconds)}: loss {loss(event.loss)}{bpb}"


def task_words(accuracy: float, accuracy_norm: float | None, bpb: float) -> str:
    """The scores of a task: `accuracy 31.2% (30.0% by length), 1.042 bits/byte`."""
    if not is_finite(accuracy):
        return "non-finite"
    norm = f" ({accuracy_norm:.1%} by length)" if is_finite(accuracy_norm) else ""
    return f"accuracy {accuracy:.1%}{norm}, {decimal(bpb, 3)} bits/byte"


def task_line(event: TaskEvaluated) -> str:
    """The scores of a task as one line."""
    words = task_words(event.accuracy, event.accuracy_norm, event.bpb)
    return f"task {event.name}, {plural(event.examples, 'example')} in {elapsed(event.seconds)}: {words}"


def row_line(row: dict[str, Any], total_steps: int, eta_seconds: float | None) -> str:
    """A metrics row as one compact line."""
    parts = [
        f"step {row['step']:>{len(str(total_steps))}}/{total_steps}",
        f"loss {loss(row.get('loss'))}",
        f"grad {row['grad_norm']:.3g}" if is_finite(row.get("grad_norm")) else "grad non-finite",
        f"lr {row['lr']:.2e}",
        f"{row['tokens_per_sec']:,.0f} tok/s",
        elapsed(row["step_time_s"]),
    ]
    if row.get("mfu") is not None:
        parts.append(f"mfu {row['mfu']:.1%}")
    if row.get("packing_utilization", 1.0) < 0.9995:
        parts.append(f"packed {row['packing_utilization']:.1%}")
    if row.get("device_memory_gb") is not None:
        parts.append(f"mem {size(row['device_memory_gb'] * 2**30)}")
    if row.get("eval_loss") is not None:
        bpb = f" ({decimal(row['eval_bpb'], 3)} bits/byte)" if row.get("eval_bpb") is not None else ""
        parts.append(f"eval {loss(row['eval_loss'])}{bpb}")
    if eta_seconds is not None:
        parts.append(f"eta {duration(eta_seconds)}")
    return "  ".join(parts)
