"""The data iterator's state as one item of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from chomp.errors import CheckpointError

DATA_FILE = "position.json"


class DataState:
    """A data iterator's state as one Orbax item (`ocp.StatefulCheckpointable`).

    Args:
        state: what is saved; None to load it.
        writes: whether this process writes the file; all processes of a run have the same state.
    """

    def __init__(self, state: dict[str, Any] | None = None, *, writes: bool = True):
        self.state = state
        self._writes = writes

    async def save(self, directory: Any) -> Awaitable[None]:
        text = json.dumps(self.state)

        async def write() -> None:
            folder = await directory.await_creation()
            if self._writes:
                (Path(folder) / DATA_FILE).write_text(text)

        return write()

    async def load(self, directory: Any) -> Awaitable[None]:
        async def read() -> None:
            self.state = json.loads((Path(directory) / DATA_FILE).read_text())

        return read()


def read_position(folder: Path) -> dict[str, Any]:
    """The data iterator's state in the checkpoint at `folder`.

    Raises:
        CheckpointError: it cannot be read.
    """
    path = folder / "data" / DATA_FILE
    try:
        state: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; choose another checkpoint") from None
    return state
