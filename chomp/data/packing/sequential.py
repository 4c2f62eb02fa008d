"""Concatenate, then split: rows are always full and long documents run on into the next row."""

from typing import Any

import numpy as np

from chomp.data.batch import Batch, finish_batch
from chomp.data.packing.base import PackDataset, PackIterator, Part, Tokens


class SequentialPackDataset(PackDataset):
    """Packs documents end to end; only the last batch of finite text is padded."""

    def __iter__(self) -> "SequentialPackIterator":
        return SequentialPackIterator(self._parent.__iter__(), self.plan, self.corpus)


class SequentialPackIterator(PackIterator):
    """State: the parent before the current document, and the tokens of it already used.

    `length` says of how many; 0 while none is used. It tells how much of the document has been read, and restoring does
    not need it.
    """

    def __init__(self, parent: Any, plan: Any, corpus: Any):
        super().__init__(parent, plan, corpus)
        self._tokens: Tokens | None = None
        self._offset = 0
        self._length = 0
        self._before = (parent.get_state(), self._counts())

    def _next_batch(self) -> Batch | None:
        shape = self._plan.shape
        ids = np.empty(shape.tokens, np.int32)
        starts: list[int] = []
        parts: list[Part] = []
        filled = 0
        while filled < shape.tokens:
            tokens = self._current()
            if tokens is None:
                break
            if self._offset == 0:
                starts.append(filled)
            elif self._plan.overlap:
                self._offset -= 1
            room = shape.seq - filled % shape.seq if self._plan.overlap else shape.tokens - filled
            parts.append(Part(filled, self._documents - 1, self._offset))
            taken = min(len(tokens) - self._offset, room)
            ids[filled : filled + taken] = tokens[self._offset : self._offset + taken]
            filled += taken
            self._offset += taken
            if self._offset == len(tokens):
                self._finish_document()
        if not filled:
            return None
        self.starts, self.parts = np.asarray(starts, np.intp), parts
        per_row = np.clip(filled - shape.seq * np.arange(shape.rows), 0, shape.seq)
        return finish_batch(ids.reshape(shape.rows, shape.seq), self.starts, per_row, shape, self._plan.rules)

    def _current(self) -> Tokens | None:
        """Tokens of the document in progress, read (again) if need be; None when text has run out."""
        if self._tokens is None:
            self._tokens = self._next_document()
            self._length = 0 if self._tokens is None else len(self._tokens)
        return self._tokens

    def _finish_document(self) -> None:
        self._tokens = None
        self._offset = self._length = 0
        self._before = (self._parent.get_state(), self._counts())

    def get_state(self) -> dict[str, Any]:
        parent, counts = self._before
        return {"parent": parent, "offset": self._offset, "length": self._length, **counts}

    def set_state(self, state: dict[str, Any]) -> None:
        self._parent.set_state(state["parent"])
        self._restore_counts(state)
        self._before = (state["parent"], self._counts())
        self._tokens = None
        self._offset = state["offset"]
        # An older state has none.
        self._length = state.get("length", 0)
