"""Where a forked or averaged run comes from: `origin.json`, written once with the run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from chomp.record.formatting import plural
from chomp.record.json_text import parse_json
from chomp.record.rundir import RunDir, write_whole


@dataclass(frozen=True)
class Origin:
    """The checkpoint that a run was forked from, or the newest of those whose average it is.

    Attributes:
        run: name of the run it belonged to.
        path: that run's absolute path at the time.
        step: the checkpoint's.
        manifest_sha256: digest of the checkpoint's manifest, which names every byte of it.
        forked_at: Unix time.
        averaged: how many checkpoints were averaged; 0 for a fork.
        runs: absolute paths of the runs whose checkpoints were averaged, oldest step first; () for a fork.
    """

    run: str
    path: str
    step: int
    manifest_sha256: str
    forked_at: float
    averaged: int = 0
    runs: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """`fork of`, or what an average is."""
        return f"average of {plural(self.averaged, 'checkpoint')} of" if self.averaged else "fork of"

    @property
    def words(self) -> str:
        """What the run is, with the names of all runs that it comes from; paths where two have one name."""
        names = [Path(path).name for path in self.runs]
        named = (names if len(set(names)) == len(names) else list(self.runs)) or [self.run]
        return f"{self.kind} {', '.join(named)} step {self.step}"


def read_origin(run: RunDir) -> Origin | None:
    """The origin of a forked or averaged run; None for any other run, and where the file is damaged."""
    try:
        record = parse_json(run.origin.read_bytes())
        return Origin(
            run=str(record["run"]),
            path=str(Path(record["path"])),
            step=int(record["step"]),
            manifest_sha256=str(record["manifest_sha256"]),
            forked_at=float(record["forked_at"]),
            averaged=int(record.get("averaged", 0)),
            runs=tuple(str(Path(path)) for path in record.get("runs", ())),
        )
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def write_origin(run: RunDir, origin: Origin) -> None:
    """Write the origin of a run that is being made."""
    record = asdict(origin)
    if not origin.averaged:
        del record["averaged"], record["runs"]
    write_whole(run.origin, json.dumps(record, indent=1).encode())
