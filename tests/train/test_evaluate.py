"""Evaluation covers every held-out token once, whatever the batch, and its units are what they say."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest
import tokenizers

from chomp.config import Config, derive
from chomp.config.load import parse_config
from chomp.data.bpe import END, PAD, train_bpe
from chomp.data.pipeline import build_data
from chomp.data.tokenizers import build_tokenizer
from chomp.model.build import build_model
from chomp.model.loss import scored_tokens
from chomp.model.resolve import resolve_model
from chomp.step.eval_step import make_eval_step
from chomp.train.control import StopRequest, StopRequestedError, StopSwitch
from chomp.train.evaluate import EvalResult, entropy, evaluate
from tests.engine import tiny_config, write_corpus
from tests.model import tiny


def make_config(folder: Path, batch_size: int, **data: object) -> Config:
    import yaml

    corpus = folder / "corpus"
    if not corpus.exists():
        write_corpus(corpus)
    values = tiny_config(
        corpus, model={"backend": "dummy"}, train={"batch_size": batch_size, "grad_accum": 1}, data=dict(data)
    )
    return parse_config(yaml.safe_dump(values), source="test").config


def with_rows_of(seq_len: int, config: Config) -> Config:
    return config.model_copy(update={"train": config.train.model_copy(update={"seq_len": seq_len})})


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


@pytest.mark.parametrize("isolate", [True, False])
@pytest.mark.parametrize("seq_len", [3, 17, 32, 1024])
def test_every_token_but_the_first_of_a_document_is_scored_once(tmp_path: Path, seq_len: int, isolate: bool) -> None:
    """Also where a row ends, which is inside of each document with short rows."""
    config = with_rows_of(seq_len, make_config(tmp_path, 3, isolate_documents=isolate))
    tokenizer = build_tokenizer(config.data.tokenizer)
    data = build_data(config, derive(config), tokenizer)
    rows = [(batch.labels, batch.segment_ids) for batch in data.eval_batches()]
    scored = np.concatenate([scored_tokens(*row, isolate).ravel() for row in rows])
    expected = np.concatenate([tokenizer.encode_document(text)[1:] for text in data.iter_heldout_texts()])
    np.testing.assert_array_equal(scored, expected)


def test_bits_per_byte_are_nats_over_bytes_of_the_predicted_text(tmp_path: Path) -> None:
    result = score(make_config(tmp_path, 4))
    assert result.bpb is not None
    assert result.bpb == pytest.approx(result.loss * result.tokens / math.log(2) / result.bytes)
    # The end-of-text token of each document is predicted too, but is no byte of the text.
    assert result.tokens - result.bytes == 3
    assert result.perplexity == pytest.approx(math.exp(result.loss))


def test_the_baseline_is_the_entropy_of_the_bytes_that_are_predicted(tmp_path: Path) -> None:
    config = make_config(tmp_path, 3)
    texts = list(build_data(config, derive(config), build_tokenizer(config.data.tokenizer)).iter_heldout_texts())
    # A text's first byte has nothing before it; its end is predicted.
    seen = Counter(token for text in texts for token in [*text.encode()[1:], "end"])
    shares = [count / sum(seen.values()) for count in seen.values()]
    assert score(config).unigram_loss == pytest.approx(-sum(share * math.log(share) for share in shares), rel=1e-9)


def test_entropy_of_known_frequencies() -> None:
    assert entropy(np.array([0, 5, 5, 5, 5])) == pytest.approx(math.log(4))
    assert entropy(np.array([7, 0])) == 0
    assert math.isnan(entropy(np.zeros(3, np.int64)))


def test_an_untrained_model_scores_near_a_uniform_guess(tmp_path: Path) -> None:
    assert score(make_config(tmp_path, 4)).loss == pytest.approx(math.log(384), abs=0.7)


def test_a_stop_leaves_the_evaluation(tmp_path: Path) -> None:
    switch = StopSwitch()
    switch.set(StopRequest("asked", 0))
    with pytest.raises(StopRequestedError):
        score(make_config(tmp_path, 4), switch)


@pytest.mark.parametrize("backend", ["llama", "megalodon"])
@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_bits_per_byte_are_those_of_a_computation_by_hand(tmp_path: Path, backend: str, kind: str) -> None:
    """Each document alone, its text encoded by the tokenizer's own library, in double precision: equal to 1e-5."""
    config = make_config(tmp_path, 2, tokenizer=vocabulary_of(kind, tmp_path))
    # One row takes all, so that every prediction has its whole document before it.
    model_section = tiny.model_config(backend, vocab_size=None, chunk_size=256)
    config = with_rows_of(1024, config.model_copy(update={"model": model_section}))
    tokenizer = build_tokenizer(config.data.tokenizer)
    model = build_model(resolve_model(config.model, tokenizer))
    params = model.init(jax.random.key(1))
    data = build_data(config, derive(config), tokenizer)
    step = make_eval_step(model, isolate=True)
    result = evaluate(params, step, data.eval_batches(), tokenizer.byte_lengths(), isolate=True)

    texts = list(data.iter_heldout_texts())
    nats = size = 0.0
    for text in texts:
        ids = np.asarray([*encoded_by_hand(kind, tmp_path, text), tokenizer.eos_id], np.int32)
        logits = np.asarray(tiny.logits_of(model.combine(params), jax.numpy.asarray(ids[None])), np.float64)[0, :-1]
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        nats -= np.log(shares[np.arange(len(ids) - 1), ids[1:]] / shares.sum(-1)).sum()
        # Nothing precedes a document's first token, and the end-of-text id is no text.
        first = tokenizer.decode(ids[:1])
        assert text.startswith(first)
        size += len(text.encode()) - len(first.encode())
    assert len(texts) == 3
    assert result.bytes == size
    assert result.bpb == pytest.approx(nats / math.log(2) / size, rel=1e-5)


def vocabulary_of(kind: str, folder: Path) -> dict[str, object]:
    if kind == "byte":
        return {"kind": "byte"}
    write_corpus(folder / "corpus")
    texts = [path.read_text() for path in sorted((folder / "corpus").iterdir())]
    (folder / "tokenizer.json").write_text(train_bpe(texts, 300).to_str())
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": PAD, "eos_token": END}))
    return {"kind": "file", "path": str(folder / "tokenizer.json")}


def encoded_by_hand(kind: str, folder: Path, text: str) -> list[int]:
    if kind == "byte":
        return [3 + byte for byte in text.encode()]
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text, add_special_tokens=False).ids
