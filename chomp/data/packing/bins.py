"""First fit decreasing: whole documents share a row where they fit, in groups of a fixed number of documents."""

from typing import Any, NamedTuple

import grain
import numpy as np

from chomp.data.batch import Batch, finish_batch
from chomp.data.packing.base import Corpus, PackDataset, PackIterator, PackPlan, Part, Tokens

GROUP_TOKENS = 1 << 22
"""A group ends early once it holds this many tokens, so that a few huge documents do not fill the memory."""
_NO_GROUP = {"rows": 0, "group": 0}


class Piece(NamedTuple):
    """Tokens `[start, stop)` of the group's document number `document`."""

    document: int
    start: int
    stop: int


def plan_rows(lengths: list[int], seq: int, max_docs: int | None) -> list[list[Piece]]:
    """Place documents of these lengths into rows of `seq` tokens.

    A document longer than a row is cut into full rows and a rest. Rests and short documents are
    placed longest first into the first row with room. Rows come in the order of the first document
    they hold, so that batches do not drift from long documents to short ones.

    Args:
        lengths: tokens of each document.
        seq: capacity of a row in tokens.
        max_docs: most pieces in a row; None for no limit.
    """
    rows = [
        [Piece(document, start, start + seq)]
        for document, length in enumerate(lengths)
        for start in range(0, length - seq + 1, seq)
    ]
    rests = [Piece(document, length - length % seq, length) for document, length in enumerate(lengths) if length % seq]
    rests.sort(key=lambda piece: piece.start - piece.stop)  # stable: equal lengths stay in reading order
    limit = max_docs or len(rests)
    room = np.zeros(len(rests), np.int64)
    bins: list[list[Piece]] = []
    for piece in rests:
        length = piece.stop - piece.start
        fits = room[: len(bins)] >= length
        index = int(fits.argmax()) if fits.any() else len(bins)
        if index == len(bins):
            bins.append([])
            room[index] = seq
        bins[index].append(piece)
        room[index] = room[index] - length if len(bins[index]) < limit else 0
    return sorted(rows + [sorted(pieces) for pieces in bins], key=lambda row: row[0])


class BinPackDataset(PackDataset):
    """Packs groups of `group` documents; rows may end in padding.

    Args:
        shuffle_seed: mix the rows of each group by this seed, so that the rows cut from one long document do not meet
            in one batch; None leaves them in reading order.
    """

    def __init__(
        self,
        parent: grain.IterDataset,
        plan: PackPlan,
        corpus: Corpus,
        *,
        group: int,
        max_docs: int | None,
        shuffle_seed: int | None = None,
    ):
        super().__init__(parent, plan, corpus)
        self._settings = (group, max_docs, shuffle_seed)

    def __iter__(self) -> "BinPackIterator":
        return BinPackIterator(self._parent.__iter__(), self.plan, self.corpus, *self._settings)


class BinPackIterator(PackIterator):
    """State: the parent before the current group, and the rows of it already used.

    `rows` says of how many, and `group` of how many documents; 0 while no row is used. They tell how
    much of the group has been read, and restoring does not need them.
    """

    def __init__(
        self, parent: Any, plan: PackPlan, corpus: Corpus, group: int, max_docs: int | None, shuffle_seed: int | None
    ):
        super().__init__(parent, plan, corpus)
        self._group = group
        self._max_docs = max_docs
        self._shuffle_seed = shuffle_seed
        self._texts: list[Tokens] = []
        self._numbers: list[int] = []
        self._rows: list[list[Piece]] | None = None
        self._used = 0
        self._size = _NO_GROUP
        self._before = (parent.get_state(), self._counts())

    def _next_batch(self) -> Batch | None:
        shape = self._plan.shape
        ids = np.empty((shape.rows, shape.seq), np.int32)
        parts: list[Part] = []
        filled = np.zeros(shape.rows, np.int64)
        row = 0
        while row < shape.rows and self._load_group():
            assert self._rows is not None
            at = 0
            for document, start, stop in self._rows[self._used]:
                parts.append(Part(row * shape.seq + at, self._numbers[document], start))
                ids[row, at : at + stop - start] = self._texts[document][start:stop]
                at += stop - start
            filled[row] = at
            row += 1
            self._used += 1
            if self._used == len(self._rows):
                self._finish_group()
        if not row:
            return None
        self.starts, self.parts = np.asarray([part.at for part in parts], np.intp), parts
        return finish_batch(ids, self.starts, filled, shape, self._plan.rules)

    def _load_group(self) -> bool:
        """Read and place the current group if that is still to be done; False when text has run out."""
        if self._rows is not None:
            return True
        texts: list[Tokens] = []
        numbers: list[int] = []
        held = 0
        while len(texts) < self._group and held < GROUP_TOKENS and (tokens := self._next_document()) is not None:
            texts.append(tokens)
            numbers.append(self._documents - 1)
            held += len(tokens)
        if not texts:
            return False
        self._texts, self._numbers = texts, numbers
        rows = plan_rows([len(text) for text in texts], self._plan.shape.seq, self._max_docs)
        if self._shuffle_seed is not None:
            # Seeded by the documents read before the group, which the state restores: the same order after a resume.
            order = np.random.default_rng([self._shuffle_seed, self._before[1]["documents"]]).permutation(len(rows))
            rows = [rows[index] for index in order]
        self._rows = rows
        read = self._documents - self._before[1]["documents"]
        self._size = {"rows": len(rows), "group": read}
        return True

    def _finish_group(self) -> None:
        self._texts = []
        self._rows = None
        self._used = 0
        self._size = _NO_GROUP
        self._before = (self._parent.get_state(), self._counts())

    def get_state(self) -> dict[str, Any]:
        parent, counts = self._before
        return {"parent": parent, "rows_used": self._used, **self._size, **counts}

    def set_state(self, state: dict[str, Any]) -> None:
        self._parent.set_state(state["parent"])
        self._restore_counts(state)
        self._before = (state["parent"], self._counts())
        self._texts = []
        self._rows = None
        self._used = state["rows_used"]
        # An older state has none.
        self._size = {name: state.get(name, 0) for name in _NO_GROUP}
