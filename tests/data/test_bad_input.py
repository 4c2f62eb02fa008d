"""Every mistake in the text ends in one sentence that says what is wrong, where, and what to do."""

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chomp.config.data import DataConfig
from chomp.data.sources.files import FilesSource
from chomp.errors import ConfigError, DataError


@pytest.fixture
def complaint(open_data):
    """The message of opening and reading everything."""

    def read(*overrides, error=DataError):
        with pytest.raises(error) as caught:
            list(open_data("data.repeat=false", *overrides).train_iterator())
        return str(caught.value)

    return read


@pytest.fixture
def write(tmp_path):
    """Write a file and get the overrides that train on it."""

    def make(name, content):
        path = tmp_path / name
        path.write_bytes(content)
        return ("data.backend=files", f"data.files=['{path}']"), path

    return make


def test_missing_file(complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert complaint("data.backend=files", "data.files=[no.txt]") == (
        f"the file no.txt in data.files does not exist; relative paths start at {tmp_path}"
    )


def test_glob_without_matches(complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert complaint("data.backend=files", "data.files=['**/*.rs']") == (
        f"no file matches **/*.rs in data.files; relative globs start at {tmp_path}"
    )


def test_folder(complaint, tmp_path):
    assert complaint("data.backend=files", f"data.files=['{tmp_path}/']") == (
        f"{tmp_path}/ in data.files is a folder; name its files, e.g. {tmp_path}/**/*.txt"
    )


def test_empty_file(complaint, write):
    options, path = write("empty.txt", b"")
    assert complaint(*options) == f"the file {path} is empty; add text, or change data.files"


def test_all_files_empty(complaint, tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.txt").touch()
    assert complaint("data.backend=files", f"data.files=['{tmp_path}/*.txt']") == (
        "the 3 files of data.files are empty; add text, or change data.files"
    )


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_an_arrow_file_whose_places_lie_outside_its_text(complaint, write, kind):
    texts = pa.array(["aaaa", "bbbb"]).cast(kind)
    table = pa.table({"text": texts})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    places = np.array([0, 4, 8], np.int64 if kind == pa.large_string() else np.int32)
    content = sink.getvalue().to_pybytes()
    assert content.count(places.tobytes()) == 1
    far = np.array([0, 4, 1 << 30], places.dtype)
    options, path = write("a.feather", content.replace(places.tobytes(), far.tobytes()))
    assert complaint(*options).startswith(f"{path} is damaged, or not what its name says: ")


@pytest.mark.parametrize("repeat", ["true", "false"])
@pytest.mark.parametrize("mode", ["sequential", "bin"])
def test_all_too_short_corpus(open_data, write, mode, repeat):
    rows = [{"text": text} for text in ("", "", "", "", "x")]
    options, path = write("short.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    data = open_data(
        *options,
        f"data.packing_mode={mode}",
        f"data.repeat={repeat}",
        "data.tokenizer.add_eos=false",
        "data.prefetch=1",
    )
    with pytest.raises(DataError) as caught:
        list(data.train_iterator())
    assert str(caught.value) == (
        f"no usable text in the file {path}: read 4 documents, the longest of 1 tokens, and a document needs at least "
        f"2 tokens to have one to predict; check data.text_key and the files"
    )


@pytest.mark.parametrize("streaming", ["true", "false"])
def test_one_usable_document_among_empty_ones_is_enough(open_data, tmp_path, streaming):
    rows = [{"text": "some text" if number in (1, 23) else ""} for number in range(30)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = open_data(
        *("data.backend=hf", f"data.hf_dataset={tmp_path}", f"data.hf_streaming={streaming}"),
        *("data.max_eval_samples=2", "data.shuffle_buffer_size=9", "data.packing_mode=sequential"),
    )
    iterator = data.train_iterator()
    for _ in range(12 if streaming == "false" else 3):
        assert next(iterator).attention_mask.all()


def test_bad_utf8_in_text(complaint, tmp_path):
    (tmp_path / "a.txt").write_text("good text")
    (tmp_path / "b.txt").write_bytes(b"caf\xe9 au lait")
    (tmp_path / "c.txt").write_text("good text again")
    assert complaint("data.backend=files", f"data.files=['{tmp_path}/*.txt']") == (
        f"{tmp_path}/b.txt is not valid UTF-8: byte 0xe9 at offset 3; convert the file, or set "
        f"data.on_bad_text: replace"
    )


def test_bad_utf8_in_json_lines(complaint, write):
    options, path = write("bad.jsonl", b'{"text": "fine and long"}\n{"text": "b\xff"}\n{"text": "c"}\n')
    assert complaint(*options) == (
        f"{path} is not valid UTF-8: byte 0xff at offset 37; convert the file, or set data.on_bad_text: replace"
    )


def test_bad_utf8_in_csv(complaint, write):
    options, path = write("bad.csv", b"text,n\nfine,1\nb\xfe,2\n")
    assert complaint(*options) == (
        f"{path} is not valid UTF-8: byte 0xfe at offset 15; convert the file, or set data.on_bad_text: replace"
    )


def bad_parquet(path):
    offsets = pa.py_buffer(np.array([0, 4, 6, 10], np.int32))
    texts = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"goodb\xffmore")])
    pq.write_table(pa.table({"text": texts}), path)


def test_bad_utf8_in_parquet(complaint, tmp_path):
    pq.write_table(pa.table({"text": ["one", "two"]}), tmp_path / "a.parquet")
    bad_parquet(tmp_path / "b.parquet")
    assert complaint("data.backend=files", f"data.files=['{tmp_path}/*.parquet']", "data.max_eval_samples=1") == (
        f"{tmp_path}/b.parquet, row 2, is not valid UTF-8 (invalid start byte at byte 1 of the text); repair it, or "
        f"set data.on_bad_text: replace"
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("b.txt", b"caf\xff au lait\n" * 30),
        ("b.jsonl", b'{"text": "caf\xff au lait"}\n' * 3),
        ("b.csv", b"text\ncaf\xff au lait\ncaf\xff au lait\n"),
    ],
)
def test_bad_utf8_is_replaced_when_asked(open_data, write, name, content):
    options, _ = write(name, content)
    data = open_data(*options, "data.on_bad_text=replace", "data.repeat=false")
    assert "caf\ufffd au lait" in data.heldout_texts()[0]
    assert sum(int(batch.attention_mask.sum()) for batch in data.train_iterator()) > 0


