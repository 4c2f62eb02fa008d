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
from tests.engine import Engine, assert_same_run, dummy_config
from tests.engine import run as run_process
from tests.in_process import run
from tests.references import References

pytestmark = pytest.mark.compile
PROMPT, TOKENS = "def ", 12


def settings(references: References, *, checkpoint: dict[str, Any], **train: Any) -> dict[str, Any]:
    train = {"generate_prompts": [PROMPT], "generate_max_tokens": TOKENS, **train}
    return dummy_config(references.corpus, train=train, checkpoint=checkpoint)


def sampled_steps(run_dir: Path) -> list[int]:
    path = run_dir / "samples.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else []


def test_each_checkpoint_that_is_kept_has_samples(references: References) -> None:
    keeping = {"save_every": 4, "keep_every": 6, "keep_best": 2, "max_to_keep": 1}
    run_dir = references.run(run, settings(references, checkpoint=keeping, generate_every=9, eval_every=5))
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


def test_which_checkpoints_are_sampled_is_a_choice_that_leaves_training_alone(references: References) -> None:
    def trained(**train: Any) -> Path:
        return references.run(run, settings(references, checkpoint={"save_every": 5, "keep_every": 10}, **train))

    none = trained(generate_every=8, generate_for_checkpoints="none")
    assert sampled_steps(none) == [8, 16, 20]
    auto = trained()
    assert sampled_steps(auto) == [], "no sample was configured"
    every = trained(generate_for_checkpoints="all")
    assert sampled_steps(every) == [5, 10, 15, 20]
    for other in (auto, every):
        assert_same_run(none, other, 20)


@pytest.mark.process
def test_a_stop_while_a_checkpoint_is_sampled(references: References, tmp_path: Path) -> None:
    """The samples are owed, and the attempt that resumes ends with the files of a run that was not stopped."""
    # Enough tokens that the stop comes in their midst.
    long = {"generate_for_checkpoints": "all", "generate_max_tokens": 400, "generate_prompts": [PROMPT] * 8}
    whole = references.run(run_process, settings(references, checkpoint={"save_every": 5}, **long))
    stopped = tmp_path / "stopped"
    engine = Engine(stopped, "train", whole.parent / "config.yaml", "--run-dir", stopped)
    assert engine.wait_for(lambda event: isinstance(event, Phase) and event.name == "sample" and event.step == 10)
    engine.signal(signal.SIGTERM)
    assert engine.finish() == 143, engine.text()
    (saved,) = [info for info in list_checkpoints(stopped / "checkpoints") if info.step == 10]
    assert saved.meta["owed"] == ["sample"]
    assert run_process("train", "--run-dir", stopped, "--resume", "latest").returncode == 0
    assert_same_run(whole, stopped, 20)
    assert (stopped / "samples.jsonl").read_bytes() == (whole / "samples.jsonl").read_bytes()
