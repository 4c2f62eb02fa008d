"""The processes of a run by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Member:
    """A process, as messages name it."""

    index: int
    host: str
    pid: int

    def __str__(self) -> str:
        return f"process {self.index} (pid {self.pid} on {self.host})"
