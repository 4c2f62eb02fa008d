"""Options of other trainers set what they mean here, or their sentence names the way."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chomp.cli.habits import checkpoint_source
from chomp.cli.train import command
from chomp.config import parse_config
from chomp.record.rundir import RunDir
from chomp.train.request import RunRequest
from tests.in_process import run

ROOT = Path(__file__).parents[2]
CONFIG = "model: {backend: dummy}\ntrain: {allow_cpu: true, steps: 50}\noptim: {warmup_steps: 5}\n"
Train = Callable[..., "RunRequest | str"]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """`chomp train` up to the training: the request, or the last line of the complaint."""
    asked: list[RunRequest] = []
    monkeypatch.setattr("chomp.train.loop.run_training", lambda request: asked.append(request) or 0)
    (tmp_path / "c.yaml").write_text(CONFIG)

    def started(*args: object) -> RunRequest | str:
        done = run("train", *args, cwd=tmp_path)
        return asked.pop() if done.returncode == 0 else done.stderr.splitlines()[-1]

    return started


@pytest.mark.parametrize(
    ("option", "setting", "value"),
    [
        ("--max-steps 9", "train.steps", 9),
        ("--epochs 3", "train.epochs", 3),
        ("--batch-size 2", "train.batch_size", 2),
        ("--batch-size-tokens 8192", "train.batch_tokens", 8192),
        ("--seq-len 64", "train.seq_len", 64),
        ("--lr 1e-2", "optim.lr", 1e-2),
        ("--precision bf16", "model.compute_dtype", "bfloat16"),
        ("--precision fp32", "model.compute_dtype", "float32"),
        ("--precision auto", "model.compute_dtype", "bfloat16"),
        ("--no-val", "train.eval_every", 0),
        ("--keep-last-checkpoints 5", "checkpoint.max_to_keep", 5),
        ("--checkpoint-dir there", "logging.run_dir", "there"),
        ("--device cuda", "train.allow_cpu", False),
        ("--device cpu", "train.allow_cpu", True),
        ("--data-path x.bin", "data.tokens_path", "x.bin"),
        ("--train-data x.bin", "data.backend", "tokens"),
    ],
)
def test_an_option_sets_a_setting(option: str, setting: str, value: Any, train: Train) -> None:
    request = train("c.yaml", *option.split())
    assert isinstance(request, RunRequest), request
    section, _, name = setting.partition(".")
    assert getattr(getattr(request.loaded.config, section), name) == value


def test_data_comes_with_the_tokenizer_beside_it(train: Train, tmp_path: Path) -> None:
    """The documented path of a flat file also finds the folder that `chomp prepare-data` writes."""
    (tmp_path / "data").mkdir()
    for name in ("metadata.json", "tokenizer.json"):
        (tmp_path / "data" / name).touch()
    request = train("--config", "NANO_125M", "--dataset", "tokens", "--data-path", "data/tokens.bin")
    assert isinstance(request, RunRequest), request
    data = request.loaded.config.data
    assert (data.backend, data.tokens_path) == ("tokens", "data")
    assert (data.tokenizer.kind, data.tokenizer.path) == ("file", "data/tokenizer.json")
    assert (request.loaded.config.model.preset, request.loaded.text) == ("nano-125m", "model:\n  preset: nano-125m\n")


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--dataset synthetic", "--dataset synthetic: chomp trains on text; -o data.backend=stdlib needs no files"),
        ("--device cuda:1", "--device cuda:1: write --devices 1 instead"),
        ("--compile", "--compile: the step is always compiled; leave the option out"),
        ("--compile False", "--compile: the step is always compiled; leave the option out"),
        ("--weight-decay 0.1", "No such option: --weight-decay. Write -o optim.weight_decay=VALUE."),
        ("--epochs 2 --max-steps 9", "--epochs and --max-steps each determine the length of the run; pass only one"),
        ("--resume a/b", "--resume a/b: there is no run or checkpoint; pass latest, a step number, or its path"),
        ("--resume newest", "--resume newest: expected none, latest or a step number"),
    ],
)  # fmt: skip
def test_another_option_names_the_way(option: str, sentence: str, train: Train) -> None:
    assert train("c.yaml", *option.split()) == f"error: {sentence}"


def test_the_page_lists_every_option() -> None:
    page = (ROOT / "docs" / "migration.md").read_text()
    hidden = [name for param in command.params if getattr(param, "hidden", False) for name in param.opts]
    assert len(hidden) > 25
    assert [name for name in hidden if f"`{name}`" not in page and f"`{name} " not in page] == []


def test_half_precision_is_refused_by_the_setting(train: Train) -> None:
    said = train("c.yaml", "--precision", "fp16")
    assert "float16 is not supported" in str(said)


def test_resume_takes_the_path_of_a_run_or_a_checkpoint(train: Train, tmp_path: Path) -> None:
    path = tmp_path / "runs" / "one"
    (path / "checkpoints" / "20").mkdir(parents=True)
    RunDir(path).events.touch()
    for given, resume in (("runs/one", "latest"), ("runs/one/checkpoints/20/", 20)):
        request = train("c.yaml", "--resume", given)
        assert isinstance(request, RunRequest), request
        assert (request.run_dir, request.resume) == (Path("runs/one"), resume)
    assert "of the run runs/one, and --run-dir is runs/two" in str(
        train("c.yaml", "--resume", "runs/one", "--run-dir", "runs/two")
    )


def test_a_resumed_run_keeps_what_its_preset_meant(train: Train, tmp_path: Path) -> None:
    """Also what its version of chomp did not know; what the command line says wins."""
    (tmp_path / "p.yaml").write_text("model: {preset: D20-E3-full}\n")
    values = parse_config("optim: {name: adamw, lr: 2e-4}\n", source="c").config.model_dump()
    values["model"].update(preset="d20-e3-full", backend="llama", share_emb=False)
    del values["model"]["residual_streams"]
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    RunDir(tmp_path / "run").config_resolved.write_text(json.dumps(values))
    request = train("p.yaml", "--run-dir", "run", "--resume", "latest", "-o", "optim.schedule=wsd")
    assert isinstance(request, RunRequest), request
    config = request.loaded.config
    assert (config.model.preset, config.model.share_emb, config.model.residual_streams) == ("d20-e3-full", False, 1)
    assert (config.optim.name, config.optim.lr, config.optim.schedule) == ("adamw", 2e-4, "wsd")
    assert config.objective.mtp_heads == 0
    fresh = train("p.yaml", "--run-dir", "other")
    assert isinstance(fresh, RunRequest), fresh
    assert (fresh.loaded.config.optim.name, fresh.loaded.config.objective.mtp_heads) == ("muon", 3)


def test_a_checkpoint_may_be_an_option_and_must_be_one(tmp_path: Path) -> None:
    import click
    from click.testing import CliRunner

    @click.command()
    @checkpoint_source
    @click.option("--other")
    def reading(source: Path, other: str | None) -> None:
        click.echo(f"{source} {other}")

    for words in (["runs/one"], ["--checkpoint", "runs/one"]):
        assert CliRunner().invoke(reading, [*words, "--other", "x"]).output == "runs/one x\n"
    assert "Missing argument 'RUN|CHECKPOINT'." in CliRunner().invoke(reading, []).output
    (tmp_path / "a").mkdir()
    for word, problem in (
        (str(tmp_path / "a"), "two checkpoints given, "),
        ("text", "unexpected argument text; an option"),
    ):
        assert problem in CliRunner().invoke(reading, ["--checkpoint", "b", "--other", "x", word]).output


@pytest.mark.parametrize("option", ["--gguf", "--mhc"])
def test_an_export_names_its_formats(option: str, tmp_path: Path) -> None:
    said = run("export", "--checkpoint", "runs/one", option, "model", cwd=tmp_path)
    assert said.returncode == 2
    assert f"error: {option}: each format is a folder of its own: `--to gguf --output FOLDER`" in said.stderr


def test_a_file_wins_over_a_preset_of_its_name(train: Train, tmp_path: Path) -> None:
    (tmp_path / "micro").write_text(CONFIG)
    request = train("micro")
    assert isinstance(request, RunRequest), request
    assert request.loaded.config.model.backend == "dummy"


def test_the_cpu_is_chosen_before_jax_is(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(
        "chomp.cli.engine.prepare_environment", lambda **_: seen.append(os.environ.get("JAX_PLATFORMS"))
    )
    train("c.yaml", "--device", "cpu")
    assert seen == ["cpu"]


def test_passes_and_what_they_cannot_be() -> None:
    from tests.config.wrong import refusal

    assert parse_config("train: {epochs: 2}\noptim: {warmup_steps: 5000}\n", source="c").config.train.epochs == 2
    assert refusal("data: {backend: hf}\ntrain: {epochs: 1}\n") == [
        "c.yaml:2: train.epochs: needs a text of known length, and a stream has none; set data.hf_streaming: false to "
        "download the dataset, or train.steps instead"
    ]
    assert refusal("data: {repeat: false}\ntrain: {epochs: 2}\n") == [
        "c.yaml:2: train.epochs: 2 passes need data.repeat: true; false ends the run after one"
    ]
