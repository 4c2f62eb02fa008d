"""What is in a batch: every token once, labels, segments, padding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chomp.data.batch import IGNORED, BatchShape, LabelRules, finish_batch
from chomp.data.packing.bins import plan_rows

EOS = 2
IN_ORDER = ("data.packing_mode=sequential", "data.shuffle=false")


def joined(batches):
    """One batch of all batches' rows, each array `[rows, seq]`."""
    return [
        np.concatenate([array.reshape(-1, array.shape[-1]) for array in arrays])
        for arrays in zip(*(batch[:4] for batch in batches), strict=True)
    ]


def documents_of(batches):
    """Token ids of each segment, row by row."""
    ids, _, _, segments = joined(batches)
    return [
        row[parts == part]
        for row, parts in zip(ids, segments, strict=True)
        for part in range(1, parts.max(initial=0) + 1)
    ]


def encoded(folder, held_out):
    texts = [path.read_bytes() for path in sorted(folder.iterdir())]
    chosen = [text for text in texts if text and text.decode() not in held_out]
    return [np.array([*(byte + 3 for byte in text), EOS], np.int32) for text in chosen]


def test_sequential_rows_hold_every_token_once_in_order(open_data, corpus):
    data = open_data("data.backend=files", f"data.files=['{corpus}/*.txt']", "data.repeat=false", *IN_ORDER)
    batches = list(data.train_iterator())
    ids, labels, mask, segments = joined(batches)
    expected = np.concatenate(encoded(corpus, data.heldout_texts()))
    assert (ids[mask] == expected).all()
    assert len(ids) % 4 == 0
    # Only the end is padded, and padding counts nowhere.
    flat = mask.reshape(-1)
    assert flat[: len(expected)].all()
    assert not flat[len(expected) :].any()
    assert (labels[~mask] == IGNORED).all()
    assert (segments[~mask] == 0).all()
    assert (ids[~mask] == 0).all()


def test_a_long_document_runs_on_into_following_rows(open_data, corpus):
    data = open_data("data.backend=files", f"data.files=['{corpus}/*.txt']", "data.repeat=false", *IN_ORDER)
    ids, labels, mask, segments = joined(list(data.train_iterator()))
    inside = [
        row for row in range(len(ids)) if segments[row].max() == 1 and (ids[row] != EOS).all() and mask[row].all()
    ]
    assert len(inside) > 30
    # A row that only goes on with a document leaves nothing out of the loss.
    assert all((labels[row] == ids[row]).all() for row in inside[1:-1] if segments[row - 1].max() == 1)


def test_first_tokens_and_only_they_are_left_out_of_the_loss(open_data, corpus):
    data = open_data("data.backend=files", f"data.files=['{corpus}/*.txt']", "data.repeat=false", IN_ORDER[0])
    ids, labels, mask, _ = joined(list(data.train_iterator()))
    flat_ids, flat_mask, flat_labels = ids.reshape(-1), mask.reshape(-1), labels.reshape(-1)
    first = flat_mask & (np.concatenate([[EOS], flat_ids[:-1]]) == EOS)
    assert (flat_labels[first] == IGNORED).all()
    kept = flat_mask & ~first
    assert (flat_labels[kept] == flat_ids[kept]).all()


def test_segments_count_documents_in_each_row(open_data, corpus):
    data = open_data("data.backend=files", f"data.files=['{corpus}/*.txt']", "data.repeat=false")
    ids, _, mask, segments = joined(list(data.train_iterator()))
    for row in range(len(ids)):
        ends_before = np.concatenate([[0], np.cumsum(ids[row][:-1] == EOS)])
        assert (segments[row] == np.where(mask[row], 1 + ends_before, 0)).all()


@pytest.mark.parametrize("mode", ["sequential", "bin"])
def test_a_continuous_stream_has_one_segment(open_data, corpus, mode):
    data = open_data(
        "data.backend=files",
        f"data.files=['{corpus}/*.txt']",
        "data.repeat=false",
        "data.isolate_documents=false",
        "data.mask_boundary_loss=false",
        f"data.packing_mode={mode}",
    )
    ids, labels, mask, segments = joined(list(data.train_iterator()))
    assert (segments == mask).all()
    assert (labels[mask] == ids[mask]).all()


