"""The newest comparison of environments is kept per machine; what cannot be read is as if it were not there."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from chomp.device.comparison import (
    Comparison,
    Side,
    comparison_file,
    comparison_of,
    load_comparison,
    save_comparison,
)

FOUND = Comparison(1.5, "NVIDIA H200", "c.yaml", {"XLA_FLAGS": "--a=b"}, Side(4000.0, 2**30), Side(5000.0, 2**30))


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "state" / "chomp" / "x.json"
    assert load_comparison(path) is None
    save_comparison(FOUND, path)
    save_comparison(replace(FOUND, t=2.0), path)
    assert load_comparison(path) == replace(FOUND, t=2.0)
    assert comparison_of({**asdict(FOUND), "gain": FOUND.gain}) == FOUND


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"t": 1}', json.dumps({**asdict(FOUND), "t": "soon"}), "\xff"]
)
def test_a_damaged_file_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin-1"))
    assert load_comparison(path) is None


def test_each_machine_has_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    monkeypatch.setattr(platform, "node", lambda: "gpu-7.lab/../x")
    assert comparison_file(environ) == tmp_path / "chomp" / "comparison-gpu-7.lab_.._x.json"
    monkeypatch.setattr(platform, "node", lambda: "")
    assert comparison_file(environ) == tmp_path / "chomp" / "comparison-machine.json"


def test_words() -> None:
    assert FOUND.gain == pytest.approx(0.25)
    assert FOUND.words == "without 4,000 tokens/s (1.0 GiB), with 5,000 tokens/s (1.0 GiB): +25.0%"
    failed = replace(FOUND, after=Side(why="out of memory (2.0 GiB requested)"))
    assert failed.gain is None
    assert failed.words == "without 4,000 tokens/s (1.0 GiB), with out of memory (2.0 GiB requested)"
