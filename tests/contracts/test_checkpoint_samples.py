"""Samples of checkpoints: which get some, whose parameters wrote them, and that training never notices."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from chomp.generate.load import load_trained
from chomp.generate.sampling import SamplingOptions, encode_prompt, write
from chomp.record.events import Phase
from chomp.record.manifest import list_checkpoints
from chomp.record.samples import read_samples
from tests.engine import Engine, assert_same_run, dummy_config, run, write_config, write_corpus

pytestmark = pytest.mark.process
PROMPT, TOKENS = "def ", 12


def trained(folder: Path, name: str, *, checkpoint: dict[str, Any], **train: Any) -> Path:
    train = {"generate_prompts": [PROMPT], "generate_max_tokens": TOKENS, **train}
    config = dummy_config(write_corpus(folder / "corpus"), train=train, checkpoint=checkpoint)
    done = run("train", write_config(folder / f"{name}.yaml", config), "--run-dir", folder / name)
    assert done.returncode == 0, done.stderr
    return folder / name


def sampled_steps(run_dir: Path) -> list[int]:
    path = run_dir / "samples.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else []


def test_each_checkpoint_that_is_kept_has_samples(tmp_path: Path) -> None:
    keeping = {"save_every": 4, "keep_every": 6, "keep_best": 2, "max_to_keep": 1}
    run_dir = trained(tmp_path, "kept", checkpoint=keeping, generate_every=9, eval_every=5)
    steps = sampled_steps(run_dir)
    assert len(steps) == len(set(steps)), "no step twice"
    kept = [info.step for info in list_checkpoints(run_dir / "checkpoints")]
    assert {6, 12, 18, 20} <= set(kept)
    assert set(kept) <= set(steps)
    # Those that only roll are not sampled for themselves; 9 and 18 are due anyway.
    assert set(steps) <= {6, 12, 18} | {9, 18, 20} | {5, 10, 15, 20}

    trained_model = load_trained(run_dir / "checkpoints" / "12")
    ids = encode_prompt(trained_model.tokenizer, PROMPT)
    model = trained_model.model_def.combine(trained_model.params)
    again = write(model, trained_model.tokenizer, ids, SamplingOptions(max_new_tokens=TOKENS), seed=0)
    ((sample,),) = read_samples(run_dir / "samples.jsonl", [12]).values()
    assert (sample["prompt"], sample["text"]) == (PROMPT, again.text)

    listed = run("checkpoints", run_dir, "--samples", "--json")
    assert [(row["step"], bool(row["samples"])) for row in json.loads(listed.stdout)] == [(step, True) for step in kept]
    assert f"    │ {PROMPT}" in run("checkpoints", run_dir, "--samples").stdout


def test_which_checkpoints_are_sampled_is_a_choice_that_leaves_training_alone(tmp_path: Path) -> None:
    keeping = {"save_every": 5, "keep_every": 10}
    none = trained(tmp_path, "none", checkpoint=keeping, generate_every=8, generate_for_checkpoints="none")
    assert sampled_steps(none) == [8, 16, 20]
    auto = trained(tmp_path, "auto", checkpoint=keeping)
    assert sampled_steps(auto) == [], "nobody asked for samples"
    every = trained(tmp_path, "all", checkpoint=keeping, generate_for_checkpoints="all")
    assert sampled_steps(every) == [5, 10, 15, 20]
    for other in (auto, every):
        assert_same_run(none, other, 20)


def test_a_stop_while_a_checkpoint_is_sampled(tmp_path: Path) -> None:
    """The samples are owed, and the attempt that resumes ends with the files of a run that was not stopped."""
    keeping = {"save_every": 5}
    # Enough tokens that the stop comes in their midst.
    long = {"generate_for_checkpoints": "all", "generate_max_tokens": 400, "generate_prompts": [PROMPT] * 20}
    whole = trained(tmp_path, "whole", checkpoint=keeping, **long)
    stopped = tmp_path / "stopped"
    engine = Engine(stopped, "train", tmp_path / "whole.yaml", "--run-dir", stopped)
    assert engine.wait_for(lambda event: isinstance(event, Phase) and event.name == "sample" and event.step == 10)
    engine.signal(signal.SIGTERM)
    assert engine.finish() == 143, engine.text()
    (saved,) = [info for info in list_checkpoints(stopped / "checkpoints") if info.step == 10]
    assert saved.meta["owed"] == ["sample"]
    assert run("train", "--run-dir", stopped, "--resume", "latest").returncode == 0
    assert_same_run(whole, stopped, 20)
    assert (stopped / "samples.jsonl").read_bytes() == (whole / "samples.jsonl").read_bytes()
