"""Random damage of every kind of input ends in one sentence and an exit code of the table, never in a traceback."""

from __future__ import annotations

import os
from pathlib import Path

import datasets
import pytest

from tests.fuzz.fuzzing import Kind, fuzz
from tests.fuzz.kinds import KINDS


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets-cache")
    monkeypatch.chdir(tmp_path)


def require_sentences(kind: Kind, folder: Path, count: int) -> None:
    folder.mkdir()
    tally = fuzz(kind, folder, count)
    print(tally)
    failures = "\n\n".join(tally.failures[:5])
    assert not tally.failures, f"{tally}\n{len(tally.failures)} failures, the first of them:\n{failures}"
    assert tally.codes[0] < tally.codes.total(), f"{kind.name}: no input was refused: {tally}"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_damaged_input_is_refused_in_a_sentence(kind: Kind, tmp_path: Path) -> None:
    require_sentences(kind, tmp_path / "inputs", kind.count)


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_thousands_of_damaged_inputs(kind: Kind, tmp_path: Path) -> None:
    require_sentences(kind, tmp_path / "inputs", int(os.environ.get("CHOMP_FUZZ", "3000")))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.damages], ids=lambda kind: kind.name)
def test_the_intact_input_is_used(kind: Kind, tmp_path: Path) -> None:
    """Otherwise every damage would be refused for another reason."""
    from random import Random

    kind.make(tmp_path)
    ended = kind.use(tmp_path, Random(0))
    assert ended.code == 0, ended.said
