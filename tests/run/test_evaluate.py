"""Evaluation covers every held-out token once, whatever the batch, and its units are what they say."""

from __future__ import annotations

import math
from pathlib import Path

import jax
import pytest

from chomp.config import Config, derive
from chomp.config.load import parse_config
from chomp.data.pipeline import build_data
from chomp.data.tokenizers import build_tokenizer
from chomp.model.build import build_model
from chomp.model.resolve import resolve_model
from chomp.run.control import StopRequest, StopRequestedError, StopSwitch
from chomp.run.evaluate import EvalResult, evaluate
from chomp.step.eval_step import make_eval_step
from tests.engine import tiny_config, write_corpus


def make_config(folder: Path, batch_size: int, **data: object) -> Config:
    import yaml

    corpus = folder / "corpus"
    if not corpus.exists():
        write_corpus(corpus)
    values = tiny_config(
        corpus, model={"backend": "dummy"}, train={"batch_size": batch_size, "grad_accum": 1}, data=dict(data)
    )
    return parse_config(yaml.safe_dump(values), source="test").config


def score(config: Config, switch: StopSwitch | None = None) -> EvalResult:
    tokenizer = build_tokenizer(config.data.tokenizer)
    model = build_model(resolve_model(config.model, tokenizer))
    data = build_data(config, derive(config), tokenizer)
    step = make_eval_step(model, isolate=config.data.isolate_documents)
    return evaluate(
        model.init(jax.random.key(1)),
        step,
        data.eval_batches(),
        tokenizer.byte_lengths(),
        isolate=config.data.isolate_documents,
        check_stop=(switch or StopSwitch()).check,
    )


def test_loss_does_not_depend_on_the_batch_size(tmp_path: Path) -> None:
    results = [score(make_config(tmp_path, size)) for size in (1, 3, 16)]
    assert len({result.tokens for result in results}) == 1
    assert len({result.bytes for result in results}) == 1
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-6)
    assert results[0].loss == pytest.approx(results[2].loss, rel=1e-6)


def test_bits_per_byte_are_nats_over_bytes_of_the_predicted_text(tmp_path: Path) -> None:
    result = score(make_config(tmp_path, 4))
    assert result.bpb is not None
    assert result.bpb == pytest.approx(result.loss * result.tokens / math.log(2) / result.bytes)
    # The end-of-text token of each document is predicted too, but stands for no byte.
    assert result.tokens - result.bytes == 3
    assert result.perplexity == pytest.approx(math.exp(result.loss))


def test_an_untrained_model_scores_near_a_uniform_guess(tmp_path: Path) -> None:
    assert score(make_config(tmp_path, 4)).loss == pytest.approx(math.log(384), abs=0.7)


def test_a_stop_leaves_the_evaluation(tmp_path: Path) -> None:
    switch = StopSwitch()
    switch.set(StopRequest("asked", 0))
    with pytest.raises(StopRequestedError):
        score(make_config(tmp_path, 4), switch)
