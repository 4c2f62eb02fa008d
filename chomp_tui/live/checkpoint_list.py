"""Follows the checkpoints of one run or of all in a thread, compared with settings; never touches a widget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chomp.config import Config, derive, derived_section
from chomp.config.compat import NOT_SETTINGS, Difference, compare
from chomp.config.model import FROM_TOKENIZER
from chomp.errors import ChompError
from chomp.record.lock import live_holder
from chomp.record.manifest import (
    EVALUATION,
    HELD_OUT,
    MANIFEST,
    META,
    TAGS,
    CheckpointInfo,
    checkpoint_steps,
    read_info,
    texts_of,
)
from chomp.record.rundir import RunDir, list_runs
from chomp.record.summary import Stamp, stamp
from chomp_tui.platform.poller import Poller

INTERVAL_SECONDS = 3.0


@dataclass(frozen=True)
class Reference:
    """Settings to compare checkpoints with, and the name of their file."""

    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class CheckpointRow:
    """One checkpoint as a list needs it.

    Attributes:
        damaged: what is wrong with its description, None if it can be read.
        is_best: whether its evaluation is the lowest of its run.
        pid: of the engine that writes the run now.
        own: differences from the settings that the run was last started with; None where one of both is unreadable.
        current: differences from the current configuration; None where there is none.
        total_steps: of the run as it was last started.
    """

    run: Path
    step: int
    path: Path
    saved_at: float = 0.0
    train_loss: float | None = None
    eval_loss: float | None = None
    rank: float | None = None
    bytes: int = 0
    tags: tuple[str, ...] = ()
    device: str = ""
    damaged: str | None = None
    is_latest: bool = False
    is_best: bool = False
    pid: int | None = None
    own: tuple[Difference, ...] | None = None
    current: tuple[Difference, ...] | None = None
    total_steps: int | None = None

    @property
    def key(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class Checkpoints:
    """All that the checkpoints screen shows.

    Attributes:
        run: whose checkpoints these are, None for all runs.
        rows: runs by their newest checkpoint, newest first; within a run the latest step first.
        reference: name of the current configuration, None where there is none.
        problem: one sentence if nothing can be read.
    """

    run: Path | None = None
    rows: tuple[CheckpointRow, ...] = ()
    reference: str | None = None
    problem: str | None = None


class CheckpointReader:
    """Reads checkpoints again and again; what has not changed is not read twice."""

    def __init__(self) -> None:
        self._infos: dict[Path, tuple[tuple[Stamp, ...], CheckpointInfo | str]] = {}
        self._settings: dict[Path, tuple[Stamp, dict[str, Any] | None]] = {}

    def read(self, root: Path, run: Path | None, reference: Reference | None) -> Checkpoints:
        """The checkpoints of `run`, or of all runs in `root`."""
        try:
            paths = [run] if run is not None else list_runs(root)
            groups = [rows for path in paths if (rows := self._rows(RunDir(path), reference))]
        except OSError as error:
            return Checkpoints(run, problem=f"{error.filename or root} cannot be read: {error.strerror}")
        groups.sort(key=lambda rows: -max(row.saved_at for row in rows))
        return Checkpoints(run, tuple(row for rows in groups for row in rows), reference.name if reference else None)

    def _rows(self, run: RunDir, reference: Reference | None) -> list[CheckpointRow]:
        own, holder = self._own_settings(run), live_holder(run.lock)
        steps = list(reversed(checkpoint_steps(run.checkpoints)))
        scored, rows = self._scored_now(run, steps), []
        for step in steps:
            row = self._row(run.path, run.checkpoints / str(step), own, reference, scored)
            rows.append(replace(row, pid=holder.pid if holder else None))
        if rows:
            rows[0] = replace(rows[0], is_latest=True)
        measured = [row for row in rows if row.rank is not None]
        if measured:
            # As retention has it: of two equal ones the later.
            best = min(measured, key=lambda row: (row.rank, -row.step))
            rows[rows.index(best)] = replace(best, is_best=True)
        return rows

    def _scored_now(self, run: RunDir, steps: Sequence[int]) -> str | None:
        """Digest of the text by which the newest readable checkpoint was judged: scores of other text are older."""
        for step in steps:
            info = self._info(run.checkpoints / str(step))
            if not isinstance(info, str):
                return texts_of(info.meta).get(info.best_by or HELD_OUT)
        return None

    def _row(
        self, run: Path, path: Path, own: dict[str, Any] | None, reference: Reference | None, scored: str | None
    ) -> CheckpointRow:
        info = self._info(path)
        if isinstance(info, str):
            return CheckpointRow(run, int(path.name), path, damaged=info)
        meta = info.meta
        identity = meta.get("identity")
        train = own.get("train") if own else None
        total = train.get("steps") if isinstance(train, dict) else None
        device = meta.get("device")
        return CheckpointRow(
            run,
            info.step,
            path,
            saved_at=info.saved_at,
            train_loss=_number(meta.get("train_loss")),
            eval_loss=info.eval_loss,
            rank=info.rank(info.best_by, scored),
            bytes=info.bytes,
            tags=info.tags,
            device=str(device.get("name", "")) if isinstance(device, dict) else "",
            own=differences(identity, own) if isinstance(identity, dict) and own is not None else None,
            current=differences(identity, reference.settings) if isinstance(identity, dict) and reference else None,
            total_steps=total if isinstance(total, int) else None,
        )

    def _info(self, path: Path) -> CheckpointInfo | str:
        stamps = tuple(stamp(path / name) for name in (MANIFEST, META, TAGS, EVALUATION))
        if path not in self._infos or self._infos[path][0] != stamps:
            try:
                found: CheckpointInfo | str = read_info(path)
            except ChompError as error:
                found = str(error)
            self._infos[path] = (stamps, found)
        return self._infos[path][1]

    def _own_settings(self, run: RunDir) -> dict[str, Any] | None:
        state = stamp(run.config_resolved)
        if run.path not in self._settings or self._settings[run.path][0] != state:
            try:
                settings: dict[str, Any] | None = run.load_resolved()
            except ChompError:
                settings = None
            self._settings[run.path] = (state, settings)
        return self._settings[run.path][1]


def settings_of(config: Config) -> dict[str, Any]:
    """A checked configuration as checkpoints are compared with it; what a tokenizer decides is left out."""
    settings = {**config.model_dump(), "derived": derived_section(derive(config))}
    left_out = {"vocab_size"} if config.model.vocab_size is None else set()
    if config.data.tokenizer.auto_set_special_tokens:
        left_out |= set(FROM_TOKENIZER) - {"vocab_size"}
    settings["model"] = {name: value for name, value in settings["model"].items() if name not in left_out}
    return settings


def differences(identity: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Difference, ...]:
    """What differs between a checkpoint and settings, as far as it can be known before the text is opened."""
    saved = {name: value for name, value in identity.items() if name not in NOT_SETTINGS}
    model, wanted = saved.get("model"), settings.get("model")
    if isinstance(model, Mapping) and isinstance(wanted, Mapping):
        undecided = {name for name in FROM_TOKENIZER if name not in wanted}
        saved["model"] = {name: value for name, value in model.items() if name not in undecided}
    # Derived numbers that may change follow from settings that are listed themselves.
    found = compare(saved, settings)
    return tuple(item for item in found if not (item.path.startswith("derived.") and item.severity == "allowed"))


def names(differences: Sequence[Difference], severity: str) -> list[str]:
    """The settings that differ with this severity."""
    return [item.path for item in differences if item.severity == severity]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


class CheckpointList(Poller[Checkpoints]):
    """Follows checkpoints.

    Args:
        root: the folder of runs.
        deliver: called in the thread with each state that differs from the one before.
    """

    def __init__(self, root: Path, deliver: Callable[[Checkpoints], None]) -> None:
        super().__init__(deliver, interval_seconds=INTERVAL_SECONDS, name="checkpoint list")
        self._root = root
        self._reader = CheckpointReader()
        self._subject: tuple[Path | None, Reference | None] = (None, None)
        self._last: Checkpoints | None = None

    def follow(self, run: Path | None, reference: Reference | None) -> None:
        """Follow this run, or all, and compare with this configuration."""
        self._subject = (run, reference)
        self.poke()

    def look(self) -> Iterator[Checkpoints]:
        found = self._reader.read(self._root, *self._subject)
        if found != self._last:
            self._last = found
            yield found
