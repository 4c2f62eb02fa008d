"""Growing numpy columns with value semantics: a version never changes, and the newest one grows cheaply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from chomp.record.json_text import number

# Counts and Unix times need every digit; all other numbers are only drawn or rounded.
WIDE = frozenset({"step", "t", "tokens_seen"})
SMALLEST_CAPACITY = 64
# Further names are ignored: a damaged file may have any number of them.
MOST_COLUMNS = 200

# Some rows: a column for each of their values, of equal length.
Block = dict[str, np.ndarray]


def column_dtype(name: str) -> type[np.floating]:
    """The dtype of a column."""
    return np.float64 if name in WIDE else np.float32


class _Store:
    """Buffers shared by all versions of one line of growth; only the longest version may append to them.

    A column in which no number has been seen yet has no buffer.
    """

    def __init__(self, names: Sequence[str], capacity: int = 0):
        self.capacity = capacity
        self.length = 0
        self.buffers: dict[str, np.ndarray | None] = dict.fromkeys(names)

    def reserve(self, length: int) -> None:
        """Make room for `length` rows; buffers that versions in other threads may be reading are left as they are."""
        if length <= self.capacity:
            return
        self.capacity = max(length, 2 * self.capacity, SMALLEST_CAPACITY)
        for name, old in self.buffers.items():
            if old is not None:
                new = np.empty(self.capacity, old.dtype)
                new[: self.length] = old[: self.length]
                self.buffers[name] = new

    def write(self, name: str, values: np.ndarray) -> None:
        """Append `values` to a column."""
        buffer = self.buffers.get(name)
        if buffer is None:
            if np.isnan(values).all() or (name not in self.buffers and len(self.buffers) >= MOST_COLUMNS):
                return
            buffer = np.empty(self.capacity, column_dtype(name))
            buffer[: self.length] = np.nan
            buffer[self.length : self.length + len(values)] = values
            self.buffers[name] = buffer
        else:
            buffer[self.length : self.length + len(values)] = values

    def write_missing(self, names: AbstractSet[str], count: int) -> None:
        """Append NaN to these columns."""
        for name in names:
            buffer = self.buffers[name]
            if buffer is not None:
                buffer[self.length : self.length + count] = np.nan


class Columns:
    """Named columns of floats, of equal length; NaN where a row has no such value.

    `columns["loss"]` is a read-only array (float64 for steps, times and token counts, else
    float32), of a name that no row has too. A column begins with its first number. Extending
    the newest version takes time for the new rows only; extending one that has been extended
    before, or cut, copies its rows first.
    """

    __slots__ = ("_length", "_store")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, store: _Store, length: int):
        self._store = store
        self._length = length

    @classmethod
    def empty(cls, names: Sequence[str] = ()) -> Columns:
        """Columns without rows; `names` come first."""
        return cls(_Store(names), 0)

    @property
    def names(self) -> tuple[str, ...]:
        """All columns, in the order of their first numbers, in any version of the table."""
        return tuple(self._store.buffers)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, name: str) -> np.ndarray:
        buffer = self._store.buffers.get(name)
        if buffer is None:
            return np.broadcast_to(np.float32(np.nan), self._length)
        view = buffer[: self._length]
        view.flags.writeable = False
        return view

    def has_numbers(self, name: str) -> bool:
        """Whether a column has a number, in any version of the table; takes no time."""
        return self._store.buffers.get(name) is not None

    def __eq__(self, other: object) -> bool:
        """Whether all values are the same; a missing value equals a missing value."""
        if not isinstance(other, Columns):
            return NotImplemented
        if len(self) != len(other):
            return False
        names = {*self.names, *other.names}
        return all(np.array_equal(self[name], other[name], equal_nan=True) for name in names)

    def __repr__(self) -> str:
        return f"Columns({len(self)} rows of {', '.join(self.names)})"

    def extend(self, *blocks: Mapping[str, Any]) -> Columns:
        """These rows and then those of the blocks: arrays or sequences of equal length; absent names are missing.

        Raises:
            ValueError: the arrays of a block differ in length.
        """
        parts = [self._arrays(block) for block in blocks]
        counts = [len(next(iter(arrays.values()))) if arrays else 0 for arrays in parts]
        if not sum(counts):
            return self
        store = self._growing(self._length + sum(counts))
        for arrays, count in zip(parts, counts, strict=True):
            for name, array in arrays.items():
                store.write(name, array)
            store.write_missing(store.buffers.keys() - arrays.keys(), count)
            store.length += count
        return Columns(store, store.length)

    def append(self, *blocks: Mapping[str, np.ndarray]) -> Columns:
        """These rows and then those of the blocks by `step`; where steps do not ascend, the newer rows count."""
        steps = np.concatenate([block["step"] for block in blocks])
        if not len(steps):
            return self
        lowest_after = np.minimum.accumulate(steps[::-1])[::-1]
        columns = self
        if len(self) and lowest_after[0] <= self["step"][-1]:
            columns = self.cut(lowest_after[0] - 1)
        stays = np.append(steps[:-1] < lowest_after[1:], True)
        if not stays.all():
            parts = np.split(stays, np.cumsum([len(block["step"]) for block in blocks])[:-1])
            blocks = tuple(
                {name: array[part] for name, array in block.items()} for block, part in zip(blocks, parts, strict=True)
            )
        return columns.extend(*blocks)

    def _arrays(self, block: Mapping[str, Any]) -> dict[str, np.ndarray]:
        with np.errstate(over="ignore"):
            arrays = {name: np.asarray(array, column_dtype(name)) for name, array in block.items()}
        if len({len(array) for array in arrays.values()}) > 1:
            raise ValueError(f"columns of different lengths: {sorted({len(array) for array in arrays.values()})}")
        return arrays

    def expect(self, rows: int) -> None:
        """Reserve room for `rows` more rows at once, if this is the newest version."""
        if self._store.length == self._length:
            self._store.reserve(rows)

    def _growing(self, length: int) -> _Store:
        """The store to append to: the shared one if this version is its newest, else a copy."""
        if self._store.length == self._length:
            self._store.reserve(length)
            return self._store
        copy = _Store(self.names)
        copy.reserve(length)
        for name, buffer in self._store.buffers.items():
            if buffer is not None:
                copy.buffers[name] = np.empty(copy.capacity, buffer.dtype)
                copy.buffers[name][: self._length] = buffer[: self._length]  # type: ignore[index]
        copy.length = self._length
        return copy

    def cut(self, step: float) -> Columns:
        """Without the rows beyond `step`; the column `step` must ascend."""
        kept = int(np.searchsorted(self["step"], step, side="right"))
        if kept == self._length:
            return self
        return Columns(self._store, kept) if kept else Columns.empty(self.names)

    def last(self, name: str) -> float | None:
        """The newest value of a column, or None where it is missing or there is no row."""
        if not self._length:
            return None
        value = float(self[name][-1])
        return None if value != value else value


def block_of(rows: Sequence[Mapping[str, Any]]) -> Block:
    """Rows as columns of all their numbers; always with `step`."""
    names = dict.fromkeys(["step", *(name for row in rows for name in row)])
    columns = {name: np.array([number(row.get(name)) for row in rows]) for name in names}
    return {name: column for name, column in columns.items() if name == "step" or not np.isnan(column).all()}
