"""Room on the disk that a run keeps for its last event."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

log = logging.getLogger("chomp.events")

# Log files and metrics that wait for room, too, may take a part of it.
RESERVED_BYTES = 1 << 16
LAST_BYTES = RESERVED_BYTES // 2


class Reserve:
    """A file beside the event log that is removed when a full disk does not take the last event."""

    def __init__(self, events: Path):
        self._path = events.with_name("events.reserve")

    def hold(self) -> None:
        """Take the room; a disk that has none is not an error."""
        try:
            with self._path.open("wb") as file:
                # A file system may compress, or not store, what is not random.
                file.write(os.urandom(RESERVED_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            log.warning("no room is kept for the end of the run: %s", error.strerror)
            self.free()

    def free(self) -> None:
        """Give the room back."""
        with contextlib.suppress(OSError):
            self._path.unlink()
