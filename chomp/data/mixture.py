"""Rows of several sources in one batch, by weight.

Grain's own `IterDataset.mix` counts elements, ends with its first source, and has no stages; rows differ in how many
tokens they hold, and a share here is one of tokens.
"""

from collections.abc import Mapping
from typing import Any

import grain
import numpy as np

from chomp.data.batch import IGNORED, Batch, BatchShape
from chomp.data.packing.base import BatchIterator, PackDataset, Part
from chomp.data.shares import Shares, Weights


class MixtureDataset(grain.IterDataset[Batch]):
    """Batches whose rows come from several sources, each packed by itself.

    Args:
        sources: by name, in the order of `Batch.source_ids`; each yields batches of one row.
        shares: the weights.
        shape: of the batches.
        pad_id: id written into rows for which there is no text left.
        stops: whether the end of one source is the end of all; otherwise the others share its weight.
    """

    def __init__(
        self, sources: Mapping[str, PackDataset], shares: Shares, shape: BatchShape, pad_id: int, *, stops: bool
    ):
        super().__init__(list(sources.values()))
        self.sources = sources
        self.shares = shares
        self.shape = shape
        self.pad_id = pad_id
        self.stops = stops

    def __iter__(self) -> "MixtureIterator":
        return MixtureIterator(self)


class MixtureIterator(BatchIterator):
    """Takes each row from the source whose tokens lag its weight most.

    Tokens are counted from where the weights in force began. At any row from there on no source is ahead of its share
    by more than one row, and so none is behind by more than one row for each of the others: the lags add up to nothing,
    and a source is only chosen while, with the next row counted in, it is not ahead.

    State: the sources' states, the tokens read of each, those counted since the weights began, and which sources have
    ended. Sources are known by name: one that is new to a state starts at its beginning.
    """

    def __init__(self, dataset: MixtureDataset):
        readers = {name: source.__iter__() for name, source in dataset.sources.items()}
        super().__init__(list(readers.values()), "the mixture")
        self._dataset = dataset
        self._readers = readers
        self._begins = {name: reader.get_state() for name, reader in readers.items()}
        self._read = dict.fromkeys(readers, 0)
        self._weights: Weights = dict.fromkeys(readers, 0)
        self._met = dict.fromkeys(readers, 0)
        self._ended = dict.fromkeys(readers, False)

    def _next_batch(self) -> Batch | None:
        shape = self._dataset.shape
        rows: list[Batch] = []
        sources: list[int] = []
        starts: list[np.ndarray] = []
        parts: list[Part] = []
        names = list(self._readers)
        while len(rows) < shape.rows and (name := self._choose()) is not None:
            row = next(self._readers[name], None)
            if row is None:
                self._ended[name] = True
                continue
            self._count(name, int(np.count_nonzero(row.segment_ids)))
            before = len(rows) * shape.seq
            starts.append(self._readers[name].starts + before)
            parts += [part._replace(at=part.at + before, source=name) for part in self._readers[name].parts]
            rows.append(row)
            sources.append(names.index(name))
        if not rows:
            return None
        missing = shape.rows - len(rows)
        self.starts, self.parts = np.concatenate(starts), parts
        fields = zip(*(row[:4] for row in (*rows, *[self._padding()] * missing)), strict=True)
        ids = np.asarray([*sources, *[0] * missing], np.int32)
        whole = (np.concatenate(field).reshape(shape) for field in fields)
        return Batch(*whole)._replace(source_ids=ids.reshape(*shape[:2], 1))

    def _check(self, batch: Batch) -> None:
        """The sources have checked their rows."""

    def _choose(self) -> str | None:
        """The source of the next row; None where the text has ended."""
        if self._dataset.stops and any(self._ended.values()):
            return None
        every = self._dataset.shares.at(sum(self._read.values()))
        weights = {name: 0 if self._ended[name] else weight for name, weight in every.items()}
        if weights != self._weights:
            self._weights, self._met = weights, dict.fromkeys(weights, 0)
        whole, due = sum(weights.values()), sum(self._met.values()) + self._dataset.shape.seq
        weighed = sorted(name for name, weight in weights.items() if weight)
        return max(weighed, key=lambda name: weights[name] * due - self._met[name] * whole, default=None)

    def _count(self, name: str, tokens: int) -> None:
        self._met[name] += tokens
        self._read[name] += tokens

    def _padding(self) -> Batch:
        shape = (1, 1, self._dataset.shape.seq)
        ids, nothing = np.full(shape, self._dataset.pad_id, np.int32), np.zeros(shape, np.int32)
        return Batch(ids, np.full(shape, IGNORED, np.int32), nothing.astype(bool), nothing)

    def get_state(self) -> dict[str, Any]:
        return {
            "sources": {name: reader.get_state() for name, reader in self._readers.items()},
            "read": dict(self._read),
            "weights": dict(self._weights),
            "met": dict(self._met),
            "ended": dict(self._ended),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        for name, reader in self._readers.items():
            reader.set_state(state["sources"].get(name, self._begins[name]))
        self._read = dict.fromkeys(self._readers, 0) | state["read"]
        self._weights, self._met = dict(state["weights"]), dict(state["met"])
        self._ended = {name: state["ended"].get(name, False) and self._is_over(name) for name in self._readers}
        self._recover()

    def _is_over(self, name: str) -> bool:
        """Whether a source that had ended still has; it may read more passes since."""
        reader = self._readers[name]
        before = reader.get_state()
        over = next(reader, None) is None
        reader.set_state(before)
        return over