def test_bad_utf8_in_parquet_is_replaced_when_asked(open_data, tmp_path):
    bad_parquet(tmp_path / "b.parquet")
    data = open_data("data.backend=files", f"data.files=['{tmp_path}/b.parquet']", "data.on_bad_text=replace")
    assert data.heldout_texts() == ["b\ufffd"]


def test_null_text_in_json_lines(complaint, write):
    options, path = write("null.jsonl", b'{"text": "a"}\n\n{"text": null}\n{"text": "b"}\n')
    assert complaint(*options) == (
        f"{path}:3 has no text: `text` is null or missing; remove the row, or set data.on_bad_text: replace to skip it"
    )


def test_row_without_the_column_in_json_lines(complaint, write):
    options, path = write("rows.jsonl", b'{"text": "a"}\n{"body": "b", "id": 1}\n')
    assert complaint(*options) == (
        f"{path}:2 has no column `text`: its columns are body, id; set data.text_key to one of them"
    )


def test_null_text_in_parquet(complaint, tmp_path):
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["a", "b", None]}), tmp_path / "b.parquet")
    assert complaint("data.backend=files", f"data.files=['{tmp_path}/*.parquet']") == (
        f"{tmp_path}/b.parquet, row 3, has no text: `text` is null or missing; remove the row, or set "
        f"data.on_bad_text: replace to skip it"
    )


def test_null_text_is_skipped_when_asked(open_data, write):
    options, _ = write(
        "null.jsonl", b'{"text": "abc"}\n{"text": null}\n{"text": "def"}\n{"text": "ghi"}\n{"text": null}\n'
    )
    iterator = open_data(*options, "data.on_bad_text=replace", "data.repeat=false").train_iterator()
    assert sum(int(batch.attention_mask.sum()) for batch in iterator) == 8
    assert iterator.get_state()["skipped"] == 2


def test_broken_json_line(complaint, write):
    options, path = write("broken.jsonl", b'{"text": "a"}\n{"text": "b"\n{"text": "c"}\n')
    assert complaint(*options) == (
        f"{path}:2 is not valid JSON (Expecting ',' delimiter at column 13); repair or remove the line"
    )


def test_json_file_of_objects(open_data, write):
    options, _ = write("rows.json", json.dumps([{"text": f"row {number}"} for number in range(3)], indent=1).encode())
    assert open_data(*options).heldout_texts() == ["row 1"]


@pytest.mark.parametrize(
    ("name", "content"), [("rows.jsonl", b'{"body": "a", "id": 1}\n'), ("rows.csv", b"id,body\n1,a\n")]
)
def test_missing_text_column(complaint, write, name, content):
    options, path = write(name, content)
    assert complaint(*options) == (
        f"{path}{':1' if name.endswith('jsonl') else ''} has no column `text`: its columns are body, id; set "
        f"data.text_key to one of them"
    )


