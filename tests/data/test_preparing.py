"""Text becomes token files: whole or not at all, the same after any interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from chomp.cli.prepare_data import command
from chomp.config.data import TokenizerConfig
from chomp.data import tokenize_corpus as preparing
from chomp.data.bpe import train_bpe
from chomp.data.sources.base import InMemorySource
from chomp.data.tokenfiles import Metadata
from chomp.data.tokenize_corpus import UNFINISHED, CorpusPlan, CorpusProgress, prepare
from chomp.data.tokenizers import build_tokenizer
from chomp.errors import ConfigError, DataError

DOCUMENTS = [f"document {number}, naïve café: " + "one word or two\n" * (number % 7) for number in range(200)]
FILES = ["metadata.json", "tokenizer.json", "tokenizer_config.json", "train.bin", "train.idx", "val.bin", "val.idx"]


def plan(folder: Path, documents: list[str] | None = None, **changes: Any) -> CorpusPlan:
    source = InMemorySource("some text", DOCUMENTS if documents is None else documents, {})
    return CorpusPlan(
        **{"folder": folder, "source": source, "tokenizer": TokenizerConfig(), "vocab_size": 300, **changes}
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def documents_of(folder: Path, name: str, said: Metadata) -> list[str]:
    """Read without chomp's own reader."""
    ids = np.fromfile(folder / f"{name}.bin", {"uint8": "u1", "uint16": "<u2", "uint32": "<u4"}[said.dtype])
    ends = np.fromfile(folder / f"{name}.idx", "<i8")
    tokenizer = build_tokenizer(TokenizerConfig(kind="file", path=str(folder / "tokenizer.json")))
    parts = [ids[start:end] for start, end in pairwise(ends)]
    assert all(part[-1] == said.tokenizer.eos_id for part in parts)
    assert sum(int((part == said.tokenizer.eos_id).sum()) for part in parts) == len(parts)
    return [tokenizer.decode(part) for part in parts]


def test_text_comes_back_and_is_counted(tmp_path: Path) -> None:
    said = prepare(plan(tmp_path / "out"))
    assert list(contents(tmp_path / "out")) == FILES
    train, val = (documents_of(tmp_path / "out", name, said) for name in ("train", "val"))
    assert sorted(train + val) == sorted(DOCUMENTS)
    assert (said.train.documents, said.val.documents) == (190, 10)
    assert said.train.bytes == sum(len(text.encode()) for text in train)
    assert said.train.tokens == (tmp_path / "out" / "train.bin").stat().st_size // 2
    assert (said.dtype, said.vocab_size <= 300) == ("uint16", True)
    assert said.train.bytes / said.train.tokens > 2


def test_a_second_call_changes_nothing(tmp_path: Path) -> None:
    first = prepare(plan(tmp_path / "out"))
    before = contents(tmp_path / "out")
    assert prepare(plan(tmp_path / "out")) == first
    assert contents(tmp_path / "out") == before


def test_other_text_or_settings_are_not_written_over(tmp_path: Path) -> None:
    prepare(plan(tmp_path / "out"))
    before = contents(tmp_path / "out")
    for other in (plan(tmp_path / "out", ["else"] * 30), plan(tmp_path / "out", vocab_size=290)):
        with pytest.raises(DataError, match="holds tokens of another text or of other settings"):
            prepare(other)
    assert contents(tmp_path / "out") == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.bin").write_bytes(b"mine")
    with pytest.raises(DataError, match="exists and is not from this command"):
        prepare(plan(tmp_path / "mine"))
    assert (tmp_path / "mine" / "train.bin").read_bytes() == b"mine"


class Interrupted(Exception):
    pass


def interrupt(after: int) -> Callable[[CorpusProgress], None]:
    calls = 0

    def report(progress: CorpusProgress) -> None:
        nonlocal calls
        calls += progress.stage != "tokenizer"
        if calls == after:
            raise Interrupted

    return report


@pytest.mark.parametrize("after", [1, 2, 5, 9])
@pytest.mark.parametrize("journal_seconds", [0.0, 3600.0])
def test_what_was_interrupted_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, journal_seconds: float
) -> None:
    monkeypatch.setattr(preparing, "BATCH_CHARACTERS", 1000)
    prepare(plan(tmp_path / "whole"))
    monkeypatch.setattr(preparing, "JOURNAL_SECONDS", journal_seconds)
    with pytest.raises(Interrupted):
        prepare(plan(tmp_path / "out"), interrupt(after))
    assert not (tmp_path / "out" / "metadata.json").exists()
    assert not (tmp_path / "out" / "train.bin").exists()
    # What did not count yet may be anything.
    for path in (tmp_path / "out" / UNFINISHED).glob("*.bin"):
        with path.open("ab") as file:
            file.write(b"half of a document")
    seen: list[CorpusProgress] = []
    prepare(plan(tmp_path / "out"), seen.append)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    # The evaluation text, one batch, counts when it is whole.
    assert (seen[-1].fresh.tokens < seen[-1].counts.tokens) == (journal_seconds == 0.0 or after > 1)


