"""What earlier attempts left: time that was lost."""

from __future__ import annotations

from collections.abc import Iterable

from chomp.record.events import Event, Phase, RunEnded, RunStarted


def seconds_beyond(events: Iterable[Event], since: float) -> float:
    """Seconds that the attempts in `events` worked after `since` (Unix time).

    An attempt lasts from its start to its end, or to the last thing it said if it was killed;
    what stands between two attempts, such as a resume that was refused, is nobody's work.
    """
    total, began, last = 0.0, None, 0.0
    for event in events:
        # A new engine's first word is that it reads the data; the one before it said its last before that.
        arrived = isinstance(event, Phase) and event.name == "data"
        if not arrived:
            last = event.t
        if (arrived or isinstance(event, RunEnded)) and began is not None:
            total += max(0.0, last - max(began, since))
            began = None
        if isinstance(event, RunStarted):
            began = event.t
    return total + (max(0.0, last - max(began, since)) if began is not None else 0.0)
