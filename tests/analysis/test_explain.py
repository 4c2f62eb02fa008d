"""Which documents a batch holds, where they come from, and which of them raise its loss."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chomp.analysis.explain import Flat, by_document
from chomp.config import parse_config
from chomp.config.derive import derive
from chomp.data.packing.base import Part
from chomp.data.pipeline import build_data
from chomp.data.sources.places import row_places
from chomp.data.sources.readers import Column
from chomp.data.tokenizers import build_tokenizer
from tests.engine import write_corpus

pytestmark = pytest.mark.pure


MIXTURE = {"one": {"weight": 1}, "two": {"weight": 2}}


@pytest.mark.parametrize(
    "data",
    [
        {"packing_mode": "sequential"},
        {"packing_mode": "bin", "packing_buffer_docs": 7},
        {"shuffle": False},
        {"mixture": {"sources": MIXTURE}},
    ],
    ids=str,
)
def test_each_part_of_a_batch_is_the_text_at_its_place(data: dict[str, Any], tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, documents=40)
    (corpus / "010.txt").write_text("\n")  # Too short: it is read, and not packed.
    sections: dict[str, Any] = {
        "model": {"backend": "dummy", "model_dim": 16},
        "train": {"seq_len": 64, "batch_size": 2, "grad_accum": 2, "steps": 3},
        "data": {"backend": "files", "files": [str(corpus / "*.txt")], **data},
        "optim": {"warmup_steps": 1},
    }
    if "mixture" in data:
        (corpus / "b").mkdir()
        for number in range(0, 40, 2):
            (corpus / f"{number:03d}.txt").rename(corpus / "b" / f"{number:03d}.txt")
        files = {"one": str(corpus / "*.txt"), "two": str(corpus / "b" / "*.txt")}
        sources = {name: {**MIXTURE[name], "backend": "files", "files": [path]} for name, path in files.items()}
        sections["data"] = {"mixture": {"sources": sources}}
    config = parse_config(json.dumps(sections), source="t").config
    tokenizer = build_tokenizer(config.data.tokenizer)
    opened = build_data(config, derive(config), tokenizer)
    batches = opened.packing_iterator()
    for _ in range(5):
        state = batches.get_state()
        batch = next(batches)
        ids, real = batch.input_ids.reshape(-1), batch.attention_mask.reshape(-1)
        ends = [*(part.at for part in batches.parts[1:]), len(ids)]
        places = opened.places(batches.parts)
        for part, end, place in zip(batches.parts, ends, places, strict=True):
            assert place.startswith(f"{part.source}: " if part.source else str(tmp_path))
            whole = tokenizer.encode_document(Path(place.removeprefix(f"{part.source}: ")).read_text())
            found = ids[part.at : end][real[part.at : end]]
            assert found.tolist() == whole[part.start : part.start + len(found)].tolist(), place
        # A resume in the middle of a document, or of a group, numbers them alike.
        again = opened.packing_iterator()
        again.set_state(state)
        next(again)
        assert again.parts == batches.parts
    opened.close()


def test_rows_of_tables_are_found_in_their_files(tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(9)]
    lines = [json.dumps({"text": text}) + "\n" for text in texts]
    (tmp_path / "a.jsonl").write_text(lines[0] + "\n" + lines[1])
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write(lines[2])
    (tmp_path / "c.json").write_text(json.dumps([{"text": texts[3]}, {"text": texts[4]}]))
    (tmp_path / "d.csv").write_text(f'id,text\n1,"{texts[5]}\nmore"\n2,{texts[6]}\n')
    pq.write_table(pa.table({"text": [texts[7]]}), tmp_path / "e.parquet")
    with (
        pa.OSFile(str(tmp_path / "f.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, pa.schema([("text", pa.string())])) as out,
    ):
        out.write_table(pa.table({"text": [texts[8]]}))
    files, column = sorted(tmp_path.iterdir()), Column("text", "fail")
    ends = ["a.jsonl:1", "a.jsonl:3", "b.jsonl.gz:1", "c.json, element 1", "c.json, element 2", "d.csv:3", "d.csv:4",
            "e.parquet, row 1", "f.arrow, row 1"]  # fmt: skip
    order = [8, 0, 5, 1, 2, 3, 4, 6, 7, 0]
    assert row_places(files, column, order) == [str(tmp_path / ends[row]) for row in order]
    assert row_places(files, column, [1]) == [str(tmp_path / "a.jsonl:3")]


def test_documents_come_by_what_they_add_to_the_loss() -> None:
    tokenizer = build_tokenizer(parse_config("model: {backend: dummy}", source="t").config.data.tokenizer)
    text = "aaaa" + "b" * 40 + "c"
    ids = np.asarray(tokenizer.encode_prompt(text))[-45:]
    losses, counted = np.ones(45), np.ones(45, bool)
    losses[:4], losses[30:36] = 9.0, 5.0
    counted[44], losses[44] = False, 0.0
    parts = [Part(0, 7, 0), Part(4, 3, 100), Part(44, 9, 0)]
    flat = Flat(ids, losses, counted, np.ones(45, bool), tokenizer)
    mean, total = float(losses.sum() / counted.sum()), int(counted.sum())
    found = by_document(flat, parts, mean, total)
    assert [one.number for one in found] == [8, 10, 4]
    assert found[0].raises == pytest.approx(4 * (9 - mean) / total)
    assert sum(one.raises for one in found) == pytest.approx(0)
    assert (found[2].start, found[2].tokens, found[2].beginning) == (100, 40, "b" * 40)
    assert found[2].loss == pytest.approx((34 + 30) / 40)
    # 32 tokens that hold all six of those that the model did not expect.
    assert found[2].worst_loss == pytest.approx((26 + 30) / 32)
    assert 100 <= found[2].worst_at <= 126
    assert (found[1].counted, found[1].loss, found[1].raises) == (0, 0.0, 0.0)
