"""llama.cpp loads an exported file, divides text into the same ids, and computes what chomp computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cyllama.llama.llama_cpp as llama_cpp
import numpy as np
import pytest

from chomp.export.options import ExportOptions
from tests.export.test_export import TEXT
from tests.verify.checks import NEW, exported

# Shares of the largest logit. Beside the weights' own rounding, llama.cpp keeps keys and values in half precision, and
# multiplies q8_0 weights with activations of 8 bits; of a model as narrow as this one that is much.
TOLERANCES = {"float32": 5e-3, "float16": 5e-3, "bfloat16": 2e-2, "q8_0": 1e-1}


def model_class(vocab_size: int) -> Any:
    """The binding reads this number from its model and does not define it."""
    return type("Model", (llama_cpp.LlamaModel,), {"n_vocab": vocab_size})


class Reader:
    """A file as llama.cpp sees it."""

    def __init__(self, path: Path, vocab_size: int) -> None:
        llama_cpp.disable_logging()
        settings = llama_cpp.LlamaModelParams()
        settings.n_gpu_layers = 0
        self._model = model_class(vocab_size)(str(path), settings)
        wanted = llama_cpp.LlamaContextParams()
        wanted.n_ctx = wanted.n_batch = 256
        self._context = llama_cpp.LlamaContext(self._model, wanted)
        self._batch = llama_cpp.LlamaBatch(n_tokens=256, embd=0, n_seq_max=1)

    def ids(self, text: str) -> list[int]:
        return list(self._model.get_vocab().tokenize(text, False, False))

    def logits(self, ids: list[int], place: int) -> np.ndarray:
        """Logits behind each of `ids`, the first of which is at `place`."""
        self._batch.set_batch(ids, place, True)
        self._context.decode(self._batch)
        return np.array([self._context.get_logits_ith(i) for i in range(len(ids))])


def test_scaled_positions(tmp_path: Path) -> None:
    scaled = {"rope_scaling": 8.0, "rope_original_seq_len": 64, "rope_base": 100.0}
    model, expected = exported(tmp_path, "gguf", ExportOptions("float32"), kind="byte", tied=False, **scaled)
    assert model.config.model.vocab_size is not None
    logits = Reader(tmp_path / "out" / "model.gguf", model.config.model.vocab_size).logits(expected.ids.tolist(), 0)
    worst = TOLERANCES["float32"] * float(np.abs(expected.logits).max())
    np.testing.assert_allclose(logits, expected.logits, rtol=0, atol=worst)
    _, plain = exported(tmp_path / "plain", "gguf", ExportOptions("float32"), kind="byte", tied=False, rope_base=100.0)
    assert np.abs(plain.logits - expected.logits).max() > 4 * worst


@pytest.mark.parametrize("dtype", list(TOLERANCES))
@pytest.mark.parametrize(("kind", "tied"), [("byte", False), ("bpe", True)])
def test_logits_greedy_tokens_and_text(tmp_path: Path, dtype: Any, kind: str, tied: bool) -> None:
    model, expected = exported(tmp_path, "gguf", ExportOptions(dtype), kind=kind, tied=tied)
    assert model.config.model.vocab_size is not None
    reader = Reader(tmp_path / "out" / "model.gguf", model.config.model.vocab_size)
    ids = expected.ids.tolist()
    assert reader.ids(TEXT) == ids
    logits = reader.logits(ids, 0)
    np.testing.assert_allclose(
        logits, expected.logits, rtol=0, atol=TOLERANCES[dtype] * float(np.abs(expected.logits).max())
    )
    if dtype != "float32":
        return
    greedy, following = list(ids), int(logits[-1].argmax())
    for place in range(len(ids), len(ids) + NEW):
        greedy.append(following)
        following = int(reader.logits([following], place)[0].argmax())
    assert greedy == expected.greedy.tolist()
