"""Data files of every format that `data.files` reads, by suffix: what the fuzzer damages."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

TEXTS = [
    f"Document {number} of ten, “quoted” and, with a comma.\nA second line {'x' * number}." for number in range(10)
]

Writer = Callable[[Path, Sequence[str]], object]


def text(path: Path, texts: Sequence[str]) -> None:
    path.write_text("\n\n".join(texts), "utf-8")


def json_lines(path: Path, texts: Sequence[str]) -> None:
    path.write_text("".join(json.dumps({"id": i, "text": one}) + "\n" for i, one in enumerate(texts)), "utf-8")


def json_array(path: Path, texts: Sequence[str]) -> None:
    path.write_text(json.dumps([{"id": i, "text": one} for i, one in enumerate(texts)], ensure_ascii=False), "utf-8")


def comma_separated(path: Path, texts: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "text"), *enumerate(texts)])


def parquet(path: Path, texts: Sequence[str]) -> None:
    pq.write_table(pa.table({"id": list(range(len(texts))), "text": list(texts)}), path, row_group_size=4)


def tab_separated(path: Path, texts: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([("id", "text"), *enumerate(texts)])


def arrow(path: Path, texts: Sequence[str]) -> None:
    table = pa.table({"id": list(range(len(texts))), "text": list(texts)})
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=4)


def arrow_stream(path: Path, texts: Sequence[str]) -> None:
    table = pa.table({"text": pa.array(texts).dictionary_encode()})
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)


def compressed(write: Writer, compress: Callable[[bytes], bytes]) -> Writer:
    """The same, compressed."""

    def write_compressed(path: Path, texts: Sequence[str]) -> None:
        write(path, texts)
        path.write_bytes(compress(path.read_bytes()))

    return write_compressed


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, "zstd", asbytes=True))


WRITERS: dict[str, Writer] = {
    ".txt": text,
    ".jsonl": json_lines,
    ".json": json_array,
    ".csv": comma_separated,
    ".tsv": tab_separated,
    ".parquet": parquet,
    ".arrow": arrow,
    ".feather": arrow_stream,
    ".txt.gz": compressed(text, gzip.compress),
    ".jsonl.zst": compressed(json_lines, zstd),
    ".csv.bz2": compressed(comma_separated, bz2.compress),
    ".json.xz": compressed(json_array, lzma.compress),
}
