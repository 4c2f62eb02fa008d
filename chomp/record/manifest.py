"""What makes a folder a checkpoint, and how its bytes are verified.

A folder is a checkpoint once it has a `manifest.json`: the engine writes that file last.
It lists every other file with its size and SHA-256. `meta.json` beside it says what the
checkpoint is (step, configuration, losses) and needs no array library.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from chomp.errors import CheckpointError, ConfigError
from chomp.record.formatting import one_line, size
from chomp.record.json_text import number, parse_json
from chomp.record.rundir import RunDir, fsync_folder, is_step, write_whole

MANIFEST = "manifest.json"
META = "meta.json"
TAGS = "tags.json"
EVALUATION = "evaluation.json"
FORMAT_VERSION = 1
HASH_BLOCK_BYTES = 1 << 20
# A checkpoint may be tagged and evaluated after it was written, so neither is sealed.
UNSEALED = frozenset({MANIFEST, TAGS, EVALUATION})

# What `--resume` names: `none`, `latest` or a step.
Resume = str | int
# Size and SHA-256 of files by their paths inside the checkpoint.
FileTable = dict[str, dict[str, Any]]


@dataclass(frozen=True, repr=False)
class CheckpointInfo:
    """One checkpoint as its own files describe it; `evaluated` is an evaluation of its step after the save."""

    step: int
    path: Path
    bytes: int
    meta: dict[str, Any]
    tags: tuple[str, ...] = field(default=())
    evaluated: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        # `meta` has all settings, several kilobytes.
        scored = f", eval loss {self.eval_loss:.4f}" if self.eval_loss is not None else ""
        tags = "".join(f", #{tag}" for tag in self.tags)
        return f"<Checkpoint step {self.step} in {one_line(str(self.path))}, {size(self.bytes)}{scored}{tags}>"

    @property
    def saved_at(self) -> float:
        """Unix time at which the save began."""
        return self._number("saved_at") or 0.0

    @property
    def eval_loss(self) -> float | None:
        return self._number("eval_loss")

    @property
    def eval_bpb(self) -> float | None:
        return self._number("eval_bpb")

    def rank(self, by: str | None) -> float | None:
        """That by which the best checkpoints are chosen: the loss of the held-out text, or the score of `by`."""
        if by is None:
            return self.eval_loss
        tables = (table.get("scores") for table in (self.meta, self.evaluated))
        found = (number(scores.get(by)) for scores in tables if isinstance(scores, dict))
        return next((value for value in found if math.isfinite(value)), None)

    @property
    def best_by(self) -> str | None:
        """The evaluation set or task by which its run chose the best checkpoints; None: the held-out text."""
        found = self.meta.get("best_by")
        return found if isinstance(found, str) else None

    def _number(self, key: str) -> float | None:
        found = (number(table.get(key)) for table in (self.meta, self.evaluated))
        return next((value for value in found if math.isfinite(value)), None)


def seal(folder: Path, meta: dict[str, Any]) -> int:
    """Make `folder` a checkpoint: write its metadata, then its manifest.

    Returns:
        Bytes of all listed files.
    """
    describe(folder, meta)
    return list_in_manifest(folder, meta["step"], hash_files(folder, files_of(folder)))


def describe(folder: Path, meta: dict[str, Any]) -> None:
    """Write a checkpoint's metadata, the last of the files that its manifest lists."""
    write_whole(folder / META, json.dumps(meta, indent=1).encode())


def files_of(folder: Path) -> list[str]:
    """The files that a manifest of `folder` must list, by their paths inside it."""
    return [path.relative_to(folder).as_posix() for path in _listed(folder)]


def hash_files(folder: Path, names: Sequence[str]) -> FileTable:
    """Size and digest of each of these files, which are on the disk afterwards, and so are their folders."""
    files: FileTable = {}
    for name in names:
        digest, size = _hash(folder / name, sync=True)
        files[name] = {"bytes": size, "sha256": digest}
    for inner in {(folder / name).parent for name in names}:
        fsync_folder(inner)
    return files


