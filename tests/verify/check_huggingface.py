"""transformers, on PyTorch, computes from an exported folder what chomp computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from chomp.export.options import ExportOptions
from tests.verify.checks import NEW, exported


@pytest.mark.parametrize("kind", ["byte", "bpe"])
@pytest.mark.parametrize("tied", [True, False])
def test_logits_and_greedy_tokens(tmp_path: Path, kind: str, tied: bool) -> None:
    _, expected = exported(tmp_path, "hf", ExportOptions(), kind=kind, tied=tied)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    assert type(model).__name__ == "LlamaForCausalLM"
    ids = torch.tensor(expected.ids[None].astype(np.int64))
    with torch.no_grad():
        logits = model(ids).logits[0].numpy()
        greedy = model.generate(ids, max_new_tokens=NEW, do_sample=False, eos_token_id=None)[0].numpy()
    np.testing.assert_allclose(logits, expected.logits, rtol=0, atol=2e-5 * np.abs(expected.logits).max())
    np.testing.assert_array_equal(greedy, expected.greedy)
