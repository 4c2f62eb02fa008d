"""A sweep on disk: `sweeps/NAME` beside the queue.

`sweep.yaml` and `base.yaml` are the files that it was started with, `trials.json` says what became of each trial, and
`journal.log` is Optuna's. Only the queue's runner writes `trials.json` and `journal.log`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from chomp.config.load import parse_config, parse_resolved, read_text
from chomp.config.schema import Config
from chomp.errors import RunDirError
from chomp.queue.folder import QueueFolder
from chomp.record.json_text import parse_json
from chomp.record.manifest import CheckpointInfo, list_checkpoints
from chomp.record.rundir import RunDir, open_run, write_whole
from chomp.record.summary import Stamp, stamp
from chomp.sweep.prefix import check_prefix, prefix_steps
from chomp.sweep.spec import NAME, SweepError, SweepSpec, Value, overrides_of, parse_sweep, read_sweep

TrialState = Literal["asked", "waiting", "running", "complete", "pruned", "failed"]
UNFINISHED: tuple[TrialState, ...] = ("asked", "waiting", "running")
SWEEPS = "sweeps"
# Between two starts of a sweep these may change: they decide about no value of a trial.
_MAY_CHANGE = {"trials", "parallel", "prune", "gpus", "limit", "restarts"}


class Trial(BaseModel):
    """One trial.

    Attributes:
        number: from 0.
        values: of the settings of the space.
        job: its number in the queue; None until it is added.
        run_dir: as the job has it.
        score: the metric; None without an evaluation.
        step: of its newest evaluation.
        optuna: its number in Optuna's journal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    values: dict[str, Value]
    state: TrialState = "asked"
    job: int | None = None
    run_dir: str | None = None
    score: float | None = None
    step: int = 0
    reason: str = ""
    optuna: int | None = None

    @property
    def is_finished(self) -> bool:
        return self.state not in UNFINISHED

    def with_(self, **changes: Any) -> Trial:
        """The same trial with other values."""
        return self.model_copy(update=changes)