def test_missing_text_column_in_parquet(complaint, tmp_path):
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"body": ["a"], "id": [1]}), tmp_path / "b.parquet")
    assert complaint("data.backend=files", f"data.files=['{tmp_path}/*.parquet']") == (
        f"{tmp_path}/b.parquet has no column `text`: its columns are body, id; set data.text_key to one of them"
    )


def test_csv_with_commas_in_unquoted_text(complaint, write):
    options, path = write("rows.csv", b"text\nwell, yes, no\n")
    assert complaint(*options) == (f"{path}:2 has more cells than the header; quote text that contains commas")


def test_csv_keeps_words_that_look_like_nothing(open_data, write):
    options, _ = write("rows.csv", b"text,n\nNA,1\nnull,2\nnan,3\n,4\n")
    documents = open_data(*options, "data.shuffle=false").train_documents().__iter__()
    assert [next(documents) for _ in range(3)] == ["NA", "null", ""]


def test_empty_table(complaint, write, tmp_path):
    _, path = write("rows.jsonl", b"")
    (tmp_path / "more.txt").write_text("some text")
    assert complaint("data.backend=files", f"data.files=['{path}', '{tmp_path}/more.txt']") == (
        f"{path} is empty; remove it from data.files"
    )


def test_damaged_parquet(complaint, write):
    options, path = write("rows.parquet", b"PAR1 and nothing more")
    assert complaint(*options).startswith(f"{path} is not a readable parquet file: ")


def test_missing_token_file(complaint, tmp_path):
    assert complaint("data.backend=tokens", f"data.tokens_path={tmp_path}/no.bin") == (
        f"cannot read the token file {tmp_path}/no.bin: No such file or directory; check data.tokens_path"
    )


def test_token_file_of_the_wrong_size(complaint, tmp_path):
    path = tmp_path / "ids.bin"
    path.write_bytes(b"1234567")
    assert complaint("data.backend=tokens", f"data.tokens_path={path}", "data.tokens_dtype=uint16") == (
        f"the token file {path} has 7 bytes, which is not a whole number of uint16 ids of 2 bytes; check "
        f"data.tokens_dtype, or whether the file was cut off"
    )


def test_empty_token_file(complaint, tmp_path):
    path = tmp_path / "ids.bin"
    path.touch()
    assert complaint("data.backend=tokens", f"data.tokens_path={path}") == (
        f"the token file {path} is empty; check data.tokens_path"
    )


def test_token_outside_the_vocabulary(complaint, tmp_path, monkeypatch):
    monkeypatch.setattr("chomp.data.sources.tokens.SCAN_TOKENS", 100)
    path = tmp_path / "ids.bin"
    ids = np.full(1000, 7, "<u2")
    ids[765] = 384
    ids.tofile(path)
    assert complaint("data.backend=tokens", f"data.tokens_path={path}", "data.tokens_dtype=uint16") == (
        f"the token file {path} holds id 384 at position 765, but the model's vocabulary ends at 383; check "
        f"data.tokens_dtype and data.tokenizer, or raise model.vocab_size"
    )


def test_tokenizer_larger_than_the_model(configure, corpus):
    from chomp.config.derive import derive
    from chomp.data.pipeline import build_data
    from chomp.data.tokenizers import build_tokenizer

    text = ("data.backend=files", f"data.files=['{corpus}/*.txt']", "data.shuffle=false")
    config = configure(*text, "data.prefetch=2", "data.packing_mode=sequential")
    data = build_data(config, derive(config), build_tokenizer(config.data.tokenizer), vocab_size=100)
    with pytest.raises(DataError) as caught:
        next(data.train_iterator())
    assert str(caught.value) == (
        "token id 103 in the 40 files of data.files is outside the model's vocabulary: ids run from 0 to 99; use the "
        "tokenizer that the model was made for, or raise model.vocab_size"
    )
    data.close()


@pytest.mark.parametrize("streaming", ["true", "false"])
def test_missing_dataset_folder(complaint, streaming):
    assert complaint("data.backend=hf", "data.hf_dataset=./nowhere", f"data.hf_streaming={streaming}") == (
        "the dataset folder ./nowhere does not exist; check data.hf_dataset"
    )


@pytest.fixture
def hub_folder(tmp_path):
    for split in ("train", "test"):
        rows = [{"body": f"{split} {number}", "id": number} for number in range(30)]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ("data.backend=hf", f"data.hf_dataset={tmp_path}"), tmp_path


@pytest.mark.parametrize("streaming", ["true", "false"])
def test_unknown_split(complaint, hub_folder, streaming):
    options, folder = hub_folder
    assert complaint(*options, "data.hf_split=validation", f"data.hf_streaming={streaming}") == (
        f"split validation of the dataset {folder} cannot be read: there is no such split; choose one of train, test"
    )


