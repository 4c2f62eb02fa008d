"""Prepares batches ahead of the step, in a thread that never blocks the end of the process."""

import atexit
import logging
import sys
import threading
from typing import Any
from weakref import WeakSet

import grain
from grain.experimental import ThreadPrefetchDatasetIterator, ThreadPrefetchIterDataset

from chomp.data.batch import Batch
from chomp.data.packing.base import unfiltered

log = logging.getLogger("chomp.data")

CLOSE_WAIT_SECONDS = 5.0
"""How long closing waits for a read in progress, which may hang on the network."""


_open: "WeakSet[PrefetchIterator]" = WeakSet()


@atexit.register
def _close_all() -> None:
    # A thread that is inside native code while the interpreter shuts down would abort the process.
    for iterator in list(_open):
        iterator.close()


class PrefetchDataset(ThreadPrefetchIterDataset):
    """Grain's thread prefetch with an end that cannot hang.

    With a size of 0 nothing is read ahead, and what remains is that the state stays that of the
    last good batch while an error passes.

    Args:
        parent: batches.
        size: batches prepared ahead.
    """

    def __init__(self, parent: grain.IterDataset[Batch], *, size: int):
        super().__init__(parent, prefetch_buffer_size=size)
        self._size = size

    def __iter__(self) -> "PrefetchIterator":
        return PrefetchIterator(self._parent.__iter__(), self._size)


class PrefetchIterator(ThreadPrefetchDatasetIterator):
    """State: the packer's, behind the last batch handed out."""

    _closed: bool

    def __init__(self, parent: Any, size: int):
        super().__init__(parent, size)
        _open.add(self)

    @unfiltered
    def __next__(self) -> Batch:
        batch: Batch = super().__next__()
        return batch

    def close(self) -> None:
        """Stop reading ahead; a read that does not end soon is left to end with the process."""
        if self._closed:
            return
        self._closed = True
        closer = threading.Thread(target=super().close, daemon=True, name="chomp-close-data")
        closer.start()
        closer.join(CLOSE_WAIT_SECONDS)
        if closer.is_alive():
            log.warning("a read of training data has not ended; it is abandoned")

    def __del__(self) -> None:
        # While the interpreter shuts down its modules are already gone and threads cannot be joined.
        if sys is not None and not sys.is_finalizing():
            self.close()
