"""Evaluation text is decided by position and never trained on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chomp.data.heldout import heldout_count, hold_out, split_document
from chomp.data.sources.base import InMemorySource
from chomp.errors import DataError


@given(st.integers(2, 500), st.integers(1, 30))
def test_both_parts_together_are_the_source(total, most):
    source = InMemorySource("test", [str(number) for number in range(total)], {})
    parts = hold_out(source, most)
    train = [parts.train[index] for index in range(len(parts.train))]
    evaluation = [parts.evaluation[index] for index in range(len(parts.evaluation))]
    assert len(evaluation) == min(most, max(1, -(-total // 20)))
    assert train == sorted(train, key=int)
    assert sorted(train + evaluation, key=int) == [str(number) for number in range(total)]


def test_held_out_documents_are_evenly_spread():
    source = InMemorySource("test", [str(number) for number in range(100)], {})
    parts = hold_out(source, 1000)
    assert [parts.evaluation[index] for index in range(5)] == ["10", "30", "50", "70", "90"]


@pytest.mark.parametrize(("documents", "count"), [(2, 1), (20, 1), (21, 2), (100_000, 1000)])
def test_five_percent_and_at_most_the_limit(documents, count):
    assert heldout_count(documents, 1000) == count


@given(st.text(alphabet="ab\n", min_size=2, max_size=400))
def test_a_single_text_is_divided_near_its_end(text):
    train, evaluation = split_document(text, "test")
    assert train + evaluation == text
    assert 1 <= len(evaluation) <= max(1, -(-len(text) // 10))
    assert train
    window = text[len(text) - max(1, -(-len(text) // 10)) - 1 : len(text) - max(1, len(text) // 20)]
    assert train.endswith("\n") or "\n" not in window


def test_token_documents_are_divided_too():
    train, evaluation = split_document(np.arange(1000), "test")
    assert len(evaluation) == 50
    assert train.tolist() + evaluation.tolist() == list(range(1000))


def test_too_short_to_be_divided():
    with pytest.raises(DataError) as caught:
        hold_out(InMemorySource("data.local_text", ["x"], {}), 10)
    assert str(caught.value) == (
        "data.local_text holds a single document of 1 characters, too short to keep a part of it for evaluation; "
        "add text"
    )


def test_no_documents():
    with pytest.raises(DataError, match=r"^the table holds no documents$"):
        hold_out(InMemorySource("the table", [], {}), 10)
