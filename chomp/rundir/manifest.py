"""What a checkpoint folder must contain to exist, and how to tell whether it still does.

A checkpoint is real once `manifest.json` stands in it: the engine writes that file last.
It lists every other file with its size and SHA-256. `meta.json` beside it says what the
checkpoint is (step, configuration, data position, losses) and needs no array library.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chomp.errors import CheckpointError
from chomp.rundir.paths import fsync_folder, write_whole

MANIFEST = "manifest.json"
META = "meta.json"
TAGS = "tags.json"
FORMAT_VERSION = 1
HASH_BLOCK_BYTES = 1 << 20
# A person may tag a checkpoint after it was written, so its tags are not sealed.
UNSEALED = frozenset({MANIFEST, TAGS})


@dataclass(frozen=True)
class CheckpointInfo:
    """One checkpoint as its own files describe it."""

    step: int
    path: Path
    bytes: int
    meta: dict[str, Any]
    tags: tuple[str, ...] = field(default=())

    @property
    def saved_at(self) -> float:
        """Unix time at which the save began."""
        return float(self.meta.get("saved_at", 0.0))

    @property
    def eval_loss(self) -> float | None:
        return self.meta.get("eval_loss")


def seal(folder: Path, meta: dict[str, Any]) -> int:
    """Make `folder` a checkpoint: write its metadata, then its manifest.

    Returns:
        Bytes of all listed files.
    """
    write_whole(folder / META, json.dumps(meta, indent=1).encode())
    files = {}
    for path in _listed(folder):
        digest, size = _hash(path, sync=True)
        files[path.relative_to(folder).as_posix()] = {"bytes": size, "sha256": digest}
    for inner in {path.parent for path in _listed(folder)}:
        fsync_folder(inner)
    manifest = {"format": FORMAT_VERSION, "step": meta["step"], "files": files}
    write_whole(folder / MANIFEST, json.dumps(manifest, indent=1).encode())
    return sum(entry["bytes"] for entry in files.values())


def list_checkpoints(folder: Path) -> list[CheckpointInfo]:
    """The checkpoints in a run's `checkpoints/`, oldest step first; unsealed folders are not among them."""
    if not folder.is_dir():
        return []
    found = []
    for path in folder.iterdir():
        if path.name.isdecimal() and (path / MANIFEST).exists():
            try:
                found.append(read_info(path))
            except CheckpointError:
                # A damaged description still occupies its step: listed, so that it is refused by name when chosen.
                found.append(CheckpointInfo(step=int(path.name), path=path, bytes=0, meta={}))
    return sorted(found, key=lambda info: info.step)


def read_info(folder: Path) -> CheckpointInfo:
    """Read one checkpoint's description.

    Raises:
        CheckpointError: a description file is missing or damaged.
    """
    manifest = _read_json(folder / MANIFEST)
    meta = _read_json(folder / META)
    try:
        size = sum(int(entry["bytes"]) for entry in manifest["files"].values())
        step = int(manifest["step"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CheckpointError(f"checkpoint {folder}: {MANIFEST} is damaged") from None
    return CheckpointInfo(step=step, path=folder, bytes=size, meta=meta, tags=tuple(_read_tags(folder)))


def verify(folder: Path) -> list[str]:
    """What is wrong with a checkpoint's bytes, one sentence per file; empty if all is as it was written."""
    try:
        manifest = _read_json(folder / MANIFEST)
        files = dict(manifest["files"])
    except (CheckpointError, KeyError, TypeError, ValueError):
        return [f"{MANIFEST} is missing or damaged"]
    problems = []
    for name, entry in sorted(files.items()):
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif path.stat().st_size != entry["bytes"]:
            problems.append(f"{name} has {path.stat().st_size:,} bytes instead of {entry['bytes']:,}")
        elif _hash(path)[0] != entry["sha256"]:
            problems.append(f"{name} has changed: its SHA-256 does not match")
    return problems


def set_tags(folder: Path, tags: list[str]) -> None:
    """Replace a checkpoint's tags; a tagged checkpoint is never deleted by retention."""
    write_whole(folder / TAGS, json.dumps(sorted(set(tags))).encode())


def _read_tags(folder: Path) -> list[str]:
    path = folder / TAGS
    if not path.exists():
        return []
    tags = _read_json(path)
    return [str(tag) for tag in tags] if isinstance(tags, list) else []


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint {path.parent}: {path.name} is missing") from None
    except ValueError:
        raise CheckpointError(f"checkpoint {path.parent}: {path.name} is damaged") from None


def _listed(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in UNSEALED)


def _hash(path: Path, *, sync: bool = False) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
        if sync:
            os.fsync(file.fileno())
    return digest.hexdigest(), size
