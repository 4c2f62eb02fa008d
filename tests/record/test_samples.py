"""Samples by the step of the checkpoint that they belong to."""

from __future__ import annotations

import json
from pathlib import Path

from chomp.record.samples import read_samples


def test_rows_are_found_by_step(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    assert read_samples(path, [1, 2]) == {1: [], 2: []}
    rows = [{"step": step, "prompt": "a", "text": text, "tokens": 1} for step, text in ((1, "x"), (2, "y"), (2, "z"))]
    lines = [*map(json.dumps, rows), "[]", '{"step": 2}', '{"step": "2", "prompt": "", "text": ""}', '{"step": 2, "pro']
    path.write_text("\n".join(lines))
    assert read_samples(path, [2, 3]) == {2: rows[1:], 3: []}