def list_in_manifest(folder: Path, step: int, files: FileTable) -> int:
    """Write the manifest, with which `folder` becomes a checkpoint.

    Returns:
        Bytes of all listed files.
    """
    manifest = {"format": FORMAT_VERSION, "step": step, "files": files}
    write_whole(folder / MANIFEST, json.dumps(manifest, indent=1).encode())
    return sum(entry["bytes"] for entry in files.values())


def list_checkpoints(folder: Path) -> list[CheckpointInfo]:
    """The checkpoints in a run's `checkpoints/`, oldest step first; unsealed folders are not among them."""
    found = []
    for path in _sealed(folder):
        try:
            found.append(read_info(path))
        except CheckpointError:
            # A damaged description still occupies its step: listed, so that it is refused by name when chosen.
            found.append(CheckpointInfo(step=int(path.name), path=path, bytes=0, meta={}))
    return sorted(found, key=lambda info: info.step)


def find_checkpoint(run: RunDir, step: int) -> CheckpointInfo:
    """The checkpoint of a run's step.

    Raises:
        CheckpointError: there is none; names the steps that have one.
    """
    infos = {info.step: info for info in list_checkpoints(run.checkpoints)}
    if step not in infos:
        have = ", ".join(map(str, infos)) or "none"
        raise CheckpointError(f"{run.path} has no checkpoint of step {step} (it has: {have})")
    return infos[step]


def checkpoint_steps(folder: Path) -> list[int]:
    """The steps of `list_checkpoints`, without reading any description."""
    return sorted(int(path.name) for path in _sealed(folder))


def _sealed(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if is_step(path.name) and (path / MANIFEST).exists()]


def read_info(folder: Path) -> CheckpointInfo:
    """Read one checkpoint's description.

    Raises:
        CheckpointError: a description file is missing or damaged.
    """
    files = _listed_files(folder)
    meta = _read_json(folder / META)
    if not isinstance(meta, dict):
        raise CheckpointError(f"checkpoint {folder}: {META} is damaged")
    size = sum(entry["bytes"] for entry in files.values())
    tags, evaluated = tuple(_read_tags(folder)), _read_evaluation(folder)
    return CheckpointInfo(step=int(folder.name), path=folder, bytes=size, meta=meta, tags=tags, evaluated=evaluated)


def verify(
    folder: Path, on_bytes: Callable[[int], None] = lambda _: None, *, part: int = 0, parts: int = 1
) -> list[str]:
    """What is wrong with a checkpoint's bytes, one sentence per file; empty if all is as it was written.

    Args:
        folder: the checkpoint.
        on_bytes: called with the bytes of each block that was hashed; may raise to stop.
        part: which of the `parts` of its files, which together are all, is verified.
        parts: of about equal size; each listed file is in one of them.
    """
    try:
        files = _listed_files(folder)
    except CheckpointError:
        return [f"{MANIFEST} is missing or damaged"]
    names = _parts({name: entry["bytes"] for name, entry in files.items()}, parts)[part]
    problems = (_problem(folder / name, name, files[name], on_bytes) for name in names)
    return [problem for problem in problems if problem is not None]


def _parts(sizes: dict[str, int], count: int) -> list[list[str]]:
    """Names dealt out so that each part has about as many bytes, each part in order."""
    parts: list[list[str]] = [[] for _ in range(count)]
    dealt = [0] * count
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        least = dealt.index(min(dealt))
        parts[least].append(name)
        dealt[least] += sizes[name]
    return [sorted(part) for part in parts]


@dataclass(frozen=True)
class DamagedCheckpoint:
    """A checkpoint that is not used because its bytes are damaged, and what is wrong with them."""

    step: int
    reason: str


