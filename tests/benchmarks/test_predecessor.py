"""The comparison with the predecessor: its configuration asks for what chomp's runs do, and errors are one sentence."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.choices import CONFIG
from benchmarks.predecessor import (
    AS_PREDECESSOR,
    HELD_OUT,
    TIED,
    Setup,
    configuration,
    described,
    of_predecessor,
    write_text,
)
from chomp.config import derive, load_config, parse_config
from chomp.config.migrate import migrated
from chomp.data.pipeline import DataPipeline
from chomp.data.retry import RetryPolicy
from chomp.data.sources.base import InMemorySource
from chomp.data.sources.build import divide
from chomp.data.tokenizers import build_tokenizer


def test_the_predecessor_is_asked_for_the_settings_of_chomp(tmp_path: Path) -> None:
    written = configuration(Setup(Path("python"), tmp_path, 300), tmp_path / "run", 2, None)
    asked = parse_config(migrated(yaml.safe_dump(written))[0], source="migrated").config
    same = load_config(CONFIG, [HELD_OUT, *AS_PREDECESSOR, TIED, "train.steps=300", "train.seed=2"]).config
    assert asked.model == same.model.model_copy(update={"vocab_size": asked.model.vocab_size})
    # AdamW has no use for the settings of Muon.
    assert asked.optim == same.optim.model_copy(update={"muon": asked.optim.muon})
    for setting in ("packing_mode", "isolate_documents", "mask_boundary_loss", "train_on_eos", "max_doc_tokens"):
        assert getattr(asked.data, setting) == getattr(same.data, setting), setting
    assert asked.data.max_eval_samples == 15
    assert asked.data.shuffle_seed == 2
    assert asked.data.tokenizer == same.data.tokenizer
    for setting in ("steps", "batch_size", "seq_len", "grad_accum", "seed"):
        assert getattr(asked.train, setting) == getattr(same.train, setting), setting
    assert asked.train.eval_every == 300


def test_its_default_rate_is_the_only_difference(tmp_path: Path) -> None:
    setup = Setup(Path("python"), tmp_path, 300)
    at_default, usual = (configuration(setup, tmp_path, 0, lr) for lr in (3e-4, None))
    assert at_default["optim"] | {"lr": 3e-3} == usual["optim"]
    assert at_default["optim"]["lr"] == 3e-4
    assert at_default | {"optim": usual["optim"]} == usual


def test_the_text_is_written_as_it_is_or_in_the_order_of_chomp(tmp_path: Path) -> None:
    text = divide(
        InMemorySource("test", [f"{number:02d}" * 600 for number in range(40)], {}), load_config(CONFIG).config.data
    )

    def written(seed: int | None, name: str = "train") -> list[str]:
        lines = (write_text(text, tmp_path / f"{seed}-{name}", seed) / f"{name}.jsonl").read_text().splitlines()
        return [json.loads(line)["text"] for line in lines]

    documents = [text.train[number] for number in range(len(text.train))]
    assert written(None) == documents
    assert written(None, "validation") == [text.evaluation[number] for number in range(len(text.evaluation))]
    one, other = written(1), written(2)
    assert one != other
    assert sorted(one) == sorted(other) == sorted(documents)
    config = load_config(CONFIG, [*AS_PREDECESSOR, "train.seed=1"]).config
    tokenizer = build_tokenizer(config.data.tokenizer)
    size, retry = tokenizer.padded_vocab_size, RetryPolicy(0, 1.0)
    data = DataPipeline(text, config, derive(config), tokenizer, vocab_size=size, retry=retry)
    try:
        read = next(data.train_iterator()).input_ids.reshape(-1)
    finally:
        data.close()
    assert tokenizer.decode(read) == one[0][: len(read)]


def test_what_is_missing_is_one_sentence(tmp_path: Path) -> None:
    def told(checkout: Path, python: Path) -> str:
        with pytest.raises(SystemExit) as told:
            described(checkout, python)
        return str(told.value.code)

    absent = tmp_path / "absent"
    assert (
        told(absent, Path(sys.executable)) == f"no checkout of the predecessor at {absent}: clone pszemraj/chomp there"
    )
    assert told(tmp_path, absent).startswith(f"no Python at {absent}: install the predecessor")
    broken = _program(tmp_path / "broken", "echo 'Traceback'; echo \"ModuleNotFoundError: No module named 'chomp'\"")
    assert told(tmp_path, broken) == (
        f"the predecessor is not installed for {broken}: ModuleNotFoundError: No module named 'chomp'"
    )
    # This Python has chomp and not its predecessor.
    assert "install the checkout with `pip install -e`" in told(tmp_path, Path(sys.executable))


def test_a_failed_training_is_one_sentence(tmp_path: Path) -> None:
    setup = Setup(_program(tmp_path / "python", "echo 'train:  0%'; echo 'ValueError: no such setting'"), tmp_path, 300)
    with pytest.raises(SystemExit) as told:
        of_predecessor(setup, tmp_path / "run", 0)
    assert str(told.value.code) == (
        "the predecessor failed to train, exit code 1; it said last: ValueError: no such setting"
    )


def _program(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{{ {body}; }} >&2\nexit 1\n")
    path.chmod(0o755)
    return path