@pytest.mark.parametrize("mode", ["sequential", "bin"])
def test_end_of_text_can_be_left_out_of_the_loss(open_data, corpus, mode):
    data = open_data(
        "data.backend=files",
        f"data.files=['{corpus}/*.txt']",
        "data.repeat=false",
        "data.train_on_eos=false",
        f"data.packing_mode={mode}",
    )
    ids, labels, _, _ = joined(list(data.train_iterator()))
    assert (ids == EOS).sum() == len(encoded(corpus, data.heldout_texts()))
    assert (labels[ids == EOS] == IGNORED).all()


def test_bins_hold_every_token_once(open_data, corpus):
    data = open_data(
        "data.backend=files",
        f"data.files=['{corpus}/*.txt']",
        "data.repeat=false",
        "data.packing_mode=bin",
        "data.packing_buffer_docs=6",
    )
    pieces = sorted(piece.tobytes() for piece in documents_of(list(data.train_iterator())))
    wanted = [
        document[start : start + 16]
        for document in encoded(corpus, data.heldout_texts())
        for start in range(0, len(document), 16)
    ]
    assert pieces == sorted(piece.tobytes() for piece in wanted)


def test_bins_respect_the_most_documents_in_a_row(open_data, corpus):
    data = open_data(
        "data.backend=files",
        f"data.files=['{corpus}/*.txt']",
        "data.repeat=false",
        "data.packing_mode=bin",
        "data.packing_max_docs_per_bin=1",
    )
    assert max(batch.segment_ids.max() for batch in data.train_iterator()) == 1


def test_documents_are_cut_only_when_asked(open_data, corpus):
    base = ("data.backend=files", f"data.files=['{corpus}/*.txt']", "data.repeat=false", "data.packing_mode=bin")
    cut = open_data(*base, "data.max_doc_tokens=12")
    lengths = [len(document) for document in documents_of(list(cut.train_iterator()))]
    assert max(lengths) == 12
    assert len(lengths) == len(encoded(corpus, cut.heldout_texts()))


@given(
    lengths=st.lists(st.integers(1, 70), min_size=1, max_size=60),
    seq=st.integers(8, 20),
    most=st.none() | st.integers(1, 4),
)
def test_row_plans_place_every_token_once(lengths, seq, most):
    rows = plan_rows(lengths, seq, most)
    places = [
        (piece.document, position) for row in rows for piece in row for position in range(piece.start, piece.stop)
    ]
    assert sorted(places) == [
        (document, position) for document, length in enumerate(lengths) for position in range(length)
    ]
    assert all(sum(piece.stop - piece.start for piece in row) <= seq for row in rows)
    assert most is None or all(len(row) <= most for row in rows)
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)


def test_row_plans_take_the_longest_first():
    assert plan_rows([4, 6, 3, 3], 10, None) == [[(0, 0, 4), (1, 0, 6)], [(2, 0, 3), (3, 0, 3)]]


def test_padding_may_share_an_id_with_end_of_text():
    ids = np.array([[5, 6, EOS, 99], [99, 99, 99, 99]], np.int32)
    rules = LabelRules(pad_id=EOS, ignored_eos_id=None, mask_boundary=False, isolate=True)
    batch = finish_batch(ids, np.array([0]), np.array([3, 0]), BatchShape(1, 2, 4), rules)
    assert batch.input_ids.tolist() == [[[5, 6, EOS, EOS], [EOS] * 4]]
    assert batch.labels.tolist() == [[[5, 6, EOS, IGNORED], [IGNORED] * 4]]
    assert batch.attention_mask.tolist() == [[[True, True, True, False], [False] * 4]]
    assert batch.segment_ids.tolist() == [[[1, 1, 1, 0], [0] * 4]]


def test_rows_of_one_long_document_are_spread_over_batches_when_shuffling(open_data):
    """Neighbouring pieces of one document in a batch would make its gradient that of a single text."""
    text = "".join(chr(97 + number % 26) * 16 for number in range(2000))
    settings = ("data.backend=local_text", f"data.local_text={text}", "data.packing_mode=bin", "train.seq_len=16")

    def neighbours(shuffle):
        rows = np.concatenate(
            [
                batch.input_ids.reshape(-1, 16)
                for batch, _ in zip(open_data(*settings, shuffle).train_iterator(), range(4), strict=False)
            ]
        )
        return float(np.mean((rows[1:, 0] - rows[:-1, 0]) % 26 == 1))

    assert neighbours("data.shuffle=false") == 1.0
    assert neighbours("data.shuffle=true") < 0.4
