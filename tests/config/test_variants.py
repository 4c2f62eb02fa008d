"""Variants compute the same step in another way: same tokens, and only settings that the rules allow."""

from __future__ import annotations

from pathlib import Path

import pytest

from chomp.config.derive import check, derive
from chomp.config.load import parse_config
from chomp.config.schema import Config
from chomp.config.spec import flatten
from chomp.config.variants import CHOICES, POLICIES, as_written, batch_sizes, head_chunks, variants, vary

CONFIGS = Path(__file__).parent.parent.parent / "configs"


def configuration(text: str, *overrides: str) -> Config:
    return parse_config(text, source="test", overrides=overrides).config


LLAMA = "{model: {backend: llama, num_heads: 4}, train: {batch_size: 6, grad_accum: 2, seq_len: 512}}"
MEGALODON = "{model: {backend: megalodon}, train: {batch_size: 6, grad_accum: 2, seq_len: 512}}"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_variant_keeps_the_tokens_of_a_step_and_the_rules(path: Path) -> None:
    config = configuration(path.read_text())
    found = list(variants(config))
    assert as_written(config) in found
    assert len(found) == len({(each.batch_size, each.policy, each.head_chunk) for each in found}) > 1
    for variant in found:
        check(variant.config)
        assert derive(variant.config).tokens_per_step == derive(config).tokens_per_step
        assert derive(variant.config).grad_accum == variant.grad_accum
        assert as_written(variant.config).policy == variant.policy
        before, after = flatten(config.model_dump()), flatten(variant.config.model_dump())
        assert {name: after[name] for name in after if after[name] != before[name]} == dict(variant.settings)
        assert set(variant.settings) <= set(CHOICES)
        words = [word for word in variant.options.split() if word != "-o"]
        assert configuration(path.read_text(), *words) == variant.config


def test_micro_batches_divide_the_rows() -> None:
    assert batch_sizes(configuration(LLAMA)) == [12, 6, 4, 3, 2, 1]
    tokens = "{train: {batch_size: 2, batch_tokens: 4096, seq_len: 512}}"
    assert batch_sizes(configuration(tokens)) == [8, 4, 2, 1]
    variant = vary(configuration(tokens), 8, "none", None)
    assert variant is not None
    assert variant.options == "-o train.batch_size=8"
    assert variant.grad_accum == 1


def test_a_filter_of_tokens_keeps_its_micro_batch() -> None:
    assert batch_sizes(configuration(LLAMA, "objective.token_filter_keep=0.5")) == [6]


def test_chunks_are_smaller_than_the_micro_batch() -> None:
    assert head_chunks(configuration(LLAMA), 6) == [None, 2048, 1024, 512]
    assert head_chunks(configuration(LLAMA, "model.loss_chunk_size=768"), 6) == [None, 2048, 1024, 768, 512]
    assert head_chunks(configuration(LLAMA, "model.loss_chunk_size=4000"), 6) == [4000, 2048, 1024, 512]


def test_an_older_name_of_a_policy_is_known() -> None:
    old = configuration(MEGALODON, "model.use_checkpoint=true")
    assert as_written(old).policy == "full"
    none = vary(old, 6, "none", None)
    assert none is not None
    assert dict(none.settings) == {"model.use_checkpoint": False}
    dots = vary(configuration(MEGALODON), 6, "dots", None)
    assert dots is not None
    assert dict(dots.settings) == {"model.remat": "dots"}


def test_policies_are_ordered_by_what_they_recompute() -> None:
    shares = [policy.recomputed for policy in POLICIES.values()]
    assert shares == sorted(shares)
    assert shares[0] == 0
