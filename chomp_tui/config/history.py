"""Undo and redo, one step for each edit."""

from __future__ import annotations

import itertools
from typing import Generic, TypeVar

State = TypeVar("State")
MAX_STEPS = 500
_EDITS = itertools.count(1)


def new_edit() -> int:
    """The number of an edit that begins now."""
    return next(_EDITS)


class History(Generic[State]):
    """The current state, those before it and those that were undone.

    Changes of one open edit are one step; two edits are never one, whatever they change.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self._past: list[State] = []
        self._future: list[State] = []
        self._open: int | None = None

    def change(self, state: State, edit: int | None = None) -> None:
        """Go to another state.

        Args:
            edit: number of the edit that the change belongs to; it stays open for more of them. None: a whole edit.
        """
        if edit is None or edit != self._open:
            self.end()
        if state == self.state:
            return
        if self._open is None:
            self._past.append(self.state)
            del self._past[:-MAX_STEPS]
        self._open = edit
        self._future.clear()
        self.state = state

    def end(self) -> None:
        """End the open edit; if it changed nothing in the end, it is no step."""
        if self._open is not None and self._past and self._past[-1] == self.state:
            self._past.pop()
        self._open = None

    def cancel(self, edit: int) -> bool:
        """Go back to where an edit began; False if it is not open, because it has changed nothing so far."""
        if edit != self._open:
            return False
        self.state, self._open = self._past.pop(), None
        return True

    def forget(self) -> None:
        """Undo goes no further back than to the current state."""
        self._past.clear()
        self._future.clear()
        self._open = None

    def undo(self) -> bool:
        """Go back by one step; False if there is none."""
        return self._travel(self._past, self._future)

    def redo(self) -> bool:
        """Redo the step that was undone last; False if there is none."""
        return self._travel(self._future, self._past)

    def _travel(self, source: list[State], target: list[State]) -> bool:
        self.end()
        if not source:
            return False
        target.append(self.state)
        self.state = source.pop()
        return True
