"""What earlier attempts left: time that was lost."""

from __future__ import annotations

from collections.abc import Iterable

from chomp.record.events import Event, Phase, RunEnded, RunStarted, number


def seconds_beyond(events: Iterable[Event], since: float) -> float:
    """Seconds that the attempts in `events` worked after `since` (Unix time).

    An attempt lasts from its start to its end, or to its last event or row if it was killed;
    what lies between two attempts, such as a resume that was refused, does not count.
    """
    total, began, last = 0.0, None, 0.0
    for event in events:
        # The first event of an engine is that it reads the data; the last of the engine before it came before that.
        arrival = event if isinstance(event, Phase) and event.name == "data" else None
        if arrival is None:
            last = event.t
        elif (row_t := number(arrival.last_row_t)) > last:
            last = row_t
        if (arrival or isinstance(event, RunEnded)) and began is not None:
            total += max(0.0, last - max(began, since))
            began = None
        if isinstance(event, RunStarted):
            began = event.t
    return total + (max(0.0, last - max(began, since)) if began is not None else 0.0)
