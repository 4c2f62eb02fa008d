"""One iterator, one small state, exact at every position."""

import json

import numpy as np
import pytest
from grain.experimental import assert_equal_output_after_checkpoint

MODES = ("sequential", "bin")


def files(corpus, *more):
    return ("data.backend=files", f"data.files=['{corpus}/*.txt']", "data.packing_buffer_docs=7", *more)


def same(left, right):
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("mode", MODES)
def test_grains_own_check_passes(open_data, corpus, mode, prefetch):
    few = f"data.files=['{corpus}/0*.txt', '{corpus}/11.txt']"
    data = open_data(*files(corpus, few, f"data.packing_mode={mode}", "data.repeat=false", f"data.prefetch={prefetch}"))
    assert_equal_output_after_checkpoint(data.train_dataset())


@pytest.mark.parametrize("prefetch", [0, 3])
@pytest.mark.parametrize("mode", MODES)
def test_restoring_twice_across_passes(open_data, corpus, mode, prefetch):
    options = files(corpus, f"data.packing_mode={mode}", f"data.prefetch={prefetch}")
    data = open_data(*options)
    iterator = data.train_iterator()
    states, batches = [], []
    for _ in range(120):
        states.append(json.dumps(iterator.get_state()))
        batches.append(next(iterator))
    assert data.describe_state(json.loads(states[-1]))["epoch"] >= 2
    inside = [
        index
        for index, state in enumerate(states)
        if json.loads(state).get("offset") or json.loads(state).get("rows_used")
    ]
    assert len(inside) > 20, "no state from the middle of a document or group"
    for first in (0, 1, inside[3], 37, 60, inside[-9]):
        resumed = open_data(*options).train_iterator()
        resumed.set_state(json.loads(states[first]))
        assert json.dumps(resumed.get_state()) == states[first]
        assert all(same(next(resumed), batches[index]) for index in range(first, first + 4))
        # A second interruption, restored from the state that the first resumed run gave.
        again = open_data(*options).train_iterator()
        again.set_state(json.loads(json.dumps(resumed.get_state())))
        assert all(same(next(again), batches[index]) for index in range(first + 4, first + 8))


@pytest.mark.parametrize("mode", MODES)
def test_set_state_rewinds_the_same_iterator(open_data, corpus, mode):
    iterator = open_data(*files(corpus, f"data.packing_mode={mode}", "data.prefetch=2")).train_iterator()
    next(iterator)
    state = iterator.get_state()
    first = [next(iterator) for _ in range(5)]
    iterator.set_state(state)
    assert all(same(next(iterator), batch) for batch in first)


@pytest.mark.parametrize("mode", MODES)
def test_the_state_holds_no_text(open_data, tmp_path, mode):
    (tmp_path / "long.txt").write_text("word " * 50_000)
    (tmp_path / "short.txt").write_text("word " * 50)
    data = open_data("data.backend=files", f"data.files=['{tmp_path}/*.txt']", f"data.packing_mode={mode}")
    iterator = data.train_iterator()
    for _ in range(3):
        next(iterator)
    assert len(json.dumps(iterator.get_state())) < 200


def test_every_pass_has_its_own_order_and_the_same_documents(open_data, corpus):
    data = open_data(*files(corpus, "data.packing_mode=bin"))
    documents = data.train_documents().__iter__()
    per_pass = 38
    passes = [[next(documents) for _ in range(per_pass)] for _ in range(3)]
    assert len({tuple(order) for order in passes}) == 3
    assert len({tuple(sorted(order)) for order in passes}) == 1
    assert len(set(passes[0])) == per_pass


def test_the_order_follows_the_seed(open_data, corpus):
    first = [next(open_data(*files(corpus, f"data.shuffle_seed={seed}")).train_iterator()) for seed in (1, 1, 2)]
    assert same(first[0], first[1])
    assert not same(first[0], first[2])