def newest_good(
    infos: Sequence[CheckpointInfo], verified: Callable[[Path], list[str]] = verify
) -> tuple[CheckpointInfo | None, list[DamagedCheckpoint]]:
    """The newest checkpoint whose bytes are intact, and the damaged ones that are newer.

    Args:
        infos: oldest first.
        verified: what is wrong with the bytes of the checkpoint in a folder.
    """
    refused: list[DamagedCheckpoint] = []
    for info in reversed(infos):
        problems = verified(info.path)
        if not problems:
            return info, refused
        refused.append(DamagedCheckpoint(info.step, "; ".join(problems)))
    return None, refused


def parse_resume(value: str) -> Resume:
    """Read the value of `--resume`.

    Raises:
        ConfigError: it is neither `none` nor `latest` nor a step.
    """
    if value in ("none", "latest"):
        return value
    if is_step(value):
        return int(value)
    raise ConfigError(f"--resume {value}: expected none, latest or a step number")


def listed_names(folder: Path) -> list[str]:
    """The files that the manifest lists, by their paths inside the checkpoint.

    Raises:
        CheckpointError: the manifest is missing or damaged.
    """
    return sorted(_listed_files(folder))


def _problem(path: Path, name: str, entry: dict[str, Any], on_bytes: Callable[[int], None]) -> str | None:
    try:
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != entry["bytes"]:
            return f"{name} has {path.stat().st_size:,} bytes instead of {entry['bytes']:,}"
        if _hash(path, on_bytes)[0] != entry["sha256"]:
            return f"{name} has changed: its SHA-256 does not match"
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}"
    return None


def _listed_files(folder: Path) -> FileTable:
    """The manifest's files: for each its size and digest.

    Raises:
        CheckpointError: the manifest is missing, damaged, or that of another step.
    """
    manifest = _read_json(folder / MANIFEST)
    files: FileTable = {}
    try:
        for name, entry in manifest["files"].items():
            files[name] = {"bytes": int(entry["bytes"]), "sha256": str(entry["sha256"])}
        whole = META in files and int(manifest["step"]) == int(folder.name)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        whole = False
    if not whole:
        raise CheckpointError(f"checkpoint {folder}: {MANIFEST} is damaged")
    return files


def set_tags(folder: Path, tags: list[str]) -> None:
    """Replace a checkpoint's tags; a tagged checkpoint is never deleted by retention."""
    write_whole(folder / TAGS, json.dumps(sorted(set(tags))).encode())


def _read_tags(folder: Path) -> list[str]:
    """The tags; none if the file is damaged, for tags are not part of the checkpoint."""
    try:
        tags = _read_json(folder / TAGS)
    except CheckpointError:
        return []
    return [str(tag) for tag in tags] if isinstance(tags, list) else []


def set_evaluation(
    folder: Path, loss: float | None, bpb: float | None, scores: Mapping[str, float] = MappingProxyType({})
) -> None:
    """Note an evaluation of a checkpoint's step that came after the save; `scores` are those of sets and tasks."""
    found = {"eval_loss": loss, "eval_bpb": bpb} | ({"scores": dict(scores)} if scores else {})
    write_whole(folder / EVALUATION, json.dumps(found).encode())


def _read_evaluation(folder: Path) -> dict[str, Any]:
    """The evaluation after the save; empty if there was none or the file is damaged."""
    try:
        found = _read_json(folder / EVALUATION)
    except CheckpointError:
        return {}
    return found if isinstance(found, dict) else {}


def _read_json(path: Path) -> Any:
    try:
        return parse_json(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint {path.parent}: {path.name} is missing") from None
    except ValueError:
        raise CheckpointError(f"checkpoint {path.parent}: {path.name} is damaged") from None
    except OSError as error:
        raise CheckpointError(f"checkpoint {path.parent}: {path.name} cannot be read: {error.strerror}") from None


def _listed(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in UNSEALED)


def _hash(path: Path, on_bytes: Callable[[int], None] = lambda _: None, *, sync: bool = False) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
            on_bytes(len(block))
        if sync:
            os.fsync(file.fileno())
    return digest.hexdigest(), size
