"""A run that continues on another mesh, or in another number of processes, is the same run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.engine import write_corpus
from tests.parallel.group import free_port, outputs
from tests.parallel.resharding import Trained, store
from tests.references import References

WHOLE, SAME, FOUR, ONE, BACK = "1x8:0:35:fsdp8", "1x8:10:35:", "2x2:10:30:", "1x1:10:30:one", "1x8:30:35:"
TWO_PROCESSES = "1x8:10:30:both"


def start(corpus: Path, checkpoints: Path, devices: int, *args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.parallel.resharding", corpus, checkpoints, *args]
    env = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)}
    return subprocess.Popen([*map(str, command)], env=env, stdout=subprocess.PIPE, text=True)


def said(*processes: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """What each process computed, by attempt."""
    # Gloo prints, too.
    lines = [[line for line in printed.splitlines() if line.startswith("{")] for printed in outputs(processes)]
    return [dict(item for line in each for item in json.loads(line).items()) for each in lines]


def train(folder: Path) -> None:
    corpus = write_corpus(folder / "corpus")
    (found,) = said(start(corpus, folder / "checkpoints", 8, WHOLE, SAME, FOUR, ONE, BACK))
    (folder / "eight.json").write_text(json.dumps(found))


@pytest.fixture
def folder(references: References) -> Path:
    """Text, and checkpoints of the uninterrupted run."""
    return references.folder("resharding", train)


@pytest.fixture
def eight(folder: Path) -> dict[str, Any]:
    """What a process with eight devices computed on meshes of eight, four and one of them."""
    found: dict[str, Any] = json.loads((folder / "eight.json").read_text())
    return found


def require_same(found: dict[str, Any], whole: dict[str, Any], first: int) -> None:
    """The batches of the uninterrupted run after step `first`, and its losses but for the order of sums."""
    steps = slice(first, first + len(found["losses"]))
    assert found["batches"] == whole["batches"][steps]
    assert found["losses"] == pytest.approx(whole["losses"][steps], abs=1e-5, rel=0)


def test_another_mesh_continues_the_run(eight: dict[str, Any]) -> None:
    whole = eight[WHOLE]
    assert len(set(whole["batches"])) == 35
    require_same(eight[FOUR], whole, 10)
    require_same(eight[ONE], whole, 10)
    require_same(eight[BACK], whole, 30)
    assert eight[FOUR]["tokens"] == eight[ONE]["tokens"]
    # The same mesh continues to the same bits.
    assert eight[SAME]["losses"] == whole["losses"][10:]
    assert eight[SAME]["last"] == whole["last"]
    # So does the kept program, which the first attempt on a mesh has compiled.
    assert {name: found["in_run"] for name, found in eight.items()} == {
        WHOLE: "kept", SAME: "loaded", FOUR: "kept", ONE: "kept", BACK: "loaded",
    }  # fmt: skip


def test_another_number_of_processes_continues_the_run(folder: Path, eight: dict[str, Any], tmp_path: Path) -> None:
    port, corpus = free_port(), folder / "corpus"
    checkpoints = Path(shutil.copytree(folder / "checkpoints", tmp_path / "checkpoints"))
    for found in said(*(start(corpus, checkpoints, 4, TWO_PROCESSES, index, port) for index in range(2))):
        require_same(found[TWO_PROCESSES], eight[WHOLE], 10)
    alone = Trained(corpus, 1, 1).attempt(store(checkpoints / "both"), 30, 35, None)
    require_same(alone, eight[WHOLE], 30)
