"""Mixtures: shares at any prefix, stages, exhaustion, exact restoring."""

import json
import re
from itertools import accumulate

import grain
import numpy as np
import pytest
from grain.experimental import assert_equal_output_after_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from chomp.config.data import DataConfig
from chomp.config.mixture import MixtureConfig
from chomp.data.batch import BatchShape, LabelRules
from chomp.data.mixture import MixtureDataset
from chomp.data.packing.base import Corpus, PackPlan
from chomp.data.packing.bins import BinPackDataset
from chomp.data.packing.sequential import SequentialPackDataset
from chomp.data.passes import passes_of_stream
from chomp.data.shares import PassSize, Shares, course, shortages, whole_weights
from chomp.errors import ConfigError, DataError

SEQ = 16
MODES = ("sequential", "bin")


def same(left, right):
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def tokens_by_source(batches, count):
    """`[rows, sources]`: tokens of each source in each row, in the order of reading."""
    filled = np.concatenate([(batch.segment_ids > 0).sum(-1).reshape(-1) for batch in batches])
    sources = np.concatenate([batch.source_ids.reshape(-1) for batch in batches])
    return np.where(sources[:, None] == np.arange(count), filled[:, None], 0)


def packed(mode, lengths, first, repeat=True):
    """One source of documents with these lengths, all of its ids between `first` and `first` + 999."""
    rules = LabelRules(0, None, True, True)
    texts = [np.full(length, first + number % 999, np.int32) for number, length in enumerate(lengths)]
    dataset = grain.MapDataset.source(texts)
    dataset = dataset.repeat() if repeat else dataset
    documents = dataset.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    plan = PackPlan(BatchShape(1, 1, SEQ), rules, lambda tokens: tokens, 2, None, 100_000)
    if mode == "bin":
        return BinPackDataset(documents, plan, Corpus(str(first), len(texts)), group=4, max_docs=None)
    return SequentialPackDataset(documents, plan, Corpus(str(first), len(texts)))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), mode=st.sampled_from(MODES))
def test_at_any_row_no_source_is_further_from_its_share_than_stated(data, mode):
    count = data.draw(st.integers(2, 5))
    weight = st.floats(0.01, 1, allow_nan=False)
    weights = [data.draw(st.lists(weight, min_size=count, max_size=count)) for _ in range(2)]
    weights[1][0] = 0.0
    lengths = st.lists(st.integers(2, 70), min_size=1, max_size=12)
    names = "abcde"[:count]
    begins = 40 * SEQ
    mixture = MixtureConfig.model_validate(
        {
            "sources": {name: {"weight": one} for name, one in zip(names, weights[0], strict=True)},
            "stages": {"late": {"from_tokens": begins, "weights": dict(zip(names, weights[1], strict=True))}},
        }
    )
    sources = {name: packed(mode, data.draw(lengths), 1000 * (number + 1)) for number, name in enumerate(names)}
    iterator = MixtureDataset(sources, Shares(mixture), BatchShape(2, 5, SEQ), 0, stops=False).__iter__()
    rows = tokens_by_source([next(iterator) for _ in range(10)], count)
    met = list(accumulate(rows.sum(1)))
    turn = next(row for row, tokens in enumerate(met) if tokens >= begins) + 1
    for part, wanted in ((rows[:turn], weights[0]), (rows[turn:], weights[1])):
        share = np.asarray(wanted) / sum(wanted)
        ahead = part.cumsum(0) - np.outer(part.sum(1).cumsum(), share)
        assert (ahead <= SEQ + 1e-6).all()
        assert (-ahead <= SEQ * (np.count_nonzero(share) - 1) + 1e-6).all()
    assert not rows[turn:, 0].any()


def test_weights_are_exact_in_whole_numbers():
    assert whole_weights({"a": 0.7, "b": 0.2, "c": 0.1}) == {"a": 7, "b": 2, "c": 1}
    assert whole_weights({"a": 0.0, "b": 1e-3}) == {"a": 0, "b": 1}


