"""Evaluation text that is training text is found by its content."""

from __future__ import annotations

import random

import numpy as np
import pytest

from chomp.data import overlap
from chomp.data.overlap import require_apart
from chomp.errors import DataError


def text(seed: int, words: int = 200) -> str:
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("abcdefghij", k=rng.randint(2, 8))) for _ in range(words))


def ids(document: object) -> np.ndarray:
    assert isinstance(document, str)
    return np.frombuffer(document.encode(), np.uint8).astype(np.int32) + 3


TRAIN = [*(text(seed) for seed in range(8)), "hi", "a" * 3000, ""]
OWN = text(99)


@pytest.mark.parametrize("stored", [list, lambda documents: [ids(one) for one in documents]], ids=["text", "ids"])
@pytest.mark.parametrize(
    ("document", "share"),
    [
        (TRAIN[3], "100%"),
        (TRAIN[5][150:900], "100%"),
        (OWN[:200] + TRAIN[7], "[6789][0-9]%"),
        ("hi", "100%"),
    ],
    ids=["whole", "cut", "embedded", "short"],
)
def test_training_text_is_refused(document: str, share: str, stored: object, monkeypatch: pytest.MonkeyPatch) -> None:
    # Blocks of a few windows: a passage may begin in one and end in the next.
    monkeypatch.setattr(overlap, "BLOCK", 100)
    training = [("the files", stored(TRAIN[:4])), ("the others", stored(TRAIN[4:]))]  # type: ignore[operator]
    where = "the files" if document == TRAIN[3] else "the others"
    with pytest.raises(DataError, match=rf"document 2 of the set is training text: {share} of its .* are in {where};"):
        require_apart(training, [("the set", [OWN, document])], ids)


@pytest.mark.parametrize("document", [OWN, OWN + TRAIN[0][:300], "", "b" * 3000], ids=["own", "header", "empty", "b"])
def test_other_text_is_not(document: str) -> None:
    require_apart([("the files", TRAIN)], [("the set", [document])], ids)
    require_apart([("the files", [ids(one) for one in TRAIN])], [("the set", [document])], ids)
