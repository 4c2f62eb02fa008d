"""Streams: an exact cursor, retries at the same document, passes, held-out documents."""

import json
import logging
import threading
import time

import pytest
from grain.experimental import assert_equal_output_after_checkpoint

from chomp.config.derive import derive
from chomp.data.pipeline import DataPipeline
from chomp.data.retry import RetryPolicy
from chomp.data.sources.base import StreamCursor, StreamSource
from chomp.data.sources.build import divide_stream
from chomp.data.tokenizers import build_tokenizer
from chomp.errors import DataError
from tests.engine import wait_until

TEXTS = [f"document {number} " + "xyz"[number % 3] * (number * 7 % 40) for number in range(30)]


class ListStream(StreamSource):
    """A stream over a list; `failures` maps a count of reads to the error raised instead of that read."""

    name = "the test stream"
    retriable = (OSError,)

    def __init__(self, texts=TEXTS, failures=()):
        self.texts = texts
        self.failures = dict(failures)
        self.reads = 0
        self.opened_at = []

    def open(self, cursor):
        self.opened_at.append(cursor)
        return ListCursor(self, int(cursor or 0))

    def fingerprint(self):
        return {"backend": "test"}


class ListCursor(StreamCursor):
    def __init__(self, source, index):
        self.source = source
        self.index = index

    def __next__(self):
        self.source.reads += 1
        self.index += 1
        if error := self.source.failures.pop(self.source.reads, None):
            raise error
        if self.index > len(self.source.texts):
            raise StopIteration
        return self.source.texts[self.index - 1]

    def position(self):
        return str(self.index)


@pytest.fixture
def stream_data(configure):
    opened = []

    def build(source, *overrides, delay=0.0, retries=3):
        config = configure("data.max_eval_samples=5", "data.shuffle_buffer_size=8", *overrides)
        retry = RetryPolicy(retries, delay)
        text = divide_stream(source, config.data, retry)
        tokenizer = build_tokenizer(config.data.tokenizer)
        size = tokenizer.padded_vocab_size
        opened.append(DataPipeline(text, config, derive(config), tokenizer, vocab_size=size, retry=retry))
        return opened[-1]

    yield build
    for pipeline in opened:
        pipeline.close()


def read(data, count):
    documents = data.train_documents().__iter__()
    return [next(documents) for _ in range(count)]


@pytest.mark.parametrize("shuffle", ["true", "false"])
@pytest.mark.parametrize("mode", ["sequential", "bin"])
def test_restores_exactly_at_every_position(stream_data, mode, shuffle):
    data = stream_data(
        ListStream(),
        f"data.packing_mode={mode}",
        f"data.shuffle={shuffle}",
        "data.repeat=false",
        "data.packing_buffer_docs=6",
        "data.prefetch=2",
    )
    assert_equal_output_after_checkpoint(data.train_dataset())


@pytest.mark.parametrize("mode", ["sequential", "bin"])
def test_restores_across_passes(stream_data, mode):
    options = (f"data.packing_mode={mode}", "data.packing_buffer_docs=6", "data.prefetch=2")
    iterator = stream_data(ListStream(), *options).train_iterator()
    states, batches = [], []
    for _ in range(60):
        states.append(json.dumps(iterator.get_state()))
        batches.append(next(iterator).input_ids.tolist())
    for first in range(0, 50, 7):
        resumed = stream_data(ListStream(), *options).train_iterator()
        resumed.set_state(json.loads(states[first]))
        assert [next(resumed).input_ids.tolist() for _ in range(5)] == batches[first : first + 5]


def test_the_first_documents_are_held_out_of_every_pass(stream_data):
    data = stream_data(ListStream())
    assert data.heldout_texts() == TEXTS[:5]
    assert sorted(read(data, 200)) == sorted(TEXTS[5:] * 8)


def test_a_short_stream_holds_out_a_twentieth(stream_data):
    data = stream_data(ListStream(TEXTS[:4]))
    assert data.heldout_texts() == TEXTS[:1]
    assert sorted(read(data, 3)) == sorted(TEXTS[1:4])


def test_failures_are_retried_at_the_same_document(stream_data, caplog):
    failures = {number: ConnectionError(f"lost {number}") for number in (3, 9, 10, 11, 20, 31, 44)}
    source = ListStream(failures=failures)
    with caplog.at_level(logging.WARNING, "chomp.data"):
        data = stream_data(source, "data.shuffle=false")
        assert data.heldout_texts() == TEXTS[:5]
        assert read(data, 50) == TEXTS[5:] * 2
    assert not source.failures
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 7
    assert messages[0] == (
        "the test stream: reading failed (ConnectionError: lost 3); retry 1 of 3 at the same place in 0.0 s"
    )