@pytest.fixture
def mixture(corpus, tmp_path):
    """Overrides of two sources of files, one of them small."""
    small = tmp_path / "small"
    small.mkdir()
    for number in range(5):
        (small / f"{number}.txt").write_text(f"({number})" + "XYZ"[number % 3] * (40 + 9 * number))

    def make(*more, mode="sequential", prefetch=0):
        return (
            "data.mixture.sources.web.backend=files",
            f"data.mixture.sources.web.files=['{corpus}/*.txt']",
            "data.mixture.sources.web.weight=0.75",
            "data.mixture.sources.small.backend=files",
            f"data.mixture.sources.small.files=['{small}/*.txt']",
            "data.mixture.sources.small.weight=0.25",
            "data.packing_buffer_docs=7",
            f"data.packing_mode={mode}",
            f"data.prefetch={prefetch}",
            *more,
        )

    return make


STAGED = (
    "data.mixture.stages.late.from_tokens=1_500",
    "data.mixture.stages.late.weights.web=0.1",
    "data.mixture.stages.late.weights.small=0.9",
)
RENORMALISED = ("data.mixture.exhausted=renormalise", "data.mixture.sources.small.max_epochs=3")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("prefetch", [0, 2])
def test_restoring_at_any_batch_continues_exactly(open_data, mixture, mode, prefetch):
    options = mixture(*STAGED, *RENORMALISED, mode=mode, prefetch=prefetch)
    data = open_data(*options)
    iterator = data.train_iterator()
    states, batches = [], []
    for _ in range(70):
        states.append(json.dumps(iterator.get_state()))
        batch = next(iterator, None)
        if batch is None:
            break
        batches.append(batch)
    assert data.ended(json.loads(states[-1])) == ["web", "small"]
    assert len(batches) < 70
    over = next(number for number, state in enumerate(states) if data.ended(json.loads(state)))
    for first in (0, 1, 17, 24, over - 1, over, over + 1, len(batches) - 3):
        resumed = open_data(*options).train_iterator()
        resumed.set_state(json.loads(states[first]))
        assert json.dumps(resumed.get_state()) == states[first]
        assert all(same(next(resumed), batches[index]) for index in range(first, min(first + 3, len(batches))))


@pytest.mark.parametrize("mode", MODES)
def test_grains_own_check_passes(open_data, mixture, mode):
    stop = ("data.mixture.exhausted=stop", "data.mixture.sources.small.weight=2")
    assert_equal_output_after_checkpoint(open_data(*mixture(*stop, mode=mode)).train_dataset())


def test_each_end_of_a_source_is_handled_as_configured(open_data, mixture):
    def read(*more):
        data = open_data(*mixture(*more))
        iterator = data.train_iterator()
        batches = [batch for _, batch in zip(range(80), iterator, strict=False)]
        return data, batches, data.by_source(iterator.get_state())

    data, batches, progress = read()
    assert len(batches) == 80
    assert list(data.parts) == ["web", "small"]
    assert progress["small"].epochs > 3
    assert progress["web"].tokens + progress["small"].tokens == 80 * 64
    rows = tokens_by_source(batches, 2).sum(0)
    assert rows.tolist() == [progress["web"].tokens, progress["small"].tokens]
    assert abs(rows[1] / rows.sum() - 0.25) < 0.01

    _, batches, progress = read("data.mixture.exhausted=stop", "data.mixture.sources.small.max_epochs=2")
    assert progress["small"].epochs == 2
    assert progress["web"].epochs < 2
    text = sum(len(f"({n})") + 40 + 9 * n + 1 for n in (0, 1, 3, 4))
    assert progress["small"].tokens == 2 * text, "every token of both passes but the held-out document's"

    _, batches, progress = read("data.mixture.exhausted=renormalise")
    assert progress["small"].epochs == progress["web"].epochs == 1
    assert not tokens_by_source(batches, 2)[64:, 1].any()
    assert batches[-1].attention_mask.sum() < 64
    assert batches[-1].source_ids.shape == (2, 2, 1)


