"""Every format of text is read as text, compressed or not, whatever the texts look like."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from chomp.config.data import DataConfig
from chomp.data import progress
from chomp.data.sources.files import FilesSource
from chomp.errors import DataError
from chomp.record.events import Progress
from chomp.record.formatting import progress_line

TEXTS = ["00017", "TRUE", "null", "2024-01-02", "1e5", 'said "a, b"\nand\tleft', "naïve 文", "", " NA ", "0x1F"]
ROWS = [{"id": number if number % 2 else f"s{number}", "text": text} for number, text in enumerate(TEXTS)]


def opened(*paths: Path, **settings: object) -> FilesSource:
    return FilesSource(DataConfig(backend="files", files=[str(path) for path in paths], **settings))  # type: ignore[arg-type]


def texts(*paths: Path, **settings: object) -> list[str]:
    source = opened(*paths, **settings)
    return [str(source[number]) for number in range(len(source))]


def complaint(*paths: Path, **settings: object) -> str:
    with pytest.raises(DataError) as caught:
        texts(*paths, **settings)
    return str(caught.value)


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, "zstd", asbytes=True))


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd,
}  # fmt: skip


def json_lines() -> bytes:
    return "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def json_array() -> bytes:
    return b"\xef\xbb\xbf \n" + json.dumps(ROWS, indent=1).encode()


def table(delimiter: str) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, ["id", "text"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return b"\xef\xbb\xbf" + file.getvalue().encode()


def parquet(kind: pa.DataType) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": range(len(TEXTS)), "text": pa.array(TEXTS).cast(kind)}), sink, row_group_size=3)
    return bytes(sink.getvalue())


def arrow(opening: Callable[..., pa.ipc.RecordBatchWriter]) -> bytes:
    sink = pa.BufferOutputStream()
    content = pa.table({"text": pa.array(TEXTS).dictionary_encode(), "id": range(len(TEXTS))})
    with opening(sink, content.schema) as writer:
        writer.write_table(content, max_chunksize=4)
    return bytes(sink.getvalue())


def feather() -> bytes:
    sink = io.BytesIO()
    pyarrow.feather.write_feather(pa.table({"text": TEXTS}), sink)
    return sink.getvalue()


TABLES: dict[str, bytes] = {
    "a.jsonl": json_lines(),
    "a.ndjson": json_lines(),
    "a.jsonlines": json_lines(),
    "a.json": json_array(),
    "b.json": json_lines(),
    "a.csv": table(","),
    "a.TSV": table("\t"),
    "a.parquet": parquet(pa.string()),
    "a.pq": parquet(pa.large_string()),
    "c.parquet": parquet(pa.dictionary(pa.int32(), pa.string())),
    "a.arrow": arrow(pa.ipc.new_file),
    "b.arrow": arrow(pa.ipc.new_stream),
    "a.feather": feather(),
}
BY_ROWS = ("a.jsonl", "a.json", "a.csv", "a.TSV")


@pytest.mark.parametrize("name", TABLES)
def test_a_text_is_text_in_every_table(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(TABLES[name])
    assert texts(tmp_path / name) == TEXTS


@pytest.mark.parametrize("compression", [key for key in COMPRESSIONS if key])
def test_every_text_format_is_read_compressed(compression: str, tmp_path: Path) -> None:
    """Two members one after another, as tools that append write them."""
    for name in BY_ROWS:
        half = TABLES[name].index(b"\n", len(TABLES[name]) // 2) + 1
        path = tmp_path / (name + compression)
        path.write_bytes(b"".join(map(COMPRESSIONS[compression], (TABLES[name][:half], TABLES[name][half:]))))
        assert texts(path) == TEXTS, name
    (tmp_path / f"one.md{compression}").write_bytes(COMPRESSIONS[compression]("naïve text".encode()))
    assert texts(tmp_path / f"one.md{compression}") == ["naïve text"]


@pytest.mark.parametrize("compression", [key for key in COMPRESSIONS if key])
@pytest.mark.parametrize("name", ["a.jsonl", "a.txt"])
def test_a_cut_or_damaged_compressed_file_is_named(name: str, compression: str, tmp_path: Path) -> None:
    whole = COMPRESSIONS[compression](json_lines() * 50)
    for content in (whole[:-7], whole[:40] + bytes(20) + whole[60:], whole[: len(whole) // 2]):
        path = tmp_path / (name + compression)
        path.write_bytes(content)
        assert complaint(path).startswith(f"{path} is damaged, or not what its name says: ")


def test_only_the_text_column_matters(tmp_path: Path) -> None:
    """Files whose other columns differ in name and type are one source."""
    (tmp_path / "0.jsonl").write_text('{"text": "a", "id": 1}\n')
    (tmp_path / "1.jsonl").write_text('{"text": "b", "id": "x", "url": {"n": [1]}}\n')
    (tmp_path / "2.csv").write_text("text,id\nc,1\n")
    (tmp_path / "3.csv").write_text("lang,text\nen,d\n")
    (tmp_path / "4.parquet").write_bytes(parquet(pa.string()))
    assert texts(*sorted(tmp_path.iterdir())) == ["a", "b", "c", "d", *TEXTS]


def test_a_column_that_changes_its_look_stays_text(tmp_path: Path) -> None:
    """Thousands of words, then thousands of numbers, and the other way round."""
    words, numbers = [f"words {n}" for n in range(10_000)], [f"{n:05d}" for n in range(10_000)]
    for name, column in (("a", words + numbers), ("b", numbers + words)):
        path = tmp_path / f"{name}.csv"
        path.write_text("text\n" + "\n".join(column) + "\n")
        assert texts(path) == column


def test_a_shard_without_rows_adds_nothing(tmp_path: Path) -> None:
    empty, full = tmp_path / "0.parquet", tmp_path / "1.parquet"
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), empty)
    full.write_bytes(parquet(pa.string()))
    assert texts(empty, full) == TEXTS
    assert complaint(empty) == f"the file {empty} has no rows; add text, or change data.files"
    header = tmp_path / "h.csv"
    header.write_text("text,id\n")
    assert complaint(header) == f"the file {header} has no rows; add text, or change data.files"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", gzip.compress(b"text" * 9, mtime=0), "is compressed by gzip; add .gz to its name"),
        ("a.jsonl", zstd(json_lines()), "is compressed by zstd; add .zst to its name"),
        ("a.csv", b"PK\x03\x04 and more", "is a zip archive; unpack it"),
        ("a.md", "naïve text".encode("utf-16"), "is encoded as UTF-16; convert it, e.g. by iconv -f UTF-16 -t UTF-8"),
        ("a.jsonl", '{"text": "a"}\n'.encode("utf-16-le"), "is encoded as UTF-16; convert it"),
        ("a.txt", b"\x7fELF\x02\x01\x01" + bytes(50), "is a program"),
        ("a.rs", b"\x01\x00\x00\x00" * 30, "is binary: 90 of its first 120 bytes are zero; leave it out"),
        ("a.zip", b"any", "is an archive; unpack it"),
        ("a.tar.gz", b"any", "is an archive; unpack it"),
        ("a.parquet.gz", b"any", "is a compressed parquet file; unpack it"),
        ("a.bin", b"any", "is binary; a file of token ids needs data.backend: tokens"),
        ("a.txt", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "is a Git LFS pointer"),
        ("a.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "is a Git LFS pointer"),
        ("a.arrow", b"FEA1 and more", "is damaged, or not what its name says: "),
    ],
)
@pytest.mark.parametrize("on_bad_text", ["fail", "replace"])
def test_what_is_not_text_is_refused_by_name(
    name: str, content: bytes, words: str, on_bad_text: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert complaint(path, on_bad_text=on_bad_text).startswith(f"{path} {words}")


def test_a_text_with_a_stray_zero_byte_is_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"some text \x00 and more of it" + b"words " * 500 + b"\x00\x00")
    assert len(texts(tmp_path / "a.txt")) == 1


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("n.jsonl", b'{"text": "a"}\n{"text": 42}\n', ":2: column `text` holds a number, not text; set data.text_key"),
        ("n.jsonl", b'{"text": "a"}\n["b"]\n', ":2 is not a JSON object with a `text` field, but a list"),
        ("n.jsonl", b'{"text": "\\ud83d"}\n', ":1: `text` holds half of a surrogate pair"),
        ("n.jsonl", b'{"text": ' + b"[" * 100_000 + b"\n", ":1 is not JSON that Python reads ("),
        ("n.jsonl", b'{"text": "a", "n": ' + b"9" * 5000 + b"}\n", ":1 is not JSON that Python reads ("),
        ("b.json", b'\n [{"text": "a"}, {"text": null}]', ", element 2 has no text: `text` is null or missing"),
        ("b.json", b"[1, 2", ":1 is not valid JSON (Expecting ',' delimiter at column 6)"),
        ("b.json", b'"text"', ":1 is not a JSON object with a `text` field, but text"),
        ("c.csv", b'text,n\n"a"b,1\n', ":2 is not valid CSV ("),
        ("c.csv", b'text,n\n"a,1\n', ":2 is not valid CSV (unexpected end of data)"),
        ("c.csv", b"n,text\n1,a\n2\n", ":3 has no text: `text` is null or missing"),
    ],
)
def test_a_bad_row_is_named_by_its_line(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert complaint(path).startswith(f"{path}{words}")


def test_a_pretty_printed_object_is_one_row(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"text": "a text"}, indent=2))
    assert texts(tmp_path / "a.json") == ["a text"]


def test_names_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    for number, suffix in enumerate((".txt", ".jsonl", ".csv", ".parquet")):
        name = b"caf\xe9-%d" % number + suffix.encode()
        content = {".txt": b"text", ".parquet": parquet(pa.string())}.get(suffix, TABLES.get(f"a{suffix}", b""))
        (tmp_path / name.decode("utf-8", "surrogateescape")).write_bytes(content)
    assert texts(tmp_path / "*") == ["text", *TEXTS, *TEXTS, *TEXTS]


def test_memory_of_a_compressed_table_is_bounded(tmp_path: Path) -> None:
    """Rows of a file far larger than a batch are converted a batch at a time."""
    path = tmp_path / "big.jsonl.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        for number in range(20_000):
            file.write(json.dumps({"text": f"{number} " + "x" * 3000}) + "\n")
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    source = opened(path)
    assert len(source) == 20_000
    assert str(source[19_999]).startswith("19999 x")
    assert pool.bytes_allocated() - before < 20 << 20


def test_a_long_conversion_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(progress, "MOST_SECONDS", 0.0)
    lines, table = tmp_path / "far.jsonl", tmp_path / "far.parquet"
    lines.write_text("".join(json.dumps({"text": f"far {number}"}) + "\n" for number in range(2500)))
    pq.write_table(pa.table({"text": ["far"] * 50}), table)
    told: list[Progress] = []
    with progress.listening(told.append):
        opened(lines)
        opened(table)
    assert told[0].what == "hashing files"
    assert told[0].total == lines.stat().st_size
    assert [progress_line(one).removeprefix("converting tables: ") for one in told if one.unit == "rows"] == [
        "1,000 rows", "2,000 rows", "2,500 rows", "50 of 50 rows",
    ]  # fmt: skip
    opened(lines)
    assert told[-1].done == 50, "nothing listens any more"