def test_prefetching_changes_nothing(open_data, corpus):
    runs = [open_data(*files(corpus, f"data.prefetch={size}")).train_iterator() for size in (0, 1, 4)]
    for _ in range(50):
        batches = [next(run) for run in runs]
        assert same(batches[0], batches[1])
        assert same(batches[0], batches[2])
        assert runs[0].get_state() == runs[1].get_state() == runs[2].get_state()


def test_finite_text_ends_with_a_padded_batch_and_stays_ended(open_data, corpus):
    iterator = open_data(*files(corpus, "data.repeat=false", "data.prefetch=2")).train_iterator()
    batches = list(iterator)
    assert batches[0].attention_mask.all()
    assert not batches[-1].attention_mask.all()
    state = iterator.get_state()
    with pytest.raises(StopIteration):
        next(iterator)
    iterator.set_state(state)
    with pytest.raises(StopIteration):
        next(iterator)


def test_an_interrupt_loses_nothing(open_data, corpus, monkeypatch):
    untouched = open_data(*files(corpus)).train_iterator()
    expected = [next(untouched) for _ in range(12)]
    iterator = open_data(*files(corpus)).train_iterator()
    # Between two documents of one batch, where only the packer's own step can be interrupted.
    # Private: a packer has no public step of its own.
    packer = type(iterator._parent)
    original, calls = packer._next_document, []

    def interrupted(self):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(packer, "_next_document", interrupted)
    batches = []
    with pytest.raises(KeyboardInterrupt):
        batches.extend(iterator)
    batches += [next(iterator) for _ in range(len(batches), 12)]
    assert all(map(same, batches, expected))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shuffle", [True, False])
def test_the_documents_of_a_batch_are_named(open_data, tmp_path, mode, shuffle):
    """Each document is one letter over and over, which says in every batch where it came from."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    for number, letter in enumerate(letters):
        (tmp_path / f"{number:02d}.txt").write_text(letter * (40 + 7 * number))
    options = (f"data.files=['{tmp_path}/*.txt']", f"data.packing_mode={mode}", f"data.shuffle={str(shuffle).lower()}")
    data = open_data("data.backend=files", "data.packing_buffer_docs=3", "data.max_eval_samples=1", *options)
    iterator = data.train_iterator()
    cut = 0
    for _ in range(40):
        before = iterator.get_state()
        batch = next(iterator)
        origin = data.documents_between(before, iterator.get_state())
        held = {ord(letter) + 3: number for number, letter in enumerate(letters)}
        seen = {held[token] for token in np.unique(batch.input_ids) if token in held}
        assert seen <= set(origin.documents)
        assert len(origin.documents) == origin.document_count
        if mode == "sequential":
            assert seen == set(origin.documents)
        cut += len(seen) < len(letters)
    assert cut == 40, "a batch that holds every document proves nothing"


def test_of_a_long_list_the_first_documents_are_named(open_data, tmp_path):
    for number in range(300):
        (tmp_path / f"{number:03d}.txt").write_text("ab")
    data = open_data("data.backend=files", f"data.files=['{tmp_path}/*.txt']", "data.shuffle=false")
    start = data.train_iterator().get_state()
    origin = data.documents_between(start, {**start, "documents": 250})
    assert origin.document_count == 250
    assert origin.documents == sorted(origin.documents)
    assert len(origin.documents) == 100


@pytest.mark.parametrize("mode", MODES)
def test_at_the_end_of_text_that_is_read_once_no_document_is_made_up(open_data, tmp_path, mode):
    for number in range(11):
        (tmp_path / f"{number:02d}.txt").write_text("ab" * 100)
    data = open_data(
        "data.backend=files",
        f"data.files=['{tmp_path}/*.txt']",
        f"data.packing_mode={mode}",
        "data.packing_buffer_docs=4",
        "data.max_eval_samples=1",
        "data.repeat=false",
        "data.shuffle=false",
    )
    iterator = data.train_iterator()
    before, origins = iterator.get_state(), []
    for _ in iterator:
        origins.append(data.documents_between(before, iterator.get_state()))
        before = iterator.get_state()
    assert max(origin.first_read + origin.document_count for origin in origins) == 10
    # The document in the middle is held out.
    assert sorted({number for origin in origins for number in origin.documents}) == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
