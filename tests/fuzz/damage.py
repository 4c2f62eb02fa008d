"""Damages files at random, the same for the same seed: their bytes, and what is in a file's place."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

JUNK = (
    b"\x00", b"\x00" * 64, b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\xbd", b"\xf0\x9f", b"\r", b"\x1b[2J",
    b"\\ud83d", b"\xe2\x80\xa8", b"\n\n\n", b"\n", b'"', b"'", b"\\", b",", b":", b"{", b"}", b"[", b"]", b"\t", b"- ",
)  # fmt: skip
VALUES = (
    b"0", b"-1", b"1", b"0.5", b"9223372036854775808", b"9" * 30, b"9" * 5000, b"-9e400", b"1e999", b"1e-400", b"NaN",
    b"Infinity", b"null", b"true", b"~", b'""', b'"text"', b'"\\ud83d"', b'"\\u0000"', b"[]", b"{}", b"[[[[[[",
    b"[" * 2000, b'{"a":' * 2000, b"0x7fffffffffffffffff", b"2024-01-01", b".inf",
)  # fmt: skip
# A scalar of JSON, YAML or CSV.
SCALAR = re.compile(rb'"(?:[^"\\\n]|\\.)*"|-?\d[\d.eE+_-]*|\b[A-Za-z_]{2,}\b')
# Numbers in binary headers: lengths, counts, offsets.
INTEGERS = (b"\xff" * 4, b"\xff" * 8, b"\x00" * 8, b"\xff\xff\xff\x7f", b"\x01\x00\x00\x00", b"\x00\x00\x00\x80")
MOST_REPEATED = 1 << 16


def flip(content: bytes, random: Random) -> bytes:
    raw = bytearray(content)
    for _ in range(random.choice((1, 1, 3, 30))):
        raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)
    return bytes(raw)


def cut(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content))]


def drop(content: bytes, random: Random) -> bytes:
    start, end = _range(content, random)
    return content[:start] + content[end:]


def move(content: bytes, random: Random) -> bytes:
    start, end = _range(content, random)
    rest, place = content[:start] + content[end:], random.randrange(len(content))
    return rest[:place] + content[start:end] + rest[place:]


def repeat(content: bytes, random: Random) -> bytes:
    start, end = _range(content, random)
    times = min(random.choice((2, 10, 1000)), MOST_REPEATED // max(1, end - start))
    return content[:end] + content[start:end] * times + content[end:]


def insert(content: bytes, random: Random) -> bytes:
    place = random.choice((0, len(content), random.randrange(len(content))))
    return content[:place] + random.choice(JUNK) + content[place:]


def replace(content: bytes, random: Random) -> bytes:
    """Another value in the place of one, mostly of another type."""
    found = list(SCALAR.finditer(content[:MOST_REPEATED]))
    if not found:
        return insert(content, random)
    match = random.choice(found)
    other = random.choice(VALUES) if random.random() < 0.8 else random.choice(found)[0]
    return content[: match.start()] + other + content[match.end() :]


def overwrite(content: bytes, random: Random) -> bytes:
    integer, place = random.choice(INTEGERS), random.randrange(len(content))
    return content[:place] + integer + content[place + len(integer) :]


def lines(content: bytes, random: Random) -> bytes:
    """Lines in another order, some of them missing or twice."""
    every = content.splitlines(keepends=True)
    return b"".join(random.choices(every, k=len(every)))


def recode(content: bytes, random: Random) -> bytes:
    text = content.decode("utf-8", "replace")
    return text.encode(random.choice(("utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig")), "replace")


def empty(content: bytes, random: Random) -> bytes:
    return b""


def blank(content: bytes, random: Random) -> bytes:
    return random.choice((b"\n", b" ", b"\x00" * len(content), b"{}", b"[]", b"null"))


BYTES: Sequence[Callable[[bytes, Random], bytes]] = (
    flip, cut, drop, move, repeat, insert, replace, replace, replace, overwrite, lines, recode, empty, blank,
)  # fmt: skip


def _range(content: bytes, random: Random) -> tuple[int, int]:
    start = random.randrange(len(content))
    return start, min(len(content), start + random.choice((1, 2, 8, 100, 10_000)))


def folder(path: Path) -> None:
    path.mkdir()


def dangling_link(path: Path) -> None:
    path.symlink_to("nothing")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def gone(path: Path) -> None:
    """Leave nothing there."""


def unreadable(path: Path) -> None:
    path.write_bytes(b"secret\n")
    path.chmod(0)


# What is put in the place of a file; root may read every file.
PLACES: Sequence[Callable[[Path], None]] = (
    folder, dangling_link, link_to_itself, gone, *((unreadable,) if os.geteuid() else ()),
)  # fmt: skip


def damage(files: Sequence[Path], random: Random) -> str:
    """Damage one or two of `files` in place; returns what was done."""
    done = []
    for path in random.sample(files, min(len(files), random.choice((1, 1, 1, 2)))):
        if random.random() < 0.1:
            place = random.choice(PLACES)
            path.unlink()
            place(path)
            done.append(f"{path.name}: {place.__name__}")
            continue
        content = path.read_bytes()
        for _ in range(random.choice((1, 1, 2, 4))):
            change = random.choice(BYTES)
            content = change(content, random) if content else content
            done.append(f"{path.name}: {change.__name__}")
        path.write_bytes(content)
    return ", ".join(done)


def restore(folder: Path, intact: Path) -> None:
    """Make the files of a folder those of another again; folders that both have stay, which is much faster."""
    for path in sorted(folder.rglob("*"), reverse=True):
        wanted = intact / path.relative_to(folder)
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        elif not wanted.is_dir():
            shutil.rmtree(path)
    shutil.copytree(intact, folder, dirs_exist_ok=True)
