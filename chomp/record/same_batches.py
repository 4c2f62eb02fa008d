"""Whether two runs read the same batches at the same steps, and from which step on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chomp.config.compat import TEXT_COMPARED, rule_for
from chomp.record.formatting import one_line
from chomp.record.manifest import MANIFEST
from chomp.record.origin import Origin, read_origin
from chomp.record.run_record import RunRecord
from chomp.record.rundir import RunDir

# Beside the settings of `data`: how many sequences of which length a step reads, and in which order.
GEOMETRY = ("train.seq_len", "train.batch_size", "derived.train.grad_accum", "derived.data.shuffle_seed")
# A record that names more ancestors is not one that chomp wrote.
MOST_ANCESTORS = 100


@dataclass(frozen=True)
class SameBatches:
    """The verdict on two runs.

    Attributes:
        holds: whether the records show that both read the same batches at each of the steps.
        why: in one sentence.
        after, until: the steps at which that is so, `after` exclusive; `until` is None without an end.
    """

    holds: bool
    why: str
    after: int = 0
    until: int | None = None


@dataclass(frozen=True)
class _Ancestor:
    """A run, or one that it descends from; `is_self` for the run itself."""

    path: Path
    name: str
    is_self: bool = False


def same_batches(first: RunRecord, second: RunRecord) -> SameBatches:
    """Compare what decides about the batches of two runs.

    A batch follows from the text, the tokenizer, the order of documents, packing, the geometry of a step, and the step.
    Two runs from step 0 read the same batches if all of these are equal: the text by the fingerprint in a checkpoint
    (by its settings where there is no checkpoint). A fork continues at the place in the text where its checkpoint was,
    so that it reads the batches of its origin, and those of other forks, after the step at which they part. An attempt
    that accepted other text, and a rollback, which continues with the next text, end this.
    """
    differing = _differing(first, second)
    if differing:
        return SameBatches(False, f"they read different batches: {'; '.join(differing[:3])}")
    for one in (first, second):
        changed = sorted(name for name in one.accepted if _decides(name))
        if changed:
            return SameBatches(False, f"{one.name} was resumed with another {', '.join(changed)}")
    related = _related(first, second)
    if isinstance(related, str):
        return SameBatches(False, related)
    after, how = related
    until = min((step for one in (first, second) for step in one.rollbacks if step >= after), default=None)
    if until == after:
        return SameBatches(False, f"a rollback to step {until:,} continued with other text")
    end = "" if until is None else f", up to the rollback to step {until:,}"
    text = "text by its fingerprint" if first.identity and second.identity else "text by its settings alone"
    return SameBatches(True, f"same batches{how}: the same {text}, order and batch size{end}", after, until)


def _differing(first: RunRecord, second: RunRecord) -> list[str]:
    """The settings and digests that decide about batches and differ, each with both values."""
    has_identity = bool(first.identity and second.identity)
    left, right = ({**one.settings, **(one.identity if has_identity else {})} for one in (first, second))
    found = []
    for path in sorted(left.keys() | right.keys()):
        by_settings = not has_identity and path.startswith("data.") and rule_for(path).why == TEXT_COMPARED
        if (_decides(path) or by_settings) and left.get(path) != right.get(path):
            found.append(_said(path, left, right))
    # A fingerprint has several parts, and one sentence.
    return list(dict.fromkeys(found))


def _said(path: str, left: Mapping[str, Any], right: Mapping[str, Any]) -> str:
    if path.startswith(("data_fingerprint", "tokenizer_digest")):
        return "the text is not the same" if path.startswith("data") else "the tokenizer is not the same"
    values = (one_line(str(one.get(path)))[:40] for one in (left, right))
    return f"{path.removeprefix('derived.')} is {' and '.join(values)}"


def _decides(path: str) -> bool:
    """Whether a setting, or a part of a checkpoint's identity, decides about the batches."""
    if path in GEOMETRY or path in ("data", "train", "derived", "derived.train", "derived.data"):
        return True
    is_data = path == "data" or path.startswith(("data.", "data_fingerprint", "tokenizer_digest"))
    return is_data and rule_for(path).severity != "allowed"


def _related(first: RunRecord, second: RunRecord) -> tuple[int, str] | str:
    """The step after which both are on their own, and how they are related; or why that is not known."""
    lines = [list(_ancestry(one)) for one in (first, second)]
    for mine in lines[0]:
        for other in lines[1]:
            if mine.path == other.path:
                return _parted(first, second, mine, other)
    for one, line in zip((first, second), lines, strict=True):
        origin = one.summary.origin
        if origin is not None or one.forked_at:
            what = "an average" if origin is not None and origin.averaged else "a fork"
            return f"{one.name} is {what}, and the other run does not descend from {one_line(line[-1].name)}"
    return 0, ""


def _parted(first: RunRecord, second: RunRecord, mine: _Ancestor, other: _Ancestor) -> tuple[int, str]:
    """The same for two runs of which `mine` and `other` are the same ancestor."""
    after = max(first.forked_at, second.forked_at)
    if mine.is_self and other.is_self:
        return 0, ""
    if mine.is_self or other.is_self:
        return after, f" after step {after:,}, where one was forked from the other"
    return after, f" after step {after:,}: both descend from {one_line(mine.name)}"


def _ancestry(record: RunRecord) -> Iterator[_Ancestor]:
    """The run, its origin, the origin of that, as far as their directories are there."""
    run = record.run
    yield _Ancestor(run.path.resolve(), run.name, is_self=True)
    for _ in range(MOST_ANCESTORS):
        origin = read_origin(run)
        if origin is None:
            return
        place = _find_origin(run, origin)
        yield _Ancestor(place or Path(origin.path), origin.run)
        if place is None:
            return
        run = RunDir(place)


def origin_of(run: RunDir) -> Path | None:
    """The directory of the run that a fork comes from; None for any other run, and where it is not there."""
    origin = read_origin(run)
    return None if origin is None else _find_origin(run, origin)


def _find_origin(run: RunDir, origin: Origin) -> Path | None:
    """Where the origin of a fork is: at its path, or beside the fork if both were moved together."""
    for place in (Path(origin.path), run.path.resolve().parent / origin.run):
        manifest = place / "checkpoints" / str(origin.step) / MANIFEST
        try:
            if not place.is_dir():
                continue
            if manifest.exists() and hashlib.sha256(manifest.read_bytes()).hexdigest() != origin.manifest_sha256:
                # Another run has taken its place.
                continue
        except OSError:
            continue
        return place.resolve()
    return None
