"""Samples: the same prompts at every step, from text the model never trains on, repeatable."""

from __future__ import annotations

from pathlib import Path

import jax
import pytest
import yaml

from chomp.config import Config, derive
from chomp.config.load import parse_config
from chomp.data.pipeline import DataPipeline, build_data
from chomp.data.tokenizers import Tokenizer, build_tokenizer
from chomp.generate.sampling import SamplingOptions, encode_prompt, write
from chomp.model.build import build_model
from chomp.model.resolve import resolve_model
from chomp.train.hooks.sample import build_prompts, sampling_options
from tests.engine import tiny_config, write_corpus


def make(folder: Path, **train: object) -> tuple[Config, DataPipeline, Tokenizer]:
    values = tiny_config(write_corpus(folder / "corpus"), train=dict(train))
    config = parse_config(yaml.safe_dump(values), source="test").config
    tokenizer = build_tokenizer(config.data.tokenizer)
    return config, build_data(config, derive(config), tokenizer), tokenizer


def test_the_default_prompt_begins_a_held_out_document(tmp_path: Path) -> None:
    config, data, tokenizer = make(tmp_path, generate_input_len=6)
    prompts = build_prompts(config, data, tokenizer)
    assert len(prompts) == 1
    assert tokenizer.decode(prompts[0]) == data.heldout_texts()[0][:6]


def test_configured_prompts_are_used_as_they_are(tmp_path: Path) -> None:
    config, data, tokenizer = make(tmp_path, generate_prompts=["def ", "class A:"])
    assert [tokenizer.decode(ids) for ids in build_prompts(config, data, tokenizer)] == ["def ", "class A:"]


def test_an_empty_prompt_is_the_begin_of_text_id() -> None:
    config = parse_config("data: {backend: stdlib}", source="test").config
    tokenizer = build_tokenizer(config.data.tokenizer)
    assert encode_prompt(tokenizer, "") == (tokenizer.bos_id,)


def test_length_defaults_to_the_chunk_and_a_little_more(tmp_path: Path) -> None:
    config, _, _ = make(tmp_path)
    assert sampling_options(config).max_new_tokens == config.model.chunk_size + 16


@pytest.mark.parametrize("backend", ["dummy", "llama", "megalodon"])
def test_the_same_seed_writes_the_same_text(tmp_path: Path, backend: str) -> None:
    config, _, tokenizer = make(tmp_path)
    resolved = resolve_model(config.model.model_copy(update={"backend": backend}), tokenizer)
    model_def = build_model(resolved)
    model = model_def.combine(model_def.init(jax.random.key(0)))
    options = SamplingOptions(max_new_tokens=12, temperature=1.0)
    prompt = encode_prompt(tokenizer, "for i ")
    first = write(model, tokenizer, prompt, options, seed=3)
    assert first == write(model, tokenizer, prompt, options, seed=3)
    assert first.prompt == "for i "
    assert 0 < first.tokens <= 12
    greedy = SamplingOptions(max_new_tokens=12, temperature=0.0)
    assert write(model, tokenizer, prompt, greedy, seed=1) == write(model, tokenizer, prompt, greedy, seed=2)