@pytest.mark.parametrize("streaming", ["true", "false"])
def test_dataset_without_the_text_column(complaint, hub_folder, streaming):
    options, folder = hub_folder
    assert complaint(*options, f"data.hf_streaming={streaming}") == (
        f"{folder}/train.jsonl:1 has no column `text`: its columns are body, id; set data.text_key to one of them"
    )


@pytest.mark.parametrize("streaming", ["true", "false"])
def test_dataset_with_numbers_for_text(complaint, hub_folder, streaming):
    options, folder = hub_folder
    assert complaint(*options, "data.text_key=id", f"data.hf_streaming={streaming}") == (
        f"{folder}/train.jsonl:1: column `id` holds a number, not text; set data.text_key to a column of text"
    )


@pytest.mark.parametrize("streaming", ["true", "false"])
def test_hub_out_of_reach(complaint, monkeypatch, streaming):
    import datasets

    attempts = []

    def unreachable(*args, **kwargs):
        attempts.append(args)
        raise ConnectionError("Couldn't reach 'some/where' on the Hub (ConnectError)")

    monkeypatch.setattr(datasets, "load_dataset_builder", unreachable)
    monkeypatch.setattr("chomp.data.sources.hf.commit_of", lambda name, revision: None)
    assert complaint(
        "data.backend=hf",
        "data.hf_dataset=some/where",
        "data.max_retries=2",
        "data.retry_delay_seconds=0.0",
        f"data.hf_streaming={streaming}",
    ) == (
        "split train of the dataset some/where cannot be reached: reading failed once, the last time with "
        "ConnectionError: Couldn't reach 'some/where' on the Hub (ConnectError); check the network, or raise "
        "data.max_retries and data.retry_delay_seconds"
    )
    # The hub's own client has its patience; nothing is lost by telling at once that the first contact failed.
    assert len(attempts) == 1


def test_dataset_that_the_hub_does_not_have(complaint, monkeypatch):
    import datasets

    def missing(*args, **kwargs):
        raise datasets.exceptions.DatasetNotFoundError("Dataset 'some/where' doesn't exist on the Hub.")

    monkeypatch.setattr(datasets, "load_dataset_builder", missing)
    assert complaint("data.backend=hf", "data.hf_dataset=some/where") == (
        "split train of the dataset some/where cannot be read: DatasetNotFoundError: Dataset 'some/where' doesn't "
        "exist on the Hub; check data.hf_dataset and data.hf_revision"
    )


def test_offline_mode_is_not_waited_for(complaint, monkeypatch):
    import datasets

    attempts = []

    def offline(*args, **kwargs):
        attempts.append(args)
        raise ConnectionError("Couldn't reach 'some/where' on the Hub (OfflineModeIsEnabled)")

    monkeypatch.setattr(datasets, "load_dataset_builder", offline)
    assert complaint("data.backend=hf", "data.hf_dataset=some/where") == (
        "split train of the dataset some/where cannot be read: ConnectionError: Couldn't reach 'some/where' on the Hub "
        "(OfflineModeIsEnabled); unset HF_HUB_OFFLINE"
    )
    assert len(attempts) == 1


def test_evaluating_on_the_training_split(complaint, hub_folder):
    options, _ = hub_folder
    assert complaint(*options, "data.hf_eval_split=train", error=ConfigError).startswith(
        "data.hf_eval_split and data.hf_split are both train"
    )


def test_half_a_surrogate_pair(complaint):
    from chomp.data.tokenizers import ByteTokenizer

    with pytest.raises(DataError) as caught:
        ByteTokenizer(offset=3, add_bos=False, add_eos=True, vocab_size_multiple=1).encode("ab\ud83dc")
    assert str(caught.value) == (
        "text holds an unpaired surrogate U+D83D at character 2, which is not valid Unicode; repair the text"
    )


@pytest.fixture
def other_user():
    """This process as a user who owns none of the files, where it is root and permissions do not count."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.txt", "locked/a.txt", "locked/*.txt"])
def test_a_file_without_permission(name, tmp_path, other_user):
    folder, before = tmp_path / "own", os.geteuid()
    os.seteuid(os.getuid())
    (folder / "locked").mkdir(parents=True)
    if "*" not in name:
        (folder / name).write_bytes(b"text")
        (folder / name).chmod(0)
    (folder / "locked").chmod(0 if "locked" in name else 0o755)
    os.seteuid(before)
    with pytest.raises(DataError) as caught:
        FilesSource(DataConfig(backend="files", files=[f"{folder}/{name}"]))
    os.seteuid(os.getuid())
    (folder / "locked").chmod(0o755)
    assert str(caught.value).startswith("cannot read ")
    assert str(caught.value).endswith(": Permission denied; check its name and permissions")
