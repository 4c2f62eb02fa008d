"""Times and durations of the command line: `22:00`, `2026-12-01 06:30`, `8h`, `1h30m`."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from chomp.config.fields import MAX_SECONDS
from chomp.queue.job import QueueError

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")
_UNITS = (86400.0, 3600.0, 60.0, 1.0)
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")


def parse_duration(text: str) -> float:
    """Seconds of `8h`, `90m`, `1h30m`, `45s` or `45`.

    Raises:
        QueueError: it is no duration.
    """
    found = _DURATION.fullmatch(text.strip().lower().replace(" ", ""))
    values = [float(part) for part in found.groups(default="0")] if found else []
    seconds = sum(value * unit for value, unit in zip(values, _UNITS, strict=False))
    if not 0 < seconds <= MAX_SECONDS:
        raise QueueError(f"{text!r} is no duration; write for example 8h, 90m, 1h30m or 45s")
    return seconds


def parse_time(text: str, now: datetime) -> datetime:
    """The local time that is meant: a date with a time, or a time of day, which is tomorrow's if it has passed today.

    Raises:
        QueueError: it is no time, or a date in the past.
    """
    clock = _CLOCK.fullmatch(text.strip())
    try:
        if clock:
            hour, minute, second = (int(part or 0) for part in clock.groups())
            # Local days have 23 or 25 hours twice a year: the date moves on, and not the seconds.
            today = now.astimezone().replace(tzinfo=None)
            meant = today.replace(hour=hour, minute=minute, second=second, microsecond=0)
            return (meant if meant > today else meant + timedelta(days=1)).astimezone()
        meant = datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError):
        raise QueueError(f"{text!r} is no time; write for example 22:00 or 2026-12-01T06:30") from None
    if meant < now:
        raise QueueError(f"{text} is past; write a later time, or leave it out to start as soon as possible")
    return meant
