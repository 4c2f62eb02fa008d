"""Content decides what is trained on: never an earlier conversion, never a file that changed since it was opened."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest

from chomp.config.data import DataConfig
from chomp.data.pipeline import DataPipeline
from chomp.data.sources.hf import HubStream
from chomp.errors import DataError

Open = Callable[..., DataPipeline]


def write_rows(path: Path, word: str) -> None:
    """Twelve documents; the time of modification is always the same."""
    rows = [{"text": f"{word} document {number} of text"} for number in range(12)]
    if path.suffix == ".csv":
        path.write_text("text\n" + "".join(row["text"] + "\n" for row in rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    os.utime(path, (1, 1))


TABLES = (("data.backend=files", "data.files={}/*"), ("data.backend=hf", "data.hf_dataset={}"))


@pytest.mark.parametrize("options", TABLES)
@pytest.mark.parametrize("name", ["train.jsonl", "train.csv"])
def test_the_content_of_now_is_read_whatever_the_path_and_time(
    name: str, options: tuple[str, str], tmp_path: Path, open_data: Open
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    kind, files = options[0], options[1].format(folder)
    fingerprints = []
    for word in ("alpha", "omega", "alpha"):
        write_rows(folder / name, word)
        data = open_data(kind, files, "data.hf_streaming=false")
        assert data.heldout_texts()[0].startswith(word)
        fingerprints.append(data.fingerprint)
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]


def test_a_change_between_the_samples_of_a_long_file_is_another_text(tmp_path: Path, open_data: Open) -> None:
    path = tmp_path / "long.txt"
    content = bytearray(b"some text\n" * 400_000)
    found = []
    for byte in (b"s", b"S"):
        content[100_000:100_001] = byte
        path.write_bytes(content)
        found.append(open_data("data.backend=files", f"data.files={path}").fingerprint["source"])
    assert found[0]["digest"] == found[1]["digest"], "the samples are equal"
    assert found[0]["content"] != found[1]["content"]


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite(path: Path) -> None:
    """Other bytes in the same file, of the same size and time."""
    before = path.stat()
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes()[::-1])
    other.replace(path)


def text_files(folder: Path) -> tuple[Path, tuple[str, ...]]:
    for number in range(8):
        (folder / f"{number}.txt").write_text(f"text number {number}, and more of it. " * 3)
    return folder / "1.txt", ("data.backend=files", f"data.files={folder}/*.txt")


def token_file(folder: Path) -> tuple[Path, tuple[str, ...]]:
    np.tile(np.arange(40, dtype="<u2") + 3, 500).tofile(folder / "train.bin")
    options = ("data.backend=tokens", f"data.tokens_path={folder}/train.bin", "data.tokens_dtype=uint16")
    return folder / "train.bin", options


def hub_stream(folder: Path) -> tuple[Path, tuple[str, ...]]:
    write_rows(folder / "train.jsonl", "alpha")
    return folder / "train.jsonl", ("data.backend=hf", f"data.hf_dataset={folder}", "data.max_eval_samples=1")


@pytest.mark.parametrize("change", [shorten, overwrite, replace, os.unlink])
@pytest.mark.parametrize("write", [text_files, token_file, hub_stream])
def test_a_file_that_changes_while_it_is_read_ends_the_run(
    write: Callable[[Path], tuple[Path, tuple[str, ...]]],
    change: Callable[[Path], None],
    tmp_path: Path,
    open_data: Open,
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path, options = write(folder)
    # Each document is read when its turn comes.
    shape = ("data.shuffle=false", "data.packing_mode=sequential", "train.grad_accum=1")
    iterator = open_data(*options, *shape).train_iterator()
    next(iterator)
    change(path)
    with pytest.raises(DataError) as caught:
        list(itertools.islice(iterator, 100))
    assert str(path) in str(caught.value)
    expected = "cannot read" if change is os.unlink and write is text_files else "is not the file that it was when"
    assert expected in str(caught.value)


def test_a_file_that_is_only_touched_or_copied_over_itself_is_the_same(tmp_path: Path, open_data: Open) -> None:
    for write in (text_files, token_file, hub_stream):
        folder = tmp_path / write.__name__
        folder.mkdir()
        path, options = write(folder)
        iterator = open_data(*options, "data.shuffle=false").train_iterator()
        next(iterator)
        os.utime(path)
        shutil.copy(path, folder / "copy")
        (folder / "copy").replace(path)
        for _ in range(20):
            next(iterator)


@pytest.mark.parametrize("name", ["train.jsonl", "train.csv"])
def test_a_cursor_of_an_older_version_goes_on_at_its_row(name: str, tmp_path: Path) -> None:
    """Streams of local folders were streams of `datasets`, whose state counts batches."""
    write_rows(tmp_path / name, "alpha")
    older = datasets.load_dataset(str(tmp_path), split="train", streaming=True)
    rows = iter(older)
    before = [next(rows)["text"] for _ in range(5)]
    stream = HubStream(DataConfig(backend="hf", hf_dataset=str(tmp_path)), "train")
    reader = stream.open(json.dumps(older.state_dict()))
    assert [*before, *reader] == list(stream.open(None))
    middle = stream.open(None)
    assert [*itertools.islice(middle, 7), *stream.open(middle.position())] == list(stream.open(None))


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, open_data: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Path("/proc/nowhere/datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    write_rows(tmp_path / "train.jsonl", "alpha")
    for kind, files in TABLES:
        with pytest.raises(DataError) as caught:
            open_data(kind, files.format(tmp_path))
        assert str(caught.value) == (
            f"the cache of datasets, {cache}, cannot be written: No such file or directory; set HF_HOME to a folder "
            f"with room for the text"
        )


# Evaluation text by name ---------------------------------------------------------------------


def test_evaluation_files_are_evaluated_and_all_of_the_rest_is_trained_on(tmp_path: Path, open_data: Open) -> None:
    _, options = text_files(tmp_path)
    write_rows(tmp_path / "eval.jsonl", "omega")
    data = open_data(*options, f"data.eval_files=[{tmp_path}/eval.jsonl]", "data.repeat=false", "data.shuffle=false")
    assert data.heldout_texts() == [f"omega document {number} of text" for number in range(12)]
    assert len(list(data.train_documents())) == 8
    assert data.fingerprint["held_out"]["rule"] == "named"
    inline = open_data("data.backend=local_text", "data.local_text=a text to train on", "data.eval_text=another text")
    assert inline.heldout_texts() == ["another text"]


def test_evaluation_text_that_is_training_text_is_refused(tmp_path: Path, open_data: Open) -> None:
    _, options = text_files(tmp_path)
    shutil.copy(tmp_path / "3.txt", tmp_path / "other.md")
    with pytest.raises(DataError) as caught:
        open_data(*options, f"data.eval_files=[{tmp_path}/other.md]")
    assert str(caught.value) == (
        f"document 4 of the 8 files of data.files is also document 1 of the file {tmp_path}/other.md: evaluation text "
        f"must not be training text; remove it from one of them"
    )
