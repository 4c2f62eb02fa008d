"""`train.epochs`: the length of the text gives the steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chomp.config import InvalidConfig, derive, parse_config
from chomp.data.pipeline import build_data
from chomp.data.tokenizers import build_tokenizer
from chomp.record.event_log import read_events
from chomp.record.events import RunStarted
from chomp.train.blueprint import Blueprint
from chomp.train.epochs import with_steps
from tests.in_process import run


def planned(folder: Path, epochs: int | None, **data: Any) -> Blueprint:
    """Twenty-one files of 99 bytes, which are 100 tokens with their end; two are held out."""
    for number in range(21):
        (folder / f"{number:02}.txt").write_text("x" * 99)
    lines = [f"data: {{backend: files, files: ['{folder}/*.txt']}}", "optim: {warmup_steps: 3}"]
    lines.append(f"train: {{epochs: {'null' if epochs is None else epochs}, batch_size: 2, seq_len: 64, steps: 7}}")
    overrides = [f"data.{name}={value}" for name, value in data.items()]
    config = parse_config("\n".join(lines) + "\n", source="c", overrides=overrides).config
    plan = Blueprint(config, derive(config), model_def=None)  # type: ignore[arg-type]
    return with_steps(plan, build_data(config, plan.derived, build_tokenizer(config.data.tokenizer)))


@pytest.mark.pure
@pytest.mark.parametrize(
    ("epochs", "data", "steps"),
    [
        (None, {}, 7),
        (1, {}, -(-1900 // 128)),
        (3, {}, -(-5700 // 128)),
        (3, {"max_doc_tokens": 50}, -(-2850 // 128)),
    ],
)
def test_steps_are_passes_rounded_up(epochs: int | None, data: Any, steps: int, tmp_path: Path) -> None:
    made = planned(tmp_path, epochs, **data)
    assert (made.config.train.steps, made.config.train.epochs) == (steps, None)
    assert made.derived == derive(made.config)


@pytest.mark.pure
def test_a_schedule_that_does_not_fit_is_refused_when_the_steps_are_known(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="3 steps of warm-up leave none of the 2 train"):
        planned(tmp_path, 1, max_doc_tokens=10)


def test_a_run_is_as_long_as_its_text_and_a_resume_may_make_it_longer(tmp_path: Path) -> None:
    config, words = tmp_path / "c.yaml", "one two three four five six seven " * 20
    config.write_text(
        f"model: {{backend: dummy, model_dim: 16}}\ndata: {{backend: local_text, local_text: '{words}'}}\n"
        "train: {seq_len: 32, batch_size: 2, allow_cpu: true, epochs: 2}\noptim: {warmup_steps: 1}\n"
    )
    place = ("--run-dir", tmp_path / "run")
    assert run("train", config, *place).returncode == 0
    assert run("train", *place, "--resume", "latest", "-o", "train.steps=25").returncode == 0
    started = [event for event in read_events(tmp_path / "run" / "events.jsonl") if isinstance(event, RunStarted)]
    # The last five per cent are held out; the end-of-text id is trained on.
    assert [event.total_steps for event in started] == [-(-2 * (len(words) - len(words) // 20 + 1) // 64), 25]