@dataclass(frozen=True)
class SweepFolder:
    """The files of one sweep."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def stopped(self) -> Path:
        """While this file exists, no new trial is added."""
        return self.path / "stopped"

    @property
    def journal(self) -> Path:
        return self.path / "journal.log"

    def stamps(self) -> tuple[Stamp, ...]:
        """Changes when one of its files does."""
        return tuple(stamp(self.path / name) for name in ("sweep.yaml", "trials.json", "stopped", "prefix.json"))

    def spec(self) -> SweepSpec:
        """What is swept.

        Raises:
            ConfigError: the file is damaged.
        """
        path = self.path / "sweep.yaml"
        return parse_sweep(read_text(path), str(path))

    def base(self) -> str:
        """The text of the configuration that all trials change."""
        return read_text(self.path / "base.yaml")

    def read(self) -> list[Trial]:
        """The trials so far.

        Raises:
            SweepError: the file is damaged.
        """
        path = self.path / "trials.json"
        try:
            return [Trial.model_validate(record) for record in json.loads(path.read_bytes())]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, ValidationError, TypeError, RecursionError) as error:
            raise SweepError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None

    def write(self, trials: list[Trial]) -> None:
        """Write all trials.

        Raises:
            OSError: the file cannot be written.
        """
        text = json.dumps([trial.model_dump(exclude_defaults=True) for trial in trials], indent=1)
        write_whole(self.path / "trials.json", text.encode())

    def read_prefix(self) -> Trial | None:
        """What became of the prefix that the sweep trains; None before its job is added."""
        try:
            return Trial.model_validate(parse_json((self.path / "prefix.json").read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, ValidationError) as error:
            raise SweepError(f"{self.path / 'prefix.json'} cannot be read: {str(error).splitlines()[0]}") from None

    def write_prefix(self, prefix: Trial) -> None:
        """Keep it.

        Raises:
            OSError: the file cannot be written.
        """
        write_whole(self.path / "prefix.json", prefix.model_dump_json(exclude_defaults=True).encode())

    def prefix_run(self, queue: QueueFolder) -> RunDir:
        """The run of the prefix that the sweep trains."""
        return RunDir(queue.around / "runs" / f"{self.name}-prefix")

    def read_importance(self) -> tuple[dict[str, float], str]:
        """By setting, its importance as it was computed last, and how; empty where it was not."""
        try:
            found = parse_json((self.path / "importance.json").read_bytes())
            return {str(key): float(value) for key, value in found["importance"].items()}, str(found["note"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}, ""

    def write_importance(self, importance: dict[str, float], note: str) -> None:
        """Keep what was computed.

        Raises:
            OSError: the file cannot be written.
        """
        text = json.dumps({"importance": importance, "note": note}, indent=1)
        write_whole(self.path / "importance.json", text.encode())


def trained_prefix(sweep: SweepFolder) -> int | None:
    """How many steps the sweep trains before its trials; None for none.

    Raises:
        ConfigError: a file of the sweep is damaged.
    """
    spec = sweep.spec()
    if spec.prefix is None or spec.config is None:
        return None
    config = parse_config(sweep.base(), source=spec.config, overrides=spec.overrides).config
    return prefix_steps(spec.prefix, config)


def list_sweeps(queue: QueueFolder) -> list[SweepFolder]:
    """The sweeps of a queue, by name."""
    folder = queue.around / SWEEPS
    try:
        return [SweepFolder(path) for path in sorted(folder.iterdir()) if (path / "sweep.yaml").is_file()]
    except OSError:
        return []


def find_sweep(queue: QueueFolder, name: str) -> SweepFolder:
    """The sweep with a name.

    Raises:
        SweepError: there is none.
    """
    for sweep in list_sweeps(queue):
        if sweep.name == name:
            return sweep
    known = ", ".join(sweep.name for sweep in list_sweeps(queue)) or "none"
    raise SweepError(f"there is no sweep {name}; there are: {known}")


def open_sweep(queue: QueueFolder, path: Path) -> tuple[SweepFolder, bool]:
    """The sweep of a file, started or continued; True if it is new.

    Raises:
        ConfigError: the file, or the configuration with the values of the first trial, cannot be used.
        SweepError: another sweep has its name.
    """
    spec, text = read_sweep(path)
    name = spec.name or path.stem
    if not re.fullmatch(NAME, name):
        raise SweepError(
            f"{path}: its name {name!r} cannot be that of runs; choose one with name: (letters, digits, . _ -)"
        )
    sweep = SweepFolder(queue.around / SWEEPS / name)
    base = read_text(path.parent / spec.config) if spec.config is not None else ""
    _check(queue, spec, base, path)
    is_new = not (sweep.path / "sweep.yaml").exists()
    taken = sorted((queue.around / "runs").glob(f"{sweep.name}-[0-9]*"))
    if spec.config is not None and spec.prefix is not None and sweep.prefix_run(queue).path.exists():
        taken.append(sweep.prefix_run(queue).path)
    if is_new and taken:
        raise SweepError(f"{taken[0]} is there already: choose another name for the sweep (name: …)")
    if not is_new:
        before = sweep.spec()
        changed = [
            name
            for name in SweepSpec.model_fields
            if name not in _MAY_CHANGE and getattr(before, name) != getattr(spec, name)
        ]
        if changed or sweep.base() != base:
            what = ", ".join(changed) or f"the text of {spec.config}"
            raise SweepError(
                f"{sweep.path} is a sweep with another {what}: choose another name for the new one (name: …), or undo "
                "the change to continue"
            )
    try:
        sweep.path.mkdir(parents=True, exist_ok=True)
        write_whole(sweep.path / "base.yaml", base.encode())
        write_whole(sweep.path / "sweep.yaml", text.encode())
        sweep.stopped.unlink(missing_ok=True)
    except OSError as error:
        raise SweepError(f"{sweep.path} cannot be written: {error.strerror}") from error
    return sweep, is_new


def _check(queue: QueueFolder, spec: SweepSpec, base: str, path: Path) -> None:
    """Refuse a sweep whose trials cannot be ranked, or whose configuration is wrong before any value is set."""
    if spec.config is None:
        config = _prefix_config(queue, spec)
    else:
        config = parse_config(base, source=str(path.parent / (spec.config or "")), overrides=spec.overrides).config
    if not config.train.eval_every:
        raise SweepError(f"{path}: train.eval_every must be above 0: trials are ranked by their evaluations")
    if spec.prefix is not None:
        check_prefix(spec, config, str(path))
    for number in range(spec.count if spec.method == "grid" else 0):
        # Values that do not fit each other are found here, before the first trial trains.
        if spec.prefix is None:
            parse_config(base, source=str(path), overrides=overrides_of(spec, spec.grid_point(number)))


def _prefix_config(queue: QueueFolder, spec: SweepSpec) -> Config:
    checkpoint = prefix_checkpoint(queue, spec)
    identity = checkpoint.meta.get("identity")
    if not isinstance(identity, dict):
        raise SweepError(f"checkpoint {checkpoint.path} does not say which settings it was made with")
    return parse_resolved(identity, source=str(checkpoint.path), overrides=spec.overrides).config


def prefix_checkpoint(queue: QueueFolder, spec: SweepSpec) -> CheckpointInfo:
    """The checkpoint from which all trials go on: the newest, where the sweep names no step.

    Raises:
        RunDirError: there is no such run or checkpoint.
    """
    assert spec.prefix is not None
    run = open_run(queue.resolve(spec.prefix.run or ""))
    found = [info for info in list_checkpoints(run.checkpoints) if spec.prefix.step in (None, info.step)]
    if not found:
        step = f"of step {spec.prefix.step} " if spec.prefix.step is not None else ""
        raise RunDirError(f"prefix: {run.path} has no checkpoint {step}to continue")
    return found[-1]