def test_other_work_is_not_continued(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        prepare(plan(tmp_path / "out"), interrupt(1))
    prepare(plan(tmp_path / "out", DOCUMENTS[:150]))
    prepare(plan(tmp_path / "whole", DOCUMENTS[:150]))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_threads_and_batches_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tmp_path / "text.jsonl"
    text.write_text("".join(json.dumps({"text": document}) + "\n" for document in DOCUMENTS * 5))
    for workers in (1, 3):
        args = [sys.executable, "-m", "chomp", "prepare-data", str(text), "-d", str(tmp_path / str(workers))]
        environment = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache")}
        subprocess.run([*args, "--vocab-size", "400", "--workers", str(workers)], check=True, env=environment)
    assert contents(tmp_path / "1") == contents(tmp_path / "3")
    assert list(contents(tmp_path / "1")) == FILES


@pytest.mark.process
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    for number in range(300):
        (text / f"{number:03}.txt").write_text("".join(DOCUMENTS[number % 200 :]) * 2)
    args = [sys.executable, "-m", "chomp", "prepare-data", f"{text}/*.txt", "--vocab-size", "500", "-d"]

    def start(folder: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*args, str(tmp_path / folder)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    began = time.monotonic()
    assert start("whole").wait() == 0
    took = time.monotonic() - began
    for share in (0.4, 0.6, 0.75, 0.9):
        child = start("out")
        time.sleep(took * share)
        child.send_signal(signal.SIGKILL)
        child.wait()
        if (tmp_path / "out" / "metadata.json").exists():
            break
    assert start("out").wait() == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_what_a_killed_one_was_writing_does_not_stay(tmp_path: Path) -> None:
    def killed(progress: CorpusProgress) -> None:
        raise KeyboardInterrupt

    prepare(plan(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        prepare(plan(tmp_path / "out"), killed)
    (tmp_path / "out" / preparing.UNFINISHED / ".tokenizer.json.4711.tmp").write_text("{")
    (tmp_path / "out" / ".metadata.json.4711.tmp").write_text("{")
    prepare(plan(tmp_path / "out"))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_two_at_once_in_one_folder(tmp_path: Path) -> None:
    def report(progress: CorpusProgress) -> None:
        with pytest.raises(DataError, match="another process is preparing data in"):
            prepare(plan(tmp_path / "out"))

    prepare(plan(tmp_path / "out"), report)


def test_a_disk_that_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(preparing.os, "fsync", full)
        with pytest.raises(DataError, match="No space left on device; run the command again to continue"):
            prepare(plan(tmp_path / "out", vocab_size=None))
    prepare(plan(tmp_path / "out", vocab_size=None))
    assert (tmp_path / "out" / "metadata.json").exists()


def test_empty_documents_are_left_out(tmp_path: Path) -> None:
    said = prepare(plan(tmp_path / "out", ["", "abc", *[""] * 10, "def"] * 20))
    assert said.train.documents + said.val.documents == 40
    assert sorted(documents_of(tmp_path / "out", "train", said))[0] == "abc"


def test_text_without_a_character(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no text to train a tokenizer on"):
        prepare(plan(tmp_path / "out", [""] * 30))
    assert not (tmp_path / "out" / "metadata.json").exists()


@pytest.mark.parametrize("kind", ["byte", "file", "hf"])
def test_an_existing_tokenizer_is_kept_as_it_is(tmp_path: Path, kind: str) -> None:
    prepare(plan(tmp_path / "first"))
    config = {
        "byte": TokenizerConfig(),
        "file": TokenizerConfig(kind="file", path=str(tmp_path / "first" / "tokenizer.json")),
        "hf": TokenizerConfig(kind="hf", hf_name_or_path=str(tmp_path / "first")),
    }[kind]
    if kind == "hf":
        names = json.loads((tmp_path / "first" / "tokenizer_config.json").read_text())
        described = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
        (tmp_path / "first" / "tokenizer_config.json").write_text(json.dumps(described))
    said = prepare(plan(tmp_path / kind, tokenizer=config, vocab_size=None))
    assert said.tokenizer.digest == build_tokenizer(config).vocabulary_digest()
    if kind == "byte":
        assert said.train.tokens == said.train.bytes + said.train.documents
        return
    assert said.tokenizer.kind == "file"
    assert contents(tmp_path / kind)["train.bin"] == contents(tmp_path / "first")["train.bin"]
    kept = build_tokenizer(TokenizerConfig(kind="file", path=str(tmp_path / kind / "tokenizer.json")))
    assert kept.vocabulary_digest() == said.tokenizer.digest


def test_text_that_spells_a_special_token_stays_text(tmp_path: Path) -> None:
    said = prepare(plan(tmp_path / "out", ["a <eos> b <pad> c"] * 40))
    assert set(documents_of(tmp_path / "out", "train", said)) == {"a <eos> b <pad> c"}


def test_a_vocabulary_without_room_for_the_bytes() -> None:
    with pytest.raises(ConfigError, match="a vocabulary of 257 ids has no room for 256 bytes and 2 special ids"):
        train_bpe(["abc"], 257)


def test_the_same_text_gives_the_same_vocabulary() -> None:
    one, other = (train_bpe(iter(DOCUMENTS), 400).to_str() for _ in range(2))
    assert one == other


# The command -------------------------------------------------------------------------------


def run(*args: object) -> Result:
    return CliRunner().invoke(command, [str(arg) for arg in args])


def test_the_command_says_what_it_wrote_and_how_to_train_on_it(tmp_path: Path) -> None:
    for number, text in enumerate(DOCUMENTS):
        (tmp_path / f"{number}.txt").write_text(text)
    done = run(tmp_path / "*.txt", "-d", tmp_path / "out", "--vocab-size", 300)
    assert done.exit_code == 0, done.output
    assert "bytes per token" in done.stdout
    assert f"-o data.tokens_path={tmp_path / 'out'} -o data.tokenizer.kind=file" in done.stdout
    assert "train.bin: 190 of 190 documents, 100%" in done.stderr
    again = json.loads(run(tmp_path / "*.txt", "-d", tmp_path / "out", "--vocab-size", 300, "--json").stdout)
    assert again["train"]["documents"] == 190


def test_one_flat_file_holds_all_ids_for_other_programs(tmp_path: Path) -> None:
    for number, text in enumerate(DOCUMENTS):
        (tmp_path / f"{number}.txt").write_text(text)
    out = tmp_path / "out"
    done = run("--text", tmp_path / "*.txt", "-d", out, "--vocab-size", 300, "--flat")
    assert done.exit_code == 0, done.output
    parts = [np.fromfile(out / f"{name}.bin", "<u2") for name in ("train", "val")]
    flat = np.fromfile(out / "tokens.bin", "<u4")
    np.testing.assert_array_equal(flat, np.concatenate(parts))
    assert f"tokens.bin  {len(flat):,} tokens: train.bin, then val.bin (uint32)" in done.stdout
    assert sorted(path.name for path in out.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ((), "name text files, or pass --stdlib"),
        (("x.txt", "--stdlib"), "name text files, or pass --stdlib"),
        (("x.txt", "--tokenizer", "byte", "--vocab-size", 300), "give only one of them"),
    ],
)
def test_the_command_refuses_what_cannot_be_meant(tmp_path: Path, args: tuple[Any, ...], problem: str) -> None:
    done = run(*args, "-d", tmp_path / "out")
    assert (done.exit_code, problem in done.stderr) == (2, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["~/missing.json", "folder.json"])
def test_a_tokenizer_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "a.txt").write_text("some text\n" * 30)
    done = run(tmp_path / "a.txt", "-d", tmp_path / "out", "--tokenizer", name)
    assert isinstance(done.exception, DataError)
    reason = {"~/missing.json": "No such file or directory", "folder.json": "Is a directory"}[name]
    path = tmp_path / "missing.json" if name.startswith("~") else Path(name)
    assert str(done.exception) == f"cannot read the tokenizer {path}: {reason}; check data.tokenizer.path"
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_in_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = prepare(plan(tmp_path / "first"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for number, text in enumerate(DOCUMENTS):
        (tmp_path / f"{number:03}.txt").write_text(text)
    done = run(
        tmp_path / "*.txt",
        "-d",
        tmp_path / "out",
        "--tokenizer",
        "~/first/tokenizer.json",
        "--val-documents",
        10,
        "--json",
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["tokenizer"]["digest"] == made.tokenizer.digest


def test_binary_text_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02}.txt").write_text("some text\n")
    (tmp_path / "07.txt").write_bytes(b"abc\xff\xfe")
    done = run(tmp_path / "*.txt", "-d", tmp_path / "out", "--tokenizer", "byte")
    assert isinstance(done.exception, DataError)
    assert str(done.exception).startswith(f"{tmp_path / '07.txt'} is not valid UTF-8: byte 0xff at offset 3")
    assert not (tmp_path / "out" / "metadata.json").exists()
    assert (
        run(tmp_path / "*.txt", "-d", tmp_path / "out", "--tokenizer", "byte", "--on-bad-text", "replace").exit_code
        == 0
    )
