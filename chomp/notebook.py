"""`chomp.Run`: a run's record as NumPy arrays and Arrow tables."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from chomp.errors import CheckpointError
from chomp.record.columns import Columns
from chomp.record.line_files import parse_line
from chomp.record.manifest import CheckpointInfo, list_checkpoints
from chomp.record.notes import Notes, read_notes
from chomp.record.run_record import RunRecord, load_record
from chomp.record.status import Status

if TYPE_CHECKING:
    import pyarrow

_WHOLE = frozenset({"step", "tokens_seen"})


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
        """The numbers of `metrics.jsonl`: for each its values by row; NaN where a row has none."""
        return _arrays(self._record.view.rows)

    @cached_property
    def evaluations(self) -> dict[str, np.ndarray]:
        """The evaluations: step, t, loss (nats per token), bpb (bits per byte), perplexity, seconds."""
        return _arrays(self._record.view.evals)

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
        """Another measure of progress for each row: loss tokens, seconds in training steps, or training FLOPs."""
        return self._record.x_of(axis, self.rows["step"])

    def to_arrow(self, table: Literal["rows", "evaluations", "samples", "checkpoints"]) -> pyarrow.Table:
        """One of the four as an Arrow table, which Polars, pandas and DuckDB read."""
        import pyarrow

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
