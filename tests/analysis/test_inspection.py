"""`chomp inspect` says what a configuration amounts to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from chomp.analysis.inspection import inspect
from chomp.cli.inspect import describe
from chomp.config import derive, derived_section
from chomp.config.load import parse_config
from chomp.record.manifest import CheckpointInfo
from chomp.train.footprint import predict
from tests.engine import dummy_config, tiny_config, write_corpus


@pytest.fixture
def config(tmp_path: Path):
    values = tiny_config(write_corpus(tmp_path / "corpus", documents=4))
    return parse_config(yaml.safe_dump(values), source="test").config


def test_figures_add_up(config) -> None:
    found = inspect(config)
    assert sum(n for name, n in found.breakdown.items() if name != "total") == found.parameters
    assert found.tokens_per_step == 2 * 4 * 64
    assert found.total_tokens == found.tokens_per_step * 40
    assert found.memory.parameters == 4 * found.parameters
    assert found.memory.gradients == 4 * found.parameters
    # AdamW keeps two moments; its step counts are a few bytes.
    assert found.memory.optimizer == pytest.approx(8 * found.parameters, rel=0.01)
    assert found.memory.activations > 0
    assert found.compiled_memory is None


def test_schedule_runs_from_the_first_step_to_the_last(config) -> None:
    schedule = inspect(config).schedule
    assert schedule[0][0] == 1
    assert schedule[0][1] > 0
    assert schedule[-1][0] == 40
    assert max(rate for _, rate in schedule) == pytest.approx(3e-3, rel=1e-3)


def made_by(config, steps: int, at: int) -> CheckpointInfo:
    """A checkpoint of a run of `steps`, of which only the description counts."""
    shorter = config.model_copy(update={"train": config.train.model_copy(update={"steps": steps})})
    identity = {**shorter.model_dump(), "derived": derived_section(derive(shorter))}
    return CheckpointInfo(at, Path("checkpoints") / str(at), 0, {"identity": identity})


def test_a_longer_run_that_goes_on_keeps_the_schedule_of_its_checkpoint(config) -> None:
    found = inspect(config, origin=made_by(config, steps=20, at=10))
    assert found.continues_from == 10
    (note,) = found.notes
    assert note.startswith("the learning rate keeps its schedule, which ends at step 20")
    rates = dict(found.schedule)
    assert {10, 11} <= rates.keys()
    assert rates[21] == rates[40] == pytest.approx(min(rates[step] for step in rates if step > 5))
    assert dict(inspect(config).schedule)[21] > rates[21]
    assert "learning rate, on from step 10\n" in describe(found)
    assert f"note: {note}" in describe(found)
    same = inspect(config, origin=made_by(config, steps=40, at=10))
    assert (same.notes, same.schedule[-1]) == ((), inspect(config).schedule[-1])


def test_a_stretched_schedule_is_the_one_that_was_asked_for(config) -> None:
    stretched = config.model_copy(update={"optim": config.optim.model_copy(update={"decay_steps": 35})})
    found = inspect(stretched, origin=made_by(config, steps=20, at=10))
    assert found.notes == ()
    assert found.schedule[-1] == inspect(stretched).schedule[-1]


def test_more_rows_mean_more_activations(config) -> None:
    wider = config.model_copy(update={"train": config.train.model_copy(update={"batch_size": 8})})
    assert inspect(wider).memory.activations > 1.8 * inspect(config).memory.activations


def test_two_layers_predict_all_whatever_is_trained(tmp_path: Path) -> None:
    values = tiny_config(
        write_corpus(tmp_path / "corpus", documents=4),
        model={"num_layers": 4, "vocab_size": 384},
        objective={"mtp_heads": 2, "z_loss": 1e-4},
        optim={"name": "muon"},
    )
    config = parse_config(yaml.safe_dump(values), source="test").config
    found = inspect(config)
    assert found.breakdown["prediction_heads"] == 2 * 32 * 32
    assert predict(config, "cpu") == (found.parameters, found.memory)


def test_compiling_adds_the_compilers_own_account(config) -> None:
    found = inspect(config, compile_program=True)
    assert found.compiled_memory is not None
    # The state is donated: what goes in comes out in the same place.
    assert found.compiled_memory["alias"] > 2 * found.memory.parameters
    assert found.compile_seconds is not None
    text = describe(found)
    assert "memory, compiled" in text
    assert f"{found.parameters:,}" in text


def test_a_mixture_is_compiled_too(tmp_path: Path) -> None:
    values = dummy_config(tmp_path, data={"files": []})
    text = {"backend": "local_text", "local_text": "word " * 500}
    values["data"] = {"mixture": {"sources": dict.fromkeys("ab", text)}}
    found = inspect(parse_config(yaml.safe_dump(values), source="test").config, compile_program=True)
    assert found.compiled_memory is not None
    assert found.compiled_memory["total"] > found.memory.parameters


def test_figures_are_json(config) -> None:
    values = json.loads(json.dumps(inspect(config).as_dict()))
    assert values["memory"]["total"] == sum(
        values["memory"][part] for part in ("parameters", "optimizer", "gradients", "activations")
    )
