"""Writes text as token files, in order and in parallel; an interruption loses only seconds of work.

Everything is written below `FOLDER/.unfinished`. Every two seconds the files are synced, and `journal.json` records
their valid length; a later call with the same text and settings truncates them to it and continues. At the end the
files move up, and `metadata.json` is written last: a folder with it is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from chomp.config.data import TokenizerConfig
from chomp.data.heldout import Documents, hold_out
from chomp.data.sources.base import RandomAccessSource
from chomp.data.tokenfiles import (
    DTYPES,
    METADATA,
    OFFSET,
    TOKENIZER,
    UNFINISHED,
    Count,
    Metadata,
    SplitName,
    TokenizerFacts,
    narrowest,
    read_metadata,
)  # fmt: skip
from chomp.data.tokenizer import Ids, Tokenizer
from chomp.data.tokenizers import build_tokenizer
from chomp.data.vocabulary import named_roles
from chomp.errors import DataError
from chomp.record.json_text import parse_json
from chomp.record.lock import locked
from chomp.record.rundir import fsync_folder, write_whole

JOURNAL = "journal.json"
BATCH_CHARACTERS = 1 << 19
"""Characters encoded at once; two batches in parallel, so that no thread waits for the last document of another."""
BATCHES_AHEAD = 3
JOURNAL_SECONDS = 2.0
# Evaluation text first: it is short, and what follows is then all training text.
ORDER: tuple[SplitName, ...] = ("val", "train")


@dataclass(frozen=True)
class CorpusPlan:
    """What `prepare` writes.

    Attributes:
        vocab_size: of a tokenizer to train on the text; None where `tokenizer` names one.
        tokenizer: an existing one; with `vocab_size` only its settings of begin and end ids count.
        val_documents: most documents of `val.bin`; 5 % of all where that is less.
        tokenizer_characters: of text that a tokenizer is trained on, at most; evenly spread documents.
    """

    folder: Path
    source: RandomAccessSource
    tokenizer: TokenizerConfig
    vocab_size: int | None = None
    val_documents: int = 1000
    tokenizer_characters: int = 1 << 30

    def identity(self) -> dict[str, Any]:
        """What must be equal to continue earlier work; paths of text and tokenizer do not count.

        Raises:
            DataError: the tokenizer's file cannot be read.
        """
        settings = self.tokenizer.model_dump(exclude={"vocab_size_multiple", "auto_set_special_tokens"})
        content = b""
        if self.tokenizer.kind == "file" and self.vocab_size is None:
            from chomp.data.tokenizer_files import vocabulary_file

            _, content = vocabulary_file(self.tokenizer)
        return {
            "source": self.source.fingerprint(),
            "tokenizer": {**settings, "path": hashlib.sha256(content).hexdigest()},
            "vocab_size": self.vocab_size,
            "val_documents": self.val_documents,
            "tokenizer_characters": self.tokenizer_characters,
        }


@dataclass(frozen=True)
class CorpusProgress:
    """The progress of `prepare`.

    Attributes:
        stage: "tokenizer", "val" or "train".
        done, total: documents of the stage.
        counts: of what has been written, of both files together.
        seconds: since this call began to write.
        fresh: the part of `counts` that this call wrote.
    """

    stage: str
    done: int
    total: int
    counts: Count
    fresh: Count
    seconds: float


Report = Callable[[CorpusProgress], None]


def prepare(plan: CorpusPlan, report: Report = lambda progress: None) -> Metadata:
    """Write the files, or return the metadata of complete ones.

    Raises:
        DataError: the text cannot be used, other files exist, or the disk fails.
        ConfigError: the tokenizer cannot be used.
    """
    try:
        return _prepare(plan, report)
    except OSError as error:
        place = error.filename or plan.folder
        raise DataError(f"{place}: {error.strerror}; run the command again to continue from what is written") from error


def _prepare(plan: CorpusPlan, report: Report) -> Metadata:
    identity = plan.identity()
    with contextlib.suppress(FileNotFoundError):
        there = read_metadata(plan.folder)
        if _same_text(there.source, identity):
            return there
        raise DataError(
            f"{plan.folder} holds tokens of another text or of other settings; choose another folder, or delete it"
        )
    for name in ("train.bin", "val.bin", TOKENIZER):
        if (plan.folder / name).exists() and not (plan.folder / UNFINISHED).exists():
            raise DataError(f"{plan.folder / name} exists and is not from this command; choose another folder")
    plan.folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(plan.folder))
        except BlockingIOError:
            raise DataError(f"another process is preparing data in {plan.folder}") from None
        work = _Work(plan, identity, report)
        work.write()
        return work.finish()


def _same_text(saved: Any, identity: dict[str, Any]) -> bool:
    """Whether a folder holds this text; those of older versions know it by samples, without the hash of the whole."""
    if isinstance(saved, dict) and isinstance(saved.get("source"), dict) and "content" not in saved["source"]:
        sampled = {key: value for key, value in identity["source"].items() if key != "content"}
        identity = {**identity, "source": sampled}
    return bool(saved == identity)


class _Work:
    """The unfinished folder."""

    def __init__(self, plan: CorpusPlan, identity: dict[str, Any], report: Report) -> None:
        self._plan, self._identity, self._report = plan, identity, report
        self._folder = plan.folder / UNFINISHED
        # Incomplete files of a killed process.
        for torn in (*self._folder.glob(".*.tmp"), *plan.folder.glob(f".{METADATA}.*.tmp")):
            torn.unlink()
        journal = self._read_journal()
        if journal is None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir()
            journal = {"identity": identity, "counts": {}}
            self._write_journal(journal)
        self._journal = journal
        parts = hold_out(plan.source, plan.val_documents)
        self._parts: dict[SplitName, Documents] = {"train": parts.train, "val": parts.evaluation}
        self._tokenizer = self._make_tokenizer()
        self._dtype = narrowest(self._tokenizer.vocab_size)

    def _read_journal(self) -> dict[str, Any] | None:
        """The journal of an earlier call for the same work, or None."""
        try:
            journal: dict[str, Any] = parse_json((self._folder / JOURNAL).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return journal if _same_text(journal.get("identity"), json.loads(json.dumps(self._identity))) else None

    def _write_journal(self, journal: dict[str, Any]) -> None:
        write_whole(self._folder / JOURNAL, json.dumps(journal).encode())

    # Tokenizer -------------------------------------------------------------------------

    def _make_tokenizer(self) -> Tokenizer:
        plan, path = self._plan, self._folder / TOKENIZER
        if plan.vocab_size is not None and not path.exists():
            from chomp.data.bpe import END, PAD, train_bpe

            backend = train_bpe(self._tokenizer_texts(), plan.vocab_size)
            self._write_roles({"pad_token": PAD, "eos_token": END})
            write_whole(path, backend.to_str().encode())
        if path.exists():
            return build_tokenizer(plan.tokenizer.model_copy(update={"kind": "file", "path": str(path)}))
        tokenizer = build_tokenizer(plan.tokenizer)
        for name, content in tokenizer.files().items():
            self._write_roles(named_roles(content, tokenizer.special_ids()))
            write_whole(self._folder / name, content)
        return tokenizer

    def _write_roles(self, roles: dict[str, str]) -> None:
        write_whole(self._folder / "tokenizer_config.json", json.dumps(roles).encode())

    def _tokenizer_texts(self) -> Iterator[str]:
        """Evenly spread training documents with about `tokenizer_characters` characters."""
        documents, started = self._parts["train"], time.monotonic()
        characters = 0
        # A sample gives the mean length; then every n-th document is read.
        sample = [len(documents[i * len(documents) // 64]) for i in range(64)] if len(documents) > 64 else []
        length = max(1.0, sum(sample) / max(1, len(sample)))
        every = max(1, round(len(documents) * length / self._plan.tokenizer_characters)) if sample else 1
        places = range(0, len(documents), every)
        for number, index in enumerate(places, start=1):
            text = documents[index]
            assert isinstance(text, str)
            characters += len(text)
            yield text
            count = Count(bytes=characters, documents=number)
            self._report(CorpusProgress("tokenizer", number, len(places), count, count, time.monotonic() - started))

    # Ids -------------------------------------------------------------------------------

    def write(self) -> None:
        started, before = time.monotonic(), self._total()
        for name in ORDER:
            start = self._journal["counts"].get(name, {}).get("next", 0)
            with _Split(self._folder, name, self._dtype, self._count(name), start) as split:
                self._write_split(split, self._parts[name], started, before)
                self._save(split)

    def _write_split(self, split: _Split, documents: Documents, started: float, before: Count) -> None:
        saved = time.monotonic()
        for texts, encoded in self._encoded(documents, split.next_document):
            split.add(texts, encoded, self._tokenizer.eos_id)
            if time.monotonic() - saved > JOURNAL_SECONDS:
                self._save(split)
                saved = time.monotonic()
            counts = self._total({split.name: split.count})
            fresh = Count(**{key: value - getattr(before, key) for key, value in counts})
            self._report(
                CorpusProgress(
                    split.name, split.next_document, len(documents), counts, fresh, time.monotonic() - started
                )
            )

    def _encoded(self, documents: Documents, start: int) -> Iterator[tuple[list[str], list[Ids]]]:
        """Batches in order; the next ones are encoded while this one is written."""
        waiting: deque[tuple[list[str], Future[list[Ids]]]] = deque()
        with ThreadPoolExecutor(2, thread_name_prefix="encode") as pool:
            try:
                for texts in _batches(documents, start):
                    waiting.append((texts, pool.submit(self._tokenizer.encode_batch, texts)))
                    if len(waiting) > BATCHES_AHEAD:
                        texts, future = waiting.popleft()
                        yield texts, future.result()
                while waiting:
                    texts, future = waiting.popleft()
                    yield texts, future.result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _count(self, name: SplitName) -> Count:
        return Count(**self._journal["counts"].get(name, {}).get("count", {}))

    def _total(self, now: dict[SplitName, Count] | None = None) -> Count:
        counts = [(now or {}).get(name, self._count(name)) for name in ORDER]
        return Count(**{key: sum(getattr(count, key) for count in counts) for key in Count.model_fields})

    def _save(self, split: _Split) -> None:
        split.sync()
        entry = {"count": split.count.model_dump(), "next": split.next_document}
        self._journal["counts"][split.name] = entry
        self._write_journal(self._journal)

    def finish(self) -> Metadata:
        train = self._count("train")
        if not train.tokens:
            raise DataError(f"{self._plan.source.name} holds no text to train on")
        tokenizer, folder = self._tokenizer, self._plan.folder
        is_file = (self._folder / TOKENIZER).exists()
        said = Metadata(
            dtype=self._dtype,
            vocab_size=tokenizer.vocab_size,
            tokenizer=TokenizerFacts(
                kind="file" if is_file else "byte",
                digest=tokenizer.vocabulary_digest(),
                eos_id=tokenizer.eos_id,
                byte_offset=None if is_file else self._plan.tokenizer.byte_offset,
            ),
            train=train,
            val=self._count("val"),
            source=json.loads(json.dumps(self._identity)),
        )
        (self._folder / JOURNAL).unlink()
        for path in sorted(self._folder.iterdir()):
            path.replace(folder / path.name)
        fsync_folder(folder)
        write_whole(folder / METADATA, said.model_dump_json(indent=1, exclude_none=True).encode() + b"\n")
        self._folder.rmdir()
        return said


class _Split:
    """One pair of files, `.bin` and `.idx`, truncated to their valid length."""

    def __init__(self, folder: Path, name: SplitName, dtype: str, count: Count, start: int) -> None:
        self.name, self.count, self.next_document = name, count, start
        self._dtype = DTYPES[dtype]
        self._ids = _opened(folder / f"{name}.bin", count.tokens * self._dtype.itemsize)
        # The first offset is 0 and every document adds its end.
        self._ends = _opened(folder / f"{name}.idx", (count.documents + 1) * OFFSET.itemsize if start else 0)
        if not start:
            self._ends.write(np.zeros(1, OFFSET).tobytes())

    def __enter__(self) -> _Split:
        return self

    def __exit__(self, *_: object) -> None:
        self._ids.close()
        self._ends.close()

    def add(self, texts: list[str], encoded: list[Ids], eos_id: int | None) -> None:
        """Append documents, each with the end-of-text id behind it; empty ones are left out."""
        self.next_document += len(texts)
        end = np.asarray([] if eos_id is None else [eos_id], self._dtype)
        kept = [(text, ids) for text, ids in zip(texts, encoded, strict=True) if len(ids)]
        if not kept:
            return
        parts = [part for _, ids in kept for part in (ids.astype(self._dtype), end)]
        ends = self.count.tokens + np.cumsum([len(ids) + len(end) for _, ids in kept])
        self._ids.write(np.concatenate(parts).tobytes())
        self._ends.write(ends.astype(OFFSET).tobytes())
        self.count = Count(
            tokens=int(ends[-1]),
            bytes=self.count.bytes + sum(len(text.encode()) for text, _ in kept),
            documents=self.count.documents + len(kept),
        )

    def sync(self) -> None:
        for file in (self._ids, self._ends):
            file.flush()
            os.fsync(file.fileno())


def _opened(path: Path, size: int) -> IO[bytes]:
    """Open a file for appending, truncated to `size` bytes."""
    file = path.open("r+b" if size else "wb")
    if file.seek(0, os.SEEK_END) < size:
        file.close()
        raise DataError(f"{path} is shorter than its journal records; delete {path.parent}, then run the command again")
    file.truncate(size)
    file.seek(size)
    return file


def _batches(documents: Documents, start: int) -> Iterator[list[str]]:
    texts: list[str] = []
    characters = 0
    for index in range(start, len(documents)):
        text = documents[index]
        assert isinstance(text, str)
        texts.append(text)
        characters += len(text)
        if characters >= BATCH_CHARACTERS:
            yield texts
            texts, characters = [], 0
    if texts:
        yield texts
