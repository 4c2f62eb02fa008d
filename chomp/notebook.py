"""`chomp.Run`: a run's record as NumPy arrays and Arrow tables."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from chomp.config.suggest import nearest
from chomp.errors import CheckpointError, ChompError, ConfigError, printable
from chomp.record.columns import Columns
from chomp.record.line_files import parse_line
from chomp.record.manifest import CheckpointInfo, list_checkpoints
from chomp.record.notes import Notes, read_notes
from chomp.record.run_record import RunRecord, load_record
from chomp.record.status import Status

if TYPE_CHECKING:
    import pyarrow

TABLES = ("rows", "evaluations", "samples", "checkpoints")
_WHOLE = frozenset({"step", "tokens_seen"})


class MissingColumnError(ChompError, KeyError):
    """A table has no such column: no row has a finite number of that name."""

    def __str__(self) -> str:
        # That of `KeyError` is in quotes.
        return printable(str(self.args[0]))


class Table(dict[str, np.ndarray]):
    """Columns by name, each with a value for every row.

    Args:
        none: the beginning of the sentence about a missing column: `no metrics row of runs/demo`.
    """

    def __init__(self, columns: Mapping[str, np.ndarray], none: str):
        super().__init__(columns)
        self._none = none

    def __missing__(self, name: str) -> np.ndarray:
        if not self:
            raise MissingColumnError(f"{self._none} was written yet: there is no {name!r}")
        near = nearest(str(name), list(self))
        hint = f"did you mean {near!r}? there are" if near else "there are"
        raise MissingColumnError(f"{self._none} has a finite {name!r}; {hint} {', '.join(self)}")


class Run:
    """A run directory, read when it is first asked; a live run is read again by making a new object.

    Example:
        `chomp.Run("runs/demo").rows["loss"]`: see docs/comparing.md.

    Raises:
        RunDirError: there is no run at `path`, or its settings are damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self._record: RunRecord = load_record(self.path)

    def __repr__(self) -> str:
        return f"<Run {self._record.name}: {self.status.word}, step {self._record.summary.step}>"

    @property
    def name(self) -> str:
        """The name of the directory."""
        return self._record.name

    @property
    def status(self) -> Status:
        """What the run does, or how it ended: `status.word`, `status.state`, `status.reason`."""
        return self._record.summary.status

    @property
    def notes(self) -> Notes:
        """Name, note and tags as they are now."""
        return read_notes(self._record.run)

    @property
    def forked_at(self) -> int:
        """The step up to which the rows of a fork are those of its parent; 0 for any other run."""
        return self._record.forked_at

    @cached_property
    def config(self) -> dict[str, Any]:
        """The settings as nested dictionaries, with the numbers that follow from them in `derived`."""
        return self._record.run.load_resolved()

    @property
    def settings(self) -> Mapping[str, Any]:
        """The same by dotted path: `settings["optim.lr"]`."""
        return self._record.settings

    @cached_property
    def rows(self) -> dict[str, np.ndarray]:
        """The numbers of `metrics.jsonl`: for each its values by row; NaN where a row has none.

        A name that has no number in any row raises `MissingColumnError`, a `KeyError`.
        """
        return Table(_arrays(self._record.view.rows), f"no metrics row of {self.path}")

    @cached_property
    def evaluations(self) -> dict[str, np.ndarray]:
        """The evaluations: step, t, loss (nats per token), bpb (bits per byte), perplexity, seconds."""
        return Table(_arrays(self._record.view.evals), f"no evaluation of {self.path}")

    @cached_property
    def samples(self) -> list[dict[str, Any]]:
        """The samples, oldest first: step, prompt, text, tokens."""
        try:
            lines = self._record.run.samples.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        return [row for line in lines if (row := parse_line(line)) is not None]

    @cached_property
    def checkpoints(self) -> list[CheckpointInfo]:
        """The checkpoints, oldest first; `meta` has the losses."""
        return list_checkpoints(self._record.run.checkpoints)

    def parameters(self, step: int | None = None) -> dict[str, np.ndarray]:
        """The parameters of a checkpoint by dotted name, in the host's memory; imports JAX.

        Args:
            step: of the checkpoint; by default the newest one that is not damaged.

        Raises:
            CheckpointError: there is no such checkpoint, or it is damaged.
        """
        from chomp.generate.load import load_trained
        from chomp.model.paths import named_leaves

        place = self.path if step is None else self._record.run.checkpoints / str(step)
        if step is not None and all(info.step != step for info in self.checkpoints):
            have = ", ".join(str(info.step) for info in self.checkpoints) or "none"
            raise CheckpointError(f"{self.path} has no checkpoint of step {step} (it has: {have})")
        trained = load_trained(place, on_host=True)
        return {name: np.asarray(leaf) for name, leaf in named_leaves(trained.params)}

    def x(self, axis: Literal["step", "tokens", "time", "flops"]) -> np.ndarray:
        """Another measure of progress for each row: loss tokens, seconds in training steps, or training FLOPs.

        Raises:
            ConfigError: there is no such axis.
            MissingColumnError: the run has no metrics rows.
        """
        return self._record.x_of(axis, self.rows["step"])

    def to_arrow(self, table: Literal["rows", "evaluations", "samples", "checkpoints"]) -> pyarrow.Table:
        """One of the four as an Arrow table, which Polars, pandas and DuckDB read.

        Raises:
            ConfigError: there is no such table.
        """
        import pyarrow

        if table not in TABLES:
            raise ConfigError(f"there is no table {table!r}; a run has {', '.join(TABLES)}")
        if table in ("rows", "evaluations"):
            return pyarrow.table(self.rows if table == "rows" else self.evaluations)
        if table == "samples":
            return pyarrow.Table.from_pylist(self.samples)
        return pyarrow.Table.from_pylist(
            [
                {
                    "step": info.step,
                    "path": str(info.path),
                    "bytes": info.bytes,
                    "saved_at": info.saved_at,
                    "train_loss": info.meta.get("train_loss"),
                    "eval_loss": info.eval_loss,
                    "tags": list(info.tags),
                }
                for info in self.checkpoints
            ]
        )


def _arrays(columns: Columns) -> dict[str, np.ndarray]:
    names = [name for name in columns.names if columns.has_numbers(name)]
    return {name: columns[name].astype(np.int64) if _is_whole(name, columns) else columns[name] for name in names}


def _is_whole(name: str, columns: Columns) -> bool:
    return name in _WHOLE and bool(np.isfinite(columns[name]).all())
