"""`chomp preview`: exactly the batches that the step receives, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from chomp.analysis.preview import Lengths, Previewer
from chomp.cli.preview import describe
from chomp.config import Config, parse_config
from chomp.data.batch import Batch
from chomp.data.pipeline import build_data
from chomp.data.tokenizers import build_tokenizer
from chomp.errors import DataError
from chomp.record.manifest import CheckpointInfo
from chomp.train.blueprint import build_blueprint
from tests.analysis.test_readiness import corpora
from tests.conformance.test_tokenizers import byte_level_bpe

pytestmark = pytest.mark.pure

HOSTILE = (
    "\x1b[2J\x1b]0;title\x07[red]not markup[/red] \u202ereversed\u202c \u2028 caf\u00e9 \u65e5\u672c \U0001f389\n\tend"
)


def config_of(**sections: dict[str, Any]) -> Config:
    train = {"seq_len": 64, "batch_size": 2, "grad_accum": 2, "steps": 10, **sections.pop("train", {})}
    sections = {"model": {"backend": "dummy", "model_dim": 16}, "optim": {"warmup_steps": 2}, **sections}
    return parse_config(json.dumps({"train": train, **sections}), source="t").config


def fed(config: Config, count: int, state: dict[str, Any] | None = None) -> list[Batch]:
    """The batches that the step of a run receives, built as `chomp.train.session` builds them."""
    planned = build_blueprint(config, "cpu", build_tokenizer(config.data.tokenizer))
    assert planned.tokenizer is not None
    data = build_data(planned.config, planned.derived, planned.tokenizer)
    iterator = data.train_iterator()
    if state is not None:
        iterator.set_state(state)
    batches = [next(iterator) for _ in range(count)]
    data.close()
    return batches


def opened(config: Config, origin: CheckpointInfo | None = None) -> Previewer:
    return Previewer(config, build_tokenizer(config.data.tokenizer), origin)


def text(previewer: Previewer, number: int = 1) -> str:
    return "".join("".join(run.pieces) for row in previewer.show(number).rows for run in row.runs)


def same(one: Batch, other: Batch) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("preview")
    found = corpora(folder)
    byte_level_bpe().save(str(folder / "tokenizer.json"))
    found["bpe"] = {"kind": "file", "path": str(folder / "tokenizer.json")}
    hub = folder / "hub"
    hub.mkdir()
    (hub / "train.jsonl").write_bytes((folder / "one.jsonl").read_bytes())
    found["stream"] = {"backend": "hf", "hf_dataset": str(hub), "hf_streaming": True, "shuffle_buffer_size": 10}
    return found


@pytest.mark.parametrize("tokenizer", ["byte", "bpe"])
@pytest.mark.parametrize("packing", ["sequential", "bin"])
@pytest.mark.parametrize("source", ["text", "jsonl", "parquet", "tokens", "local_text", "stream"])
def test_the_batch_is_the_one_that_the_step_receives(
    source: str, packing: str, tokenizer: str, places: dict[str, dict[str, Any]]
) -> None:
    if source == "tokens" and tokenizer == "bpe":
        tokenizer = "byte"
    data = {**places[source], "packing_mode": packing, "packing_buffer_docs": 7, "max_eval_samples": 3}
    data["tokenizer"] = places["bpe"] if tokenizer == "bpe" else {}
    if packing == "bin":
        # Documents are told apart where the model does not tell them apart, too.
        data |= {"isolate_documents": False, "mask_boundary_loss": False}
    config = config_of(data=data)
    previewer, batches = opened(config), fed(config, 3)
    for number in (1, 3, 2):
        assert same(previewer.batch(number), batches[number - 1]), number
        rows = previewer.show(number).rows
        shown = [[token for run in row.runs for token in run.ids] for row in rows]
        assert np.array_equal(np.reshape(shown, batches[0].input_ids.shape), batches[number - 1].input_ids)
    previewer.close()


def test_a_run_that_continues_shows_the_next_batch_of_its_checkpoint(
    tmp_path: Path, places: dict[str, dict[str, Any]]
) -> None:
    config = config_of(data=places["text"])
    data = build_data(config, build_blueprint(config, "cpu", build_tokenizer(config.data.tokenizer)).derived,
                      build_tokenizer(config.data.tokenizer))  # fmt: skip
    iterator = data.train_iterator()
    expected = [next(iterator) for _ in range(5)]
    iterator = data.train_iterator()
    for _ in range(3):
        next(iterator)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "position.json").write_text(json.dumps(iterator.get_state()))
    data.close()
    previewer = opened(config, CheckpointInfo(3, tmp_path, {}, 0))
    assert same(previewer.batch(1), expected[3])
    assert same(previewer.batch(2), expected[4])
    assert previewer.show(1).summary.step == 4
    previewer.close()


def test_documents_padding_and_labels_are_told(tmp_path: Path) -> None:
    for number, words in enumerate(["one", "two two", "three three three", "x" * 100]):
        (tmp_path / f"{number}.txt").write_text(words)
    data = {"backend": "files", "files": [str(tmp_path / "*.txt")], "packing_mode": "bin", "shuffle": False,
            "repeat": False, "eval_text": "held out"}  # fmt: skip
    previewer = opened(config_of(data=data, train={"batch_size": 3, "grad_accum": 1}))
    found = previewer.show(1)
    # 3 + 7 + 17 + 100 characters, each with an end-of-text id, of which the first does not count.
    assert [(row.documents, row.padding) for row in found.rows] == [(1, 60), (3, 1), (1, 0)]
    first = found.rows[1].runs
    assert [(run.document, run.begins, run.counted, "".join(run.pieces)) for run in first] == [
        (2, True, False, "t"),
        (2, False, True, "wo two<eos>"),
        (3, True, False, "t"),
        (3, False, True, "hree three three<eos>"),
        (4, True, False, "x"),
        (4, False, True, f"{'x' * 35}<eos>"),
        (-1, False, False, ""),
    ]
    said = found.summary
    assert (said.documents, said.lengths) == (5, Lengths(4, 18, 64))
    assert said.packing_efficiency == pytest.approx(131 / 192)
    assert said.masked == pytest.approx(5 / 131)
    assert said.tokens_per_byte == pytest.approx(131 / 127)
    assert (said.text_documents, said.text_lengths) == (4, Lengths(4, 13, 101))
    assert said.epoch_tokens == 131
    with pytest.raises(DataError, match="the text ends after 1 batches"):
        previewer.batch(2)
    assert previewer.show(1, first=2, most=1).rows[0].runs[0].ids == [ord("x") + 3]
    previewer.close()


@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_text_is_whole_and_what_is_printed_is_inert(
    kind: str, tmp_path: Path, places: dict[str, dict[str, Any]]
) -> None:
    (tmp_path / "hostile.txt").write_text(HOSTILE * 9)
    tokenizer = places["bpe"] if kind == "bpe" else {}
    data = {"backend": "files", "files": [str(tmp_path / "hostile.txt")], "eval_text": "x", "tokenizer": tokenizer}
    previewer = opened(config_of(data=data, train={"seq_len": 512, "batch_size": 1, "grad_accum": 1}))
    assert HOSTILE in text(previewer)
    assert "\N{REPLACEMENT CHARACTER}" not in text(previewer).removesuffix("\N{REPLACEMENT CHARACTER}")
    for by_token in (False, True):
        lines = "\n".join(describe(previewer.show(1), by_token=by_token))
        assert "title" in lines.replace("│", "")
        # What is left are chomp's own colours: `ESC [ numbers m`.
        for part in lines.split("\x1b[")[1:]:
            assert part.partition("m")[0].replace(";", "").isdecimal()
        assert not set(lines) & set("\x07\u202e\u202c\u2028\t")
    previewer.close()


def test_progress_is_told_once_a_second_and_a_batch_beyond_the_end_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    said: list[str] = []
    config = config_of(data={"backend": "local_text", "local_text": "hello world " * 20})
    previewer = Previewer(config, build_tokenizer(config.data.tokenizer), None, said.append)
    # Of the 120 batches each takes a hundredth of a second.
    monkeypatch.setattr("chomp.analysis.preview.time.monotonic", lambda: next(clock) / 100)
    before = len(said)
    lines = describe(previewer.show(250), by_token=False)
    assert lines[0] == "step 250: 2 x 2 sequences of 64 tokens; beyond the end of the run, step 10"
    assert [line.split()[2] for line in said[before:]] == ["100", "200"]
    assert previewer.show(250).as_dict()["summary"]["last_step"] == 10
    assert "beyond" not in describe(previewer.show(10), by_token=False)[0]
    previewer.close()


def test_marks_are_there_without_colours() -> None:
    previewer = opened(config_of(data={"backend": "local_text", "local_text": "hello world " * 20}))
    lines = describe(previewer.show(1), by_token=False)
    assert lines[0] == "step 1: 2 x 2 sequences of 64 tokens"
    assert any("⟦1⟧" in line and "‹h›" in line for line in map(click.unstyle, lines))
    previewer.close()
