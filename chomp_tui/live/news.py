"""What happens to a watched run that its user should hear of without looking."""

from __future__ import annotations

from chomp.record.formatting import one_line
from chomp.record.status import Status
from chomp_tui.live.feed import RunUpdate


class RunNews:
    """Tells ends, crashes and non-finite steps of one run apart from what was already known when it was opened."""

    def __init__(self) -> None:
        self._was_going = False
        self._nonfinite: int | None = None

    def of(self, update: RunUpdate, status: Status) -> str | None:
        """A sentence if something has happened since the last look."""
        if update.read_fraction < 1:
            return None
        going = status.is_live or status.tone == "live"
        ended = self._was_going and not going
        self._was_going = going
        view, known = update.view, self._nonfinite
        self._nonfinite = view.nonfinite_count
        name = one_line(update.run.name)
        if ended:
            why = f": {one_line(status.reason)}" if status.reason else ""
            return f"{name} {status.word} at step {view.step:,}{why}"
        if known is not None and view.nonfinite_count > known and view.nonfinite:
            return f"{name}: loss or gradient is not finite at step {view.nonfinite[-1].step:,}"
        return None