def test_a_source_may_read_further_passes_after_its_end(open_data, mixture):
    first = open_data(*mixture(*RENORMALISED)).train_iterator()
    while not first.get_state()["ended"]["small"]:
        next(first)
    state = json.loads(json.dumps(first.get_state()))
    more = open_data(*mixture(RENORMALISED[0], "data.mixture.sources.small.max_epochs=9"))
    again = more.train_iterator()
    again.set_state(state)
    read = more.by_source(again.get_state())["small"]
    for _ in range(8):
        next(again)
    assert not more.ended(again.get_state())
    assert more.by_source(again.get_state())["small"].tokens > read.tokens


def test_an_order_depends_on_the_name_of_its_source_alone(open_data, mixture):
    def documents(*more):
        data = open_data(*mixture(*more))
        return list(map(str, zip(range(30), data.parts["web"].train_documents(), strict=False)))

    assert documents() == documents("data.mixture.sources.new.weight=1", "data.mixture.sources.web.weight=3")


def test_every_source_holds_out_its_own_documents(open_data, mixture):
    data = open_data(*mixture("data.max_eval_samples=3"))
    assert sum(text.startswith("(") for text in data.heldout_texts()) == 1
    assert len(data.heldout_texts()) == 1 + 2
    assert sum(int((batch.labels >= 0).sum()) for batch in data.eval_batches()) > 0
    assert data.fingerprint["source"].keys() == {"web", "small"}


def test_a_batch_names_its_documents_by_source(open_data, mixture):
    data = open_data(*mixture("data.shuffle=false"))
    iterator = data.train_iterator()
    before = iterator.get_state()
    next(iterator)
    origin = data.documents_between(before, iterator.get_state())
    assert origin.source.startswith("the mixture (web: 0, 1, 2")
    assert "; small: 0" in origin.source
    assert origin.document_count > 3
    assert origin.documents == []


def test_errors_name_the_settings_of_the_source(open_data, mixture, tmp_path):
    with pytest.raises(DataError, match=r"^the file .*gone.txt in data\.mixture\.sources\.web\.files does not exist"):
        open_data(*mixture(f"data.mixture.sources.web.files={tmp_path}/gone.txt"))
    (tmp_path / "short.txt").write_text("a\n" * 3)
    with pytest.raises(ConfigError, match=r"data\.mixture\.sources\.web\.hf_split are both train"):
        open_data(*mixture(
            "data.mixture.sources.web.backend=hf", "data.mixture.sources.web.files=[]",
            "data.mixture.sources.web.hf_dataset=x/y", "data.mixture.sources.web.hf_eval_split=train",
        ))  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "size", "said", "certain"),
    [
        ("stop", PassSize(100, True), "has 200 tokens in 2 passes, and its share of the run is 250: ", True),
        ("stop", PassSize(100, False), "has about 200 tokens in 2 passes", False),
        ("stop", PassSize(50, False), "has about 100 tokens in 2 passes", True),
        ("renormalise", PassSize(100, True), "after about 800 of 1,000 tokens, at about step 80 of 100: b takes", True),
    ],
)  # fmt: skip
def test_shares_that_cannot_be_met_are_told(policy, size, said, certain):
    mixture = {"exhausted": policy, "sources": {"a": {"max_epochs": 2}, "b": {"weight": 3}}}
    data = DataConfig.model_validate({"mixture": mixture})
    (shortage,) = shortages(data, 1000, 10, {"a": size, "b": None})
    assert said in shortage.message
    assert shortage.is_certain == certain
    assert shortages(data, 1000, 10, {"a": PassSize(125, True), "b": None}) == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("group", [3, 100])
