"""What every source of text must do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from chomp.config.data import DataConfig, TokenizerConfig
from chomp.config.derive import derive
from chomp.config.load import parse_config
from chomp.data.pipeline import DataPipeline, build_data
from chomp.data.sources.files import FilesSource
from chomp.data.tokenize_corpus import CorpusPlan, prepare
from chomp.data.tokenizers import build_tokenizer
from chomp.model.loss import scored_tokens
from chomp.record.formatting import plural

TEXTS = [f"document {number}: " + 'réal text, "quoted"\n'[: 3 + number % 17] * (number % 5) for number in range(45)]
EOS = 2


def local_text(folder: Path) -> tuple[str, ...]:
    return ("data.backend=local_text", f"data.local_text={' / '.join(TEXTS)}")


def text_files(folder: Path) -> tuple[str, ...]:
    for number, text in enumerate(TEXTS):
        path = folder / f"part{number % 3}" / f"{number:02}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    return ("data.backend=files", f"data.files=['{folder}/**/*.md']")


def json_lines(folder: Path) -> tuple[str, ...]:
    for part in range(3):
        rows = [{"id": number, "text": TEXTS[number]} for number in range(part * 15, part * 15 + 15)]
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return ("data.backend=files", f"data.files=['{folder}/*.jsonl']")


def parquet(folder: Path) -> tuple[str, ...]:
    for part in range(3):
        table = pa.table({"id": list(range(15)), "text": TEXTS[part * 15 : part * 15 + 15]})
        pq.write_table(table, folder / f"{part}.parquet", row_group_size=4)
    return ("data.backend=files", f"data.files=['{folder}/*.parquet']")


def csv(folder: Path) -> tuple[str, ...]:
    pa.csv.write_csv(pa.table({"id": list(range(45)), "text": TEXTS}), folder / "all.csv")
    return ("data.backend=files", f"data.files=['{folder}/all.csv']")


def mixed_files(folder: Path) -> tuple[str, ...]:
    (folder / "0.txt").write_text(TEXTS[0], "utf-8")
    (folder / "1.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS[1:20]), "utf-8")
    pq.write_table(pa.table({"text": TEXTS[20:]}), folder / "2.parquet")
    return ("data.backend=files", f"data.files=['{folder}/*.*']")


def hub_stream(folder: Path) -> tuple[str, ...]:
    json_lines(folder)
    return ("data.backend=hf", f"data.hf_dataset={folder}", "data.hf_streaming=true", "data.shuffle_buffer_size=10")


def hub_stream_parquet(folder: Path) -> tuple[str, ...]:
    parquet(folder)
    return ("data.backend=hf", f"data.hf_dataset={folder}", "data.hf_streaming=true", "data.shuffle_buffer_size=10")


def hub_download(folder: Path) -> tuple[str, ...]:
    parquet(folder)
    return ("data.backend=hf", f"data.hf_dataset={folder}", "data.hf_streaming=false")


def token_documents(folder: Path) -> tuple[str, ...]:
    ids = [np.append(np.frombuffer(text.encode(), np.uint8).astype("<u4") + 3, EOS) for text in TEXTS]
    np.concatenate(ids).astype("<u4").tofile(folder / "ids.bin")
    return ("data.backend=tokens", f"data.tokens_path={folder}/ids.bin")


def token_stream(folder: Path) -> tuple[str, ...]:
    (np.frombuffer("".join(TEXTS).encode(), np.uint8).astype("<u2") + 3).astype("<u2").tofile(folder / "ids.bin")
    return ("data.backend=tokens", f"data.tokens_path={folder}/ids.bin", "data.tokens_dtype=uint16")


def token_documents_by_index(folder: Path) -> tuple[str, ...]:
    """Raw bytes without a separator, and where documents begin: one that is empty among them."""
    ends = np.cumsum([len(text.encode()) for text in TEXTS])
    np.concatenate([[0, 0], ends]).astype("<i8").tofile(folder / "ids.idx")
    # No byte of UTF-8 is so large that the three special ids below them push it out of a byte.
    (np.frombuffer("".join(TEXTS).encode(), np.uint8) + 3).astype("u1").tofile(folder / "ids.bin")
    return ("data.backend=tokens", f"data.tokens_path={folder}/ids.bin")


def prepared(folder: Path) -> tuple[str, ...]:
    json_lines(folder)
    source = FilesSource(DataConfig(backend="files", files=[f"{folder}/*.jsonl"]))
    prepare(CorpusPlan(folder / "prepared", source, TokenizerConfig()))
    return ("data.backend=tokens", f"data.tokens_path={folder / 'prepared'}")


def stdlib(folder: Path) -> tuple[str, ...]:
    return ("data.backend=stdlib", "data.max_eval_samples=3", "train.seq_len=4096", "train.batch_size=64")


SOURCES = [local_text, text_files, json_lines, parquet, csv, mixed_files, hub_stream, hub_stream_parquet, hub_download,
           token_documents, token_stream, token_documents_by_index, prepared, stdlib]  # fmt: skip
FROM_FILES = [source for source in SOURCES if source not in (local_text, stdlib)]
STREAMS = (hub_stream, hub_stream_parquet)


@pytest.fixture
def open_source(tmp_path_factory, monkeypatch) -> Callable[..., DataPipeline]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "datasets-cache")
    opened = []

    def build(*overrides: str) -> DataPipeline:
        base = ("train.seq_len=32", "train.batch_size=2", "data.prefetch=0", "data.max_eval_samples=4")
        config = parse_config("{}", source="test", overrides=(*base, *overrides)).config
        opened.append(build_data(config, derive(config), build_tokenizer(config.data.tokenizer)))
        return opened[-1]

    yield build
    for pipeline in opened:
        pipeline.close()


@pytest.fixture(params=SOURCES, ids=lambda source: source.__name__)
def source(request, tmp_path) -> tuple[str, ...]:
    return request.param(tmp_path)


def sorted_bytes(arrays) -> np.ndarray:
    """Every byte behind token ids, sorted, special ids left out."""
    ids = np.concatenate([np.asarray(array).reshape(-1) for array in arrays])
    return np.sort(ids[ids >= 3] - 3)


def test_training_and_evaluation_share_no_text_and_lose_none(open_source, source):
    data = open_source(*source, "data.repeat=false")
    assert data.has_eval
    scored = [scored_tokens(batch.labels, batch.segment_ids) for batch in data.eval_batches()]
    # What nothing comes before is read and not scored.
    first = [np.frombuffer(text.encode()[:1], np.uint8).astype(int) + 3 for text in data.iter_heldout_texts()]
    evaluated = sorted_bytes([*scored, *first])
    both = sorted_bytes([evaluated + 3, *(batch.input_ids for batch in data.train_iterator())])
    whole = open_source(*source, "data.repeat=false", "data.shuffle=false")
    assert set(data.heldout_texts()).isdisjoint(text_of(whole))
    if "stdlib" in source[0]:
        expected = [text.encode() for text in text_of(whole) + whole.heldout_texts()]
    elif "local_text" in source[0]:
        expected = [" / ".join(TEXTS).encode()]
    else:
        expected = [text.encode() for text in TEXTS]
    assert np.array_equal(both, np.sort(np.frombuffer(b"".join(expected), np.uint8)))
    if "uint16" not in source[-1]:  # whose pieces may end inside a character
        assert np.array_equal(evaluated, np.sort(np.frombuffer("".join(data.heldout_texts()).encode(), np.uint8)))


def text_of(data: DataPipeline) -> list[str]:
    """One pass of training documents as text."""
    tokenizer = build_tokenizer(parse_config("{}", source="test").config.data.tokenizer)
    return [item if isinstance(item, str) else tokenizer.decode(item) for item in data.train_documents()]


def test_switching_evaluation_on_does_not_change_training(open_source, source):
    first = next(open_source(*source).train_iterator())
    second = next(open_source(*source, "train.eval_every=5").train_iterator())
    assert all(map(np.array_equal, first, second))


def test_opening_twice_gives_the_same_batches_and_fingerprint(open_source, source):
    one, two = open_source(*source), open_source(*source)
    assert one.fingerprint == two.fingerprint
    assert json.loads(json.dumps(one.fingerprint)) == one.fingerprint
    assert one.heldout_texts() == two.heldout_texts()
    for _, left, right in zip(range(5), one.train_iterator(), two.train_iterator(), strict=False):
        assert all(map(np.array_equal, left, right))
    first, second = list(one.eval_batches()), list(one.eval_batches())
    assert all(
        map(np.array_equal, np.concatenate([b.input_ids for b in first]), np.concatenate([b.input_ids for b in second]))
    )


@pytest.mark.parametrize("mode", ["sequential", "bin"])
def test_restores_exactly_behind_a_prefetch(open_source, source, mode):
    options = (*source, f"data.packing_mode={mode}", "data.prefetch=2", "data.packing_buffer_docs=5")
    iterator = open_source(*options).train_iterator()
    states, batches = [], []
    for _ in range(12):
        states.append(json.dumps(iterator.get_state()))
        batches.append(next(iterator))
    assert max(map(len, states)) < 1000
    for first in (0, 3, 8):
        resumed = open_source(*options).train_iterator()
        resumed.set_state(json.loads(states[first]))
        assert all(np.array_equal(next(resumed).input_ids, batch.input_ids) for batch in batches[first:])


def test_every_pass_brings_every_document_again(open_source, source):
    once = len(list(open_source(*source, "data.repeat=false").train_documents()))
    documents = open_source(*source, "data.shuffle=false").train_documents().__iter__()
    passes = [[np.asarray(next(documents)).tobytes() for _ in range(once)] for _ in range(2)]
    assert passes[0] == passes[1]


def test_shuffling_changes_the_order(open_source, source):
    # Of documents: bins are shuffled rows of one document, too.
    source = (*source, "data.packing_mode=sequential")
    plain = next(open_source(*source, "data.shuffle=false").train_iterator())
    shuffled = next(open_source(*source).train_iterator())
    one_document = "local_text" in source[0]
    assert np.array_equal(plain.input_ids, shuffled.input_ids) == one_document


def test_describes_itself_in_one_line(open_source, source):
    data = open_source(*source)
    assert "\n" not in data.describe()
    assert f"{plural(len(data.heldout_texts()), 'document')} held out" in data.describe()
    iterator = data.train_iterator()
    next(iterator)
    facts = data.describe_state(iterator.get_state())
    assert set(facts) == {"epoch", "documents", "skipped"}


@pytest.mark.parametrize("make", FROM_FILES, ids=lambda make: make.__name__)
def test_a_copy_elsewhere_has_the_same_fingerprint_and_changed_text_another(open_source, tmp_path, make):
    (tmp_path / "here" / "data").mkdir(parents=True)
    original = make(tmp_path / "here" / "data")
    before = open_source(*original).fingerprint
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    copied = open_source(*(option.replace(f"{tmp_path}/here", f"{tmp_path}/there") for option in original))
    assert copied.fingerprint == before
    shutil.rmtree(tmp_path / "here" / "data")
    (tmp_path / "here" / "data").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "TEXTS", ["D" + text[1:] for text in TEXTS])
        make(tmp_path / "here" / "data")
    assert open_source(*original).fingerprint != before


@pytest.mark.parametrize("streaming", ["true", "false"])
def test_an_evaluation_split_is_used(open_source, tmp_path, streaming):
    for split in ("train", "validation"):
        rows = [{"text": f"{split} {number} " * 3} for number in range(9)]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ("data.backend=hf", f"data.hf_dataset={tmp_path}", f"data.hf_streaming={streaming}")
    data = open_source(*options, "data.hf_eval_split=validation", "data.repeat=false", "data.shuffle=false")
    assert len(data.heldout_texts()) == 4
    assert all(text.startswith("validation") for text in data.heldout_texts())
    assert text_of(data) == [f"train {number} " * 3 for number in range(9)]


def test_the_same_file_named_twice_is_read_once(open_source, tmp_path):
    text_files(tmp_path)
    twice = f"data.files=['{tmp_path}/**/*.md', '{tmp_path}/part0/00.md', '{tmp_path}/part1/../part0/*.md']"
    assert open_source("data.backend=files", twice).fingerprint["source"]["files"] == len(TEXTS)


def test_python_library_sources_are_python(open_source):
    data = open_source(*stdlib(Path()))
    assert data.fingerprint["source"]["documents"] > 300
    assert any("def " in text for text in data.heldout_texts())
