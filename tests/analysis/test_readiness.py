"""Whether a run will start: what is refused, what is doubtful, and how large text, checkpoints and time are."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from chomp.analysis.readiness import Readiness, check_start, most_checkpoints
from chomp.analysis.text_size import TextSize, measure_text
from chomp.cli.queue import command as queue_command
from chomp.config import Config, derive, parse_config
from chomp.data import evaluation_sets
from chomp.data.pipeline import build_data
from chomp.data.tokenizers import build_tokenizer
from chomp.errors import ChompError
from chomp.model.resolve import resolve_model
from chomp.record.speeds import MeasuredSpeed, keep_speed, load_speed, speed_file
from chomp.tasks import entries
from tests.engine import write_corpus

pytestmark = pytest.mark.pure

SMALL = 3000


def config_of(**sections: dict[str, Any]) -> Config:
    train = {"allow_cpu": True, "seq_len": 32, "batch_size": 2, "steps": 10, **sections.pop("train", {})}
    return parse_config(json.dumps({"train": train, "optim": {"warmup_steps": 2}, **sections}), source="t").config


def checked(config: Config, state_bytes: int = SMALL, **options: Any) -> Readiness:
    tokenizer = build_tokenizer(config.data.tokenizer)
    return check_start(config, derive(config), tokenizer, state_bytes, **{"device": "cpu", **options})


def text_of(config: Config) -> TextSize:
    return measure_text(config.data, build_tokenizer(config.data.tokenizer))


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"train": {"allow_cpu": False}}, "no GPU was found and train.allow_cpu is false"),
        ({"data": {"backend": "files", "files": ["nothing/*.txt"]}}, "no file matches nothing/*.txt in data.files"),
        ({"data": {"backend": "files", "files": ["empty.txt"]}}, "empty; add text"),
        ({"data": {"backend": "files", "files": ["picture.txt"]}}, "picture.txt is an image"),
        ({"data": {"backend": "files", "files": ["good.txt"], "eval_files": ["no.txt"]}}, "no.txt in data.eval_files"),
        ({"data": {"backend": "tokens", "tokens_path": "nowhere"}}, "nowhere"),
        ({"data": {"backend": "hf", "hf_dataset": "./nowhere"}}, "./nowhere does not exist"),
        ({"data": {"backend": "hf", "hf_dataset": "a/b/c"}}, "a/b/c is no name on the hub"),
        ({"data": {"backend": "hf", "hf_dataset": "a/b"}}, "HF_HUB_OFFLINE is set"),
        ({"logging": {"wandb": {"enabled": True}}}, "logging.wandb.enabled needs the package wandb"),
        ({"notify": {"ntfy": {"url_env": "NOT_SET"}}}, "the environment variable NOT_SET is not set"),
        (
            {"evaluation": {"sets": {"s": {"files": ["no.txt"], "every": 1}}}},
            "the file no.txt in evaluation.sets.s.files does not exist",
        ),
        ({"evaluation": {"tasks": {"t": {"path": "good.txt", "every": 1}}}}, "good.txt:1: expected a JSON object"),
        (
            {"evaluation": {"tasks": {"t": {"path": "long.jsonl", "every": 1}}}},
            "long.jsonl:2: an answer has 40 tokens, and a row 32",
        ),
        (
            {"evaluation": {"tasks": {"t": {"path": "half.jsonl", "every": 1}}}},
            "half.jsonl:1: `continuation` holds an unpaired surrogate U+D800 at character 0",
        ),
        ({"logging": {"run_dir": "good.txt/run"}}, "good.txt is a file; a folder for the run is needed"),
    ],
)
def test_what_cannot_start(
    sections: dict[str, Any], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    find_spec = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "wandb" else find_spec(name))
    Path("good.txt").write_text("some text\n")
    Path("long.jsonl").write_text("\n" + json.dumps({"context": "a", "continuation": "b" * 40}))
    Path("half.jsonl").write_text('{"context": "a", "continuation": "\\ud800 x"}\n')
    Path("empty.txt").touch()
    Path("picture.txt").write_bytes(b"\x89PNG\r\n" + b"x" * 100)
    found = checked(config_of(**sections))
    (problem,) = found.problems
    assert found.exit_code in (2, 3, 4, 5)
    assert sentence in problem


def test_files_of_sets_and_tasks_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text, task, reads = Path("own.txt"), Path("tasks/t.jsonl"), list[str]()
    text.write_text("some text\n")
    task.parent.mkdir()
    task.write_text('{"context": "a", "continuation": "b"}\n')
    for module, name in ((entries, "read_tasks"), (evaluation_sets, "FilesSource")):
        read = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, name=name, read=read: reads.append(name) or read(*args))
    evaluation = {"sets": {"s": {"files": ["own.txt"]}}, "tasks": {"t": {"path": "tasks"}}}
    for seed in range(3):
        # An edit of something else.
        assert checked(config_of(evaluation=evaluation, train={"seed": seed, "eval_every": 1})).problems == ()
    assert reads == ["FilesSource", "read_tasks"]
    # A task that is bad is read at each edit, until it is mended.
    task.write_text('{"context": "a"}\n')
    for _ in range(2):
        (problem,) = checked(config_of(evaluation=evaluation)).problems
        assert "t.jsonl:1" in problem
    assert reads == ["FilesSource", *["read_tasks"] * 3]
    Path("tasks/more.jsonl").write_text('{"context": "a", "continuation": "b"}\n')
    task.unlink()
    text.write_text("other text\n")
    assert checked(config_of(evaluation=evaluation)).problems == ()
    assert reads == ["FilesSource", *["read_tasks"] * 3, "FilesSource", "read_tasks"]


def test_every_problem_is_told_at_once() -> None:
    config = config_of(train={"allow_cpu": False}, data={"backend": "files", "files": ["nothing.txt"]})
    assert len(checked(config).problems) == 2
    assert len(checked(config, device=None).problems) == 1, "a GPU elsewhere is not looked for here"


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    (problem,) = checked(config_of(), run_dir=tmp_path / "runs" / "one").problems
    assert f"{tmp_path} may not be written to" in problem


@pytest.mark.parametrize(
    ("options", "train", "count"),
    [
        ({}, {}, 2),
        ({"save_every": 5, "save_every_seconds": 0}, {"steps": 4}, 1),
        ({"save_every": 5, "save_every_seconds": 0, "max_to_keep": 9}, {"steps": 20}, 5),
        ({"keep_every": 10}, {"steps": 100}, 12),
        ({"keep_best": 3}, {"steps": 100, "eval_every": 10}, 5),
    ],
)
def test_how_many_checkpoints_a_run_keeps(options: dict[str, Any], train: dict[str, Any], count: int) -> None:
    assert most_checkpoints(config_of(checkpoint=options, train=train)) == count


def test_room_for_all_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    for free, problems, warnings in ((9_000, 0, 0), (8_999, 0, 1), (1_499, 1, 1)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        found = checked(config_of(), run_dir=tmp_path)
        assert (len(found.problems), len(found.warnings)) == (problems, warnings), free
        assert found.checkpoints is not None
        assert (found.checkpoints.needed, found.checkpoints.free) == (9_000, free)
    assert "lower checkpoint.max_to_keep" in found.warnings[0]
    assert checked(config_of(checkpoint={"enabled": False}), run_dir=tmp_path).checkpoints is None


def corpora(folder: Path) -> dict[str, dict[str, Any]]:
    """The same documents in every form."""
    write_corpus(folder / "text", documents=60)
    texts = [path.read_text() for path in sorted((folder / "text").glob("*.txt"))]
    (folder / "one.jsonl").write_text("".join(json.dumps({"text": text, "n": 1}) + "\n" for text in texts))
    pq.write_table(pa.table({"text": texts}), folder / "one.parquet")
    ids = np.concatenate([[*(byte + 3 for byte in text.encode()), 2] for text in texts])
    ids.astype("<u2").tofile(folder / "ids.bin")
    return {
        "text": {"backend": "files", "files": [str(folder / "text" / "*.txt")]},
        "jsonl": {"backend": "files", "files": [str(folder / "one.jsonl")]},
        "parquet": {"backend": "files", "files": [str(folder / "one.parquet")]},
        "tokens": {"backend": "tokens", "tokens_path": str(folder / "ids.bin"), "tokens_dtype": "uint16"},
        "local_text": {"backend": "local_text", "local_text": "".join(texts)},
        "stdlib": {"backend": "stdlib"},
    }


@pytest.mark.parametrize("name", ["text", "jsonl", "parquet", "tokens", "local_text", "stdlib"])
def test_the_tokens_of_a_text_are_about_those_that_training_reads(name: str, tmp_path: Path) -> None:
    config = config_of(data={**corpora(tmp_path)[name], "max_eval_samples": 10})
    found = text_of(config)
    data = build_data(config, derive(config), build_tokenizer(config.data.tokenizer))
    exact, evaluated = data.count_train_tokens(), sum(int(batch.attention_mask.sum()) for batch in data.eval_batches())
    data.close()
    assert found.tokens is not None
    assert found.tokens == pytest.approx(exact, rel=0.15)
    assert found.eval_tokens is not None
    assert 0.2 < found.eval_tokens / evaluated < 5


def test_what_is_not_estimated_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\nhello\n")
    found = text_of(config_of(data={"backend": "files", "files": [str(tmp_path / "a.csv")]}))
    assert (found.files, found.bytes, found.tokens, found.unknown) == (1, 11, None, "not estimated for .csv files")
    (tmp_path / "b.jsonl").write_text('{"body": "x"}\n{"text": 3}\n[1]\n{"te')
    found = text_of(config_of(data={"backend": "files", "files": [str(tmp_path / "b.jsonl")]}))
    assert (found.tokens, found.unknown) == (None, "no line with a text `text` was found in the samples")


@pytest.mark.parametrize(
    ("sections", "warning"),
    [
        ({"train": {"steps": 2000}}, None),
        ({"train": {"steps": 3000}}, "the run reads the text about 20 times"),
        ({"train": {"steps": 2000}, "data": {"repeat": False}}, "the text ends after about 148 of 2,000 steps"),
        (
            {"train": {"steps": 5, "eval_every": 5}},
            "one evaluation scores about 500 tokens, and the whole run trains on 320",
        ),
        ({"train": {"steps": 100, "eval_every": 2}}, "evaluation takes longer than training"),
        ({"train": {"steps": 100, "eval_every": 50}}, None),
    ],
)
def test_what_is_doubtful(sections: dict[str, Any], warning: str | None, tmp_path: Path) -> None:
    text = {"backend": "local_text", "local_text": "word " * 2000, **sections.get("data", {})}
    found = checked(config_of(**{**sections, "data": text}), run_dir=tmp_path)
    assert found.problems == ()
    assert len(found.warnings) == (warning is not None)
    assert warning is None or warning in found.warnings[0]


def test_the_time_is_that_of_the_last_measured_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    config = config_of(train={"steps": 100})
    assert checked(config).duration is None
    keep_speed(speed_file(config, "cpu"), MeasuredSpeed(time.time() - 90_000, "mine", 500, 0.25, 0.05))
    found = checked(config, step=40).duration
    assert found is not None
    assert (found.seconds, found.run, found.steps) == (pytest.approx(18.0), "mine", 500)
    in_time = checked(config_of(train={"steps": 100, "max_seconds": 15.0}), step=40).warnings
    assert any("ends this attempt at about step 90 of 100, less the time of start-up" in text for text in in_time)
    assert checked(config_of(train={"steps": 100, "max_seconds": 18.5}), step=40).warnings == checked(config).warnings
    # Neither the length nor the learning rate makes a step slower, but these do.
    assert checked(config_of(train={"steps": 9}, optim={"lr": 1e-5, "warmup_steps": 1})).duration is not None
    for other in ({"train": {"batch_size": 4}}, {"model": {"num_layers": 3}}, {"data": {"isolate_documents": False}}):
        assert checked(config_of(**other)).duration is None, other
    assert checked(config, device="another").duration is None
    path = speed_file(config, "cpu")
    assert path is not None
    for damage in ("", "{}", '{"t": 1, "run": "x", "steps": 1, "step_seconds": 0}', "[" * 9999):
        path.write_text(damage)
        assert load_speed(path) is None


def test_a_job_takes_as_long_as_preflight_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    config = config_of(train={"steps": 100})
    here = Path("a.yaml")
    here.write_text(json.dumps({"train": config.train.model_dump(exclude_unset=True), "optim": {"warmup_steps": 2}}))
    command = ["add", str(here), "--for", "15s"]
    said = CliRunner().invoke(queue_command, command)
    assert "--for 15s: how far the job gets is not known: no speed of such steps was measured" in said.stdout
    tokenizer = build_tokenizer(config.data.tokenizer)
    resolved = config.model_copy(update={"model": resolve_model(config.model, tokenizer)})
    keep_speed(speed_file(resolved, "cpu"), MeasuredSpeed(time.time(), "mine", 500, 0.25, 0.05))
    said = CliRunner().invoke(queue_command, command)
    assert "--for 15s: the job ends at about step 50 of 100, less the time of start-up" in said.stdout
    # The same figure as that of pre-flight.
    limited = resolved.model_copy(update={"train": config.train.model_copy(update={"max_seconds": 15.0})})
    assert any("at about step 50 of 100" in text for text in checked(limited).warnings)
    said = CliRunner().invoke(queue_command, [*command[:-1], "1m"])
    assert "the job reaches its last step, 100, after about 30s of training" in said.stdout
    said = CliRunner().invoke(queue_command, [*command[:-1], "0.1"])
    assert "the job does not complete a step: one takes about 0.30 s" in said.stdout


def test_a_text_that_the_tokenizer_refuses_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfea\0b\0")
    with pytest.raises(ChompError, match="UTF-16"):
        text_of(config_of(data={"backend": "files", "files": [str(tmp_path / "a.txt")]}))