def test_passes_over_a_source_grow_with_what_was_read_of_it(open_data, mixture, mode, group):
    options = (*mixture(mode=mode), f"data.packing_buffer_docs={group}")
    data = open_data(*options)
    iterator, small = data.train_iterator(), data.parts["small"]
    in_pass = small.count_train_tokens()
    before = 0.0
    for _ in range(80):
        next(iterator)
        state = iterator.get_state()
        read = data.by_source(state)["small"]
        assert before <= read.epochs
        before = read.epochs
        # A group of three documents is most of a pass, whose documents differ in length.
        assert abs(read.epochs - read.tokens / in_pass) < (0.5 if group == 3 or mode == "sequential" else 0.1)
    assert abs(read.epochs - read.tokens / in_pass) < 0.5
    assert read.epochs > 3
    resumed = open_data(*options)
    again = resumed.train_iterator()
    again.set_state(json.loads(json.dumps(state)))
    assert resumed.by_source(again.get_state()) == data.by_source(state)
    next(again)
    next(iterator)
    assert again.get_state() == iterator.get_state()


def test_passes_over_one_long_document_are_parts_of_it(open_data, tmp_path):
    (tmp_path / "long.txt").write_text("word " * 400)
    text = ("data.backend=files", f"data.files=['{tmp_path}/long.txt']")
    for mode in MODES:
        data = open_data(*text, f"data.packing_mode={mode}")
        iterator = data.train_iterator()
        next(iterator)
        assert data.epochs(iterator.get_state()) == pytest.approx(64 / data.count_train_tokens(), rel=0.3)


@pytest.mark.parametrize("mode", MODES)
def test_passes_over_a_stream_are_known_once_it_has_ended(mode):
    state = {"documents": 50, "parent": {"cursor": "", "epoch": 1, "documents": 4}}
    inside = {"rows_used": 3, "rows": 6, "group": 8} if mode == "bin" else {"offset": 1, "length": 2}
    read = 4 if mode == "bin" else 0.5
    assert passes_of_stream({**state, **inside}, None) == 1 + (4 + read) / 46
    shuffled = {"parent_window_start_state": state["parent"], "window_index": 1, "pos_in_window": 6}
    assert passes_of_stream({**state, **inside, "parent": shuffled}, 40) == 1 + (10 + read) / 40
    first = {"documents": 9, "parent": {"cursor": "", "epoch": 0, "documents": 9}}
    assert passes_of_stream({**first, **inside}, None) == 0
    assert passes_of_stream({**first, **inside}, 18) == (9 + read) / 18


@pytest.mark.parametrize(
    ("weights", "sizes", "said"),
    [
        # Both end together; the first alone; the second of three with the share of the first; none but weight 0.
        ({"a": 1, "b": 1}, {"a": 90, "b": 90}, ["all sources of data.mixture ends after about 180 of 1,000 tokens"]),
        ({"a": 1, "b": 1}, {"a": 90, "b": None}, ["source a .* ends after about 180 of 1,000 tokens, .*: b takes its"]),
        (
            {"a": 1, "b": 1, "c": 2},
            {"a": 100, "b": 200, "c": 9000},
            ["source a .* after about 400 of .*: b, c take its", "source b .* after about 700 of .*: c takes its"],
        ),
        (
            {"a": 1, "b": 1},
            {"a": 90, "b": 600},
            ["source a .* after about 180 of .*: b takes its", "all sources .* after about 690 of .* step 69 of 100"],
        ),
        ({"a": 1, "b": 0}, {"a": 90, "b": None}, ["all sources .* after about 90 of .* no other source with a weight"]),
        ({"a": 1, "b": 1}, {"a": 500, "b": 501}, []),
    ],
)  # fmt: skip
def test_what_the_end_of_sources_leaves_to_others_is_told(weights, sizes, said):
    mixture = {"exhausted": "renormalise", "sources": {name: {"weight": weight} for name, weight in weights.items()}}
    data = DataConfig.model_validate({"mixture": mixture})
    known = {name: PassSize(tokens, True) if tokens else None for name, tokens in sizes.items()}
    found = shortages(data, 1000, 10, known)
    assert len(found) == len(said)
    for shortage, pattern in zip(found, said, strict=True):
        assert re.search(pattern, shortage.message)


