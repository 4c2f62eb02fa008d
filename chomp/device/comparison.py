"""What environment variables did to the speed of a step on this machine; the newest comparison is kept for the user."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from chomp.record.formatting import count, size
from chomp.record.rundir import write_whole
from chomp.record.user_files import state_file


@dataclass(frozen=True)
class Side:
    """One environment: tokens per second and memory of its best try, or why there is none."""

    tokens_per_second: float | None = None
    memory_bytes: int | None = None
    why: str = ""

    @property
    def words(self) -> str:
        """`12,345 tokens/s (1.2 GiB)`, or the reason."""
        if self.tokens_per_second is None:
            return self.why
        memory = f" ({size(self.memory_bytes)})" if self.memory_bytes is not None else ""
        return f"{count(self.tokens_per_second)} tokens/s{memory}"


@dataclass(frozen=True)
class Comparison:
    """A step without and with some variables.

    Attributes:
        t: Unix time.
        device: its name.
        config: the configuration's file.
        variables: what `after` has and `before` has not, with whole values.
    """

    t: float
    device: str
    config: str
    variables: dict[str, str]
    before: Side
    after: Side

    @property
    def gain(self) -> float | None:
        """Tokens per second of `after` by those of `before`, minus 1; None where one was not measured."""
        if not self.before.tokens_per_second or self.after.tokens_per_second is None:
            return None
        return self.after.tokens_per_second / self.before.tokens_per_second - 1

    @property
    def words(self) -> str:
        """`without 4,000 tokens/s, with 5,000 tokens/s: +25.0 %`."""
        gain = f": {self.gain:+.1%}" if self.gain is not None else ""
        return f"without {self.before.words}, with {self.after.words}{gain}"


_CODEC = TypeAdapter(Comparison)


def comparison_file(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The file of this machine, since several may share a home; None for a user without a home."""
    host = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in platform.node())
    return state_file(f"comparison-{host or 'machine'}.json", environ)


def save_comparison(comparison: Comparison, path: Path) -> None:
    """Replace the kept comparison.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(path, _CODEC.dump_json(comparison, indent=2))


def load_comparison(path: Path | None) -> Comparison | None:
    """The kept comparison; None where there is none that can be read."""
    try:
        return _CODEC.validate_json(path.read_bytes()) if path is not None else None
    except (OSError, ValidationError):
        return None


def comparison_of(values: Mapping[str, Any]) -> Comparison | None:
    """A comparison from what `chomp probe --compare --json` prints; None if that is something else."""
    try:
        return _CODEC.validate_python(values)
    except ValidationError:
        return None
