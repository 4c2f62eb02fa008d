"""Numbers that follow from others."""

import json

import pytest

from chomp.config import Config, Derived, derive, derived_section, parse_config


def derived(text="{}", *overrides):
    return derive(parse_config(text, source="c.yaml", overrides=overrides).config)


def test_defaults():
    assert derived() == Derived(
        grad_accum=1,
        tokens_per_step=8 * 512,
        total_tokens=8 * 512 * 1000,
        decay_steps_effective=900,
        schedule_steps=1000,
        vocab_size=384,
        deterministic=True,
        shuffle_seed=0,
    )


def test_accumulation_from_a_token_budget():
    got = derived("{train: {batch_size: 2, seq_len: 2048, batch_tokens: 32768, steps: 10}, optim: {warmup_steps: 1}}")
    assert (got.grad_accum, got.tokens_per_step, got.total_tokens) == (8, 32_768, 327_680)


def test_accumulation_as_written():
    assert derived("{train: {grad_accum: 4}}").tokens_per_step == 4 * 8 * 512


@pytest.mark.parametrize(
    ("optim", "decay", "end"),
    [
        ("{warmup_steps: 0}", 1000, 1000),
        ("{decay_steps: 400}", 400, 500),
        ("{decay_steps: 4000}", 4000, 4100),
        ("{schedule: wsd}", 200, 1000),
        ("{schedule: wsd, decay_steps: 300}", 300, 1000),
    ],
)
def test_schedule(optim, decay, end):
    got = derived(f"{{optim: {optim}}}")
    assert (got.decay_steps_effective, got.schedule_steps) == (decay, end)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("{data: {tokenizer: {vocab_size_multiple: 1}}}", 259),
        ("{data: {tokenizer: {byte_offset: 10, vocab_size_multiple: 64}}}", 320),
        ("{model: {vocab_size: 300}}", 300),
        ("{data: {tokenizer: {kind: hf, hf_name_or_path: x}}}", None),
        ("{model: {vocab_size: 50304}, data: {tokenizer: {kind: hf, hf_name_or_path: x}}}", 50_304),
    ],
)
def test_vocabulary(text, size):
    assert derived(text).vocab_size == size


@pytest.mark.parametrize(
    ("text", "deterministic"),
    [
        ("{model: {dropout: 0.1}}", False),
        ("{model: {attention_dropout: 0.1}}", False),
        ("{model: {hidden_dropout: 0.1}}", False),
        ("{model: {dropout: 0.1}, train: {deterministic: true}}", True),
        ("{train: {deterministic: false}}", False),
    ],
)
def test_deterministic(text, deterministic):
    assert derived(text).deterministic is deterministic


def test_shuffle_seed():
    assert derived("{train: {seed: 5}}").shuffle_seed == 5
    assert derived("{train: {seed: 5}, data: {shuffle_seed: 0}}").shuffle_seed == 0


def test_section_for_the_resolved_file():
    section = derived_section(derive(Config()))
    assert section["optim"]["decay_steps_effective"] == 900
    assert section["train"]["grad_accum"] == 1
    assert json.loads(json.dumps(section)) == section
