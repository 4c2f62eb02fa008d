"""What every packer must do."""

import json

import grain
import numpy as np
import pytest
from grain.experimental import assert_equal_output_after_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from chomp.data.batch import IGNORED, BatchShape, LabelRules
from chomp.data.packing.base import Corpus, PackPlan
from chomp.data.packing.bins import BinPackDataset
from chomp.data.packing.sequential import SequentialPackDataset
from chomp.errors import DataError

SHAPE = BatchShape(2, 3, 8)


def sequential(documents, plan, corpus):
    return SequentialPackDataset(documents, plan, corpus)


def bins(documents, plan, corpus):
    return BinPackDataset(documents, plan, corpus, group=4, max_docs=None)


def narrow_bins(documents, plan, corpus):
    return BinPackDataset(documents, plan, corpus, group=30, max_docs=2)


def mixed_bins(documents, plan, corpus):
    return BinPackDataset(documents, plan, corpus, group=6, max_docs=None, shuffle_seed=5)


@pytest.fixture(params=[sequential, bins, narrow_bins, mixed_bins], ids=lambda packer: packer.__name__, scope="module")
def pack(request):
    def make(
        lengths, *, isolate=True, mask_boundary=True, repeat=False, min_tokens=2, max_tokens=None, vocab_size=100_000
    ):
        # Every token of the corpus has an id of its own, so that each can be followed.
        ends = np.cumsum(lengths, dtype=np.int32)
        texts = [np.arange(end - length, end, dtype=np.int32) + 1 for end, length in zip(ends, lengths, strict=True)]
        dataset = grain.MapDataset.source(texts)
        dataset = dataset.repeat() if repeat else dataset
        documents = dataset.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
        rules = LabelRules(pad_id=0, ignored_eos_id=None, mask_boundary=mask_boundary, isolate=isolate)
        plan = PackPlan(SHAPE, rules, lambda tokens: tokens, min_tokens, max_tokens, vocab_size)
        return request.param(documents, plan, Corpus("the test corpus", len(texts)))

    return make


LENGTHS = [3, 17, 8, 2, 40, 5, 5, 9, 1, 0, 7, 16, 2, 2, 2, 31]


def test_shapes_and_types_are_fixed(pack):
    for batch in pack(LENGTHS):
        *arrays, sources = batch
        assert [array.shape for array in arrays] == [SHAPE] * 4
        assert [array.dtype for array in arrays] == [np.int32, np.int32, bool, np.int32]
        assert sources is None


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(0, 50), min_size=1, max_size=40).filter(lambda lengths: max(lengths) > 1))
def test_every_token_once_and_documents_in_one_segment_per_row(pack, lengths):
    batches = list(pack(lengths))
    ids = np.concatenate([batch.input_ids[batch.attention_mask] for batch in batches])
    ends = np.cumsum(lengths)
    expected = [token for end, n in zip(ends, lengths, strict=True) if n > 1 for token in range(end - n + 1, end + 1)]
    assert sorted(ids) == expected
    document = np.repeat(np.arange(len(lengths)), lengths)
    for batch in batches:
        for row, segments in zip(batch.input_ids.reshape(-1, 8), batch.segment_ids.reshape(-1, 8), strict=True):
            for segment in range(1, segments.max() + 1):
                members = row[segments == segment] - 1
                assert len(set(document[members])) == 1
                assert (np.diff(members) == 1).all()
            assert (row[segments == 0] == 0).all()
            filled = int((segments > 0).sum())
            assert (np.diff(segments[:filled]) >= 0).all()
            assert (segments[filled:] == 0).all()


def test_labels_are_the_ids_except_at_starts_and_padding(pack):
    starts = set(np.cumsum([0, *LENGTHS]) + 1)
    for batch in pack(LENGTHS):
        kept = batch.labels != IGNORED
        assert (batch.labels[kept] == batch.input_ids[kept]).all()
        assert not kept[~batch.attention_mask].any()
        assert starts.isdisjoint(batch.labels[kept].tolist())
    unmasked = list(pack(LENGTHS, mask_boundary=False))
    assert all(((batch.labels != IGNORED) == batch.attention_mask).all() for batch in unmasked)


def test_without_isolation_there_is_one_segment(pack):
    assert all((batch.segment_ids == batch.attention_mask).all() for batch in pack(LENGTHS, isolate=False))


def test_restores_exactly(pack):
    assert_equal_output_after_checkpoint(pack(LENGTHS))


def test_states_are_small_and_plain(pack):
    iterator = pack([20_000, 3, 3], repeat=True).__iter__()
    for _ in range(4):
        next(iterator)
        assert len(json.dumps(iterator.get_state())) < 120


def test_documents_without_a_token_to_predict_are_counted(pack):
    iterator = pack(LENGTHS).__iter__()
    list(iterator)
    assert iterator.get_state()["documents"] == len(LENGTHS)
    assert iterator.get_state()["skipped"] == 2


def test_cutting(pack):
    ids = np.concatenate([batch.input_ids[batch.attention_mask] for batch in pack(LENGTHS, max_tokens=6)])
    assert len(ids) == sum(min(6, length) for length in LENGTHS if length > 1)


@pytest.mark.parametrize("repeat", [True, False])
def test_nothing_usable_ends_with_an_error_that_stays(pack, repeat):
    iterator = pack([1, 0, 1, 0], repeat=repeat).__iter__()
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            next(iterator)
        assert str(caught.value) == (
            "no usable text in the test corpus: read 4 documents, the longest of 1 tokens, and a document needs at "
            "least 2 tokens to have one to predict; check data.text_key and the files"
        )


def test_ids_outside_the_vocabulary(pack):
    with pytest.raises(DataError) as caught:
        list(pack([20, 20, 20], vocab_size=60))
    assert str(caught.value) == (
        "token id 60 in the test corpus is outside the model's vocabulary: ids run from 0 to 59; use the tokenizer "
        "that the model was made for, or raise model.vocab_size"
    )
