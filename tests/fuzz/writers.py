"""Data files of every format that `data.files` reads, by suffix: what the fuzzer damages."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from functools import partial
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


def separated(path: Path, texts: Sequence[str], *, delimiter: str = ",") -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([("id", "text"), *enumerate(texts)])


def parquet(path: Path, texts: Sequence[str]) -> None:
    pq.write_table(pa.table({"id": list(range(len(texts))), "text": list(texts)}), path, row_group_size=4)


def feather(path: Path, texts: Sequence[str]) -> None:
    table = pa.table({"id": list(range(len(texts))), "text": list(texts)})
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table, max_chunksize=4)


def compressed(path: Path, texts: Sequence[str], *, codec: str) -> None:
    json_lines(path, texts)
    content = path.read_bytes()
    with pa.output_stream(path, compression=codec) as file:
        file.write(content)


WRITERS: dict[str, Writer] = {
    ".txt": text,
    ".jsonl": json_lines,
    ".json": json_array,
    ".csv": separated,
    ".tsv": partial(separated, delimiter="\t"),
    ".parquet": parquet,
    ".feather": feather,
    ".jsonl.gz": partial(compressed, codec="gzip"),
    ".jsonl.bz2": partial(compressed, codec="bz2"),
    ".jsonl.zst": partial(compressed, codec="zstd"),
}
