"""Receipts of `chomp replay`: what was computed again, on what, and what is not as it was in the run."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from chomp.device.environment import environment_report, xla_flags
from chomp.errors import RunDirError
from chomp.parallel.mesh import Placement
from chomp.record.codec import json_line
from chomp.record.events import RunStarted
from chomp.record.line_files import LineAppender
from chomp.record.manifest import MANIFEST, DamagedCheckpoint, checkpoint_steps
from chomp.record.rundir import RunDir
from chomp.train.machine import device_facts, package_versions, what_rounds

# Variables that change where programs and memory are, and no number.
_NO_NUMBER = re.compile(
    r"XLA_FLAGS|.*CACHE.*|XLA_(PYTHON_)?CLIENT_.*|CUDA_(VISIBLE_DEVICES|DEVICE_ORDER|HOME)|NVIDIA_VISIBLE_DEVICES|.*LOG.*"
)


def what_differs(meta: Mapping[str, Any], started: RunStarted | None, placement: Placement) -> list[str]:
    """`NAME was X and is now Y` for each fact of an attempt that is another one now."""
    was = {**meta.get("versions", {}), **what_rounds(meta.get("device", {}))}
    now = {**package_versions(), **what_rounds(device_facts(placement))}
    found = [
        f"{name} was {was[name]} and is now {now.get(name, 'absent')}" for name in was if was[name] != now.get(name)
    ]
    if started is None:
        return found
    before, here = flags_of(started.environment), flags_of(environment_report(os.environ))
    names = sorted(before.keys() | here.keys())
    return found + [
        f"{name} was {before.get(name, 'not set')} and is now {here.get(name, 'not set')}"
        for name in names
        if before.get(name) != here.get(name)
    ]


def flags_of(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of an environment that may change a number, each flag of XLA by itself."""
    variables = {name: value for name, value in environment.items() if not _NO_NUMBER.fullmatch(name)}
    flags = xla_flags(environment)
    return variables | {name: value for name, value in flags.items() if not name.startswith("--xla_dump_")}


def write_receipt(run: RunDir, receipt: Mapping[str, Any]) -> None:
    """Append a receipt to the run's `receipts.jsonl`.

    Raises:
        RunDirError: the file cannot be written.
    """
    try:
        file = LineAppender(run.receipts)
        written = file.append(json_line({"v": 1, "t": round(time.time(), 3), **receipt}))
        file.close()
    except OSError as error:
        raise RunDirError(f"the receipt cannot be written: {run.receipts}: {error.strerror}") from None
    if not written:
        raise RunDirError(f"the receipt cannot be written: {run.receipts}; make room on the disk")


def receipt_of(
    run: RunDir,
    seed: int,
    stretches: Sequence[Mapping[str, Any]],
    differing: Sequence[str],
    device: Mapping[str, Any],
    damaged: Sequence[DamagedCheckpoint] = (),
) -> dict[str, Any]:
    """What was computed again, on what, and what came of it; certified only where nothing is damaged or missing.

    Args:
        damaged: checkpoints at which no stretch was certified.
        device: `device_facts` of the computation.
        stretches: each with `begin`, `end` and `certified`; the digests of the manifests at both ends, which name every
            byte that was compared, are added.
    """
    return {
        "certified": bool(stretches)
        and not damaged
        and all(stretch["certified"] and not stretch["missing_rows"] for stretch in stretches),
        "run": run.name,
        "seed": seed,
        "steps": sum(stretch["end"] - stretch["begin"] for stretch in stretches),
        "of_steps": max(checkpoint_steps(run.checkpoints)),
        "stretches": [
            {**stretch, "manifests": [_manifest_of(run, stretch[end]) for end in ("begin", "end")]}
            for stretch in stretches
        ],
        "damaged": [{"step": one.step, "reason": one.reason} for one in damaged],
        "differs": list(differing),
        "versions": package_versions(),
        "device": device,
        "environment": environment_report(os.environ),
    }


def _manifest_of(run: RunDir, step: int) -> str | None:
    """The digest of a checkpoint's manifest; None for the start of the run."""
    try:
        return hashlib.sha256((run.checkpoints / str(step) / MANIFEST).read_bytes()).hexdigest()
    except OSError:
        return None