def test_the_course_of_a_mixture_is_that_of_its_batches(open_data, mixture):
    """Text that ends, with a stage between, ends where the shares say."""
    passes = ("data.mixture.sources.web.max_epochs=2", "data.mixture.sources.small.max_epochs=4")
    data = open_data(*mixture("data.mixture.exhausted=renormalise", *passes, *STAGED))
    sizes = {name: part.count_train_tokens() for name, part in data.parts.items()}
    config = data._config.data.mixture
    found = course(config, 10**9, {"web": 2 * sizes["web"], "small": 4 * sizes["small"]})
    iterator = data.train_iterator()
    ends = {}
    for _ in iterator:
        state = iterator.get_state()
        ends |= {name: sum(state["read"].values()) for name in data.ended(state) if name not in ends}
    assert list(ends) == list(found.ends)
    batch = 64
    assert all(abs(ends[name] - found.ends[name]) <= 2 * batch for name in ends)
    assert found.text_ends == pytest.approx(sum(state["read"].values()))


def test_a_share_goes_to_sources_that_have_a_weight_and_text():
    mixture = {
        "sources": {"a": {"weight": 1}, "b": {"weight": 1}, "c": {"weight": 0}},
        "stages": {"late": {"from_tokens": 100, "weights": {"a": 1, "b": 0, "c": 1}}},
    }
    shares = Shares(MixtureConfig.model_validate(mixture))
    ended = {"a": True, "b": False, "c": False}
    assert shares.left({"a": 40, "b": 40, "c": 0}, ended) == ["b"]
    assert shares.left({"a": 50, "b": 50, "c": 0}, ended) == ["c"]
    assert shares.left({"a": 40, "b": 40, "c": 0}, ended | {"b": True}) == []


def test_a_source_is_evaluated_on_the_files_that_it_names(open_data, mixture, tmp_path):
    (tmp_path / "own.txt").write_text("a text that no source trains on")
    named = "data.mixture.sources.small.eval_files"
    data = open_data(*mixture(f"{named}=['{tmp_path}/own.txt']", "data.max_eval_samples=4"))
    assert data.heldout_texts()[-1:] == ["a text that no source trains on"]
    assert data.parts["small"].train_count == 5
    assert [name for name, _ in data.training_texts()] == [
        "the 40 files of data.mixture.sources.web.files",
        "the 5 files of data.mixture.sources.small.files",
    ]
    assert "data.files" not in data.describe()
    copied = tmp_path / "small" / "2.txt"
    with pytest.raises(DataError) as error:
        open_data(*mixture(f"{named}=['{copied}']"))
    assert "of the 5 files of data.mixture.sources.small.files is also document 1" in str(error.value)
    with pytest.raises(DataError) as error:
        open_data(*mixture(f"{named}=['{tmp_path}/no.txt']"))
    assert f"no.txt in {named}" in str(error.value)


@pytest.mark.parametrize("mode", MODES)
def test_a_state_of_an_older_version_continues_exactly(open_data, mixture, mode):
    first = open_data(*mixture(mode=mode)).train_iterator()
    for _ in range(5):
        next(first)
    state = json.loads(json.dumps(first.get_state()))
    for one in state["sources"].values():
        for name in ("rows", "group", "length"):
            one.pop(name, None)
    again = open_data(*mixture(mode=mode)).train_iterator()
    again.set_state(state)
    for _ in range(6):
        assert same(next(again)[:4], next(first)[:4])
    assert again.get_state() == first.get_state()