def test_when_retries_are_used_up_the_error_says_why_and_no_text_is_lost(stream_data):
    source = ListStream(failures={number: TimeoutError("no answer") for number in (22, 23, 24)})
    data = stream_data(source, "data.shuffle=false", "data.prefetch=2", retries=2)
    iterator = data.train_iterator()
    batches, message = (
        [],
        (
            "the test stream cannot be reached: reading failed 3 times in a row, the last time with TimeoutError: no "
            "answer; check the network, or raise data.max_retries and data.retry_delay_seconds"
        ),
    )
    with pytest.raises(DataError) as caught:
        batches.extend(iterator)
    assert str(caught.value) == message
    with pytest.raises(DataError):
        next(iterator)
    resumed = stream_data(ListStream(), "data.shuffle=false").train_iterator()
    resumed.set_state(iterator.get_state())
    untouched = stream_data(ListStream(), "data.shuffle=false").train_iterator()
    expected = [next(untouched) for _ in range(len(batches) + 3)]
    batches += [next(resumed) for _ in range(3)]
    assert [batch.input_ids.tolist() for batch in batches] == [batch.input_ids.tolist() for batch in expected]


def test_waits_double(stream_data, caplog):
    source = ListStream(failures={number: OSError("down") for number in (1, 2, 3)})
    with caplog.at_level(logging.WARNING, "chomp.data"):
        stream_data(source, delay=0.01)
    assert [record.args[-1] for record in caplog.records] == [0.01, 0.02, 0.04]


def test_errors_of_content_are_not_retried(stream_data):
    source = ListStream(failures={12: DataError("row 12 is null"), 13: AssertionError("never read")})
    iterator = stream_data(source, "data.prefetch=1").train_iterator()
    with pytest.raises(DataError) as caught:
        list(iterator)
    assert str(caught.value) == "row 12 is null"
    assert 13 in source.failures


def test_bugs_below_are_reported_and_not_retried(stream_data, caplog):
    source = ListStream(failures={12: ZeroDivisionError("oops")})
    iterator = stream_data(source, "data.prefetch=1").train_iterator()
    with pytest.raises(DataError) as caught:
        list(iterator)
    assert str(caught.value) == "preparing a batch from the test stream failed: ZeroDivisionError: oops"
    assert "ZeroDivisionError" in caplog.text


def test_a_stream_of_one_document_cannot_be_divided(stream_data):
    with pytest.raises(DataError) as caught:
        stream_data(ListStream(TEXTS[:1]))
    assert str(caught.value) == (
        "the test stream is a stream of 1 document, too short to hold one out for evaluation; set data.hf_streaming: "
        "false or name a data.hf_eval_split"
    )


def test_a_stream_with_nothing_left_to_train_on(stream_data):
    with pytest.raises(DataError) as caught:
        next(stream_data(ListStream(TEXTS[:5])).train_iterator())
    assert str(caught.value) == "the test stream has no documents to train on"


def test_a_stream_of_empty_documents_ends_with_an_error(stream_data):
    with pytest.raises(DataError) as caught:
        next(stream_data(ListStream(["x" * 30] * 5 + [""] * 20), "data.shuffle=false").train_iterator())
    assert str(caught.value) == (
        "no usable text in the test stream: read 20 documents, the longest of 1 tokens, and a document needs at least "
        "2 tokens to have one to predict; check data.text_key and the files"
    )


def test_closing_ends_a_wait_for_a_retry(stream_data):
    source = ListStream(failures={number: OSError("down") for number in range(8, 99)})
    data = stream_data(source, "data.prefetch=2", delay=60.0)
    iterator = data.train_iterator()
    iterator.start_prefetch()
    wait_until(lambda: source.reads >= 8)
    begin = time.monotonic()
    data.close()
    assert time.monotonic() - begin < 2
    assert not any("prefetch" in thread.name and thread.is_alive() for thread in threading.enumerate())


def test_closing_leaves_a_hanging_read_behind(stream_data, monkeypatch, caplog):
    release = threading.Event()
    monkeypatch.setattr("chomp.data.prefetch.CLOSE_WAIT_SECONDS", 0.1)

    class Hanging(ListStream):
        def open(self, cursor):
            if cursor is not None:
                release.wait()
            return super().open(cursor)

    data = stream_data(Hanging(), "data.prefetch=2")
    data.train_iterator().start_prefetch()
    begin = time.monotonic()
    data.close()
    assert time.monotonic() - begin < 2
    assert "a read of training data has not ended" in caplog.text
    release.set()
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and ("prefetch" in thread.name or "chomp-close" in thread.name):
            thread.join(10)
            assert not thread.is_alive()
