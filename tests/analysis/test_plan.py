"""`chomp plan` measures few sizes, stays within time and memory, and writes what `chomp` accepts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chomp.analysis import plan
from chomp.analysis.plan import RESERVE, STARTUP_SECONDS, Goal, Planning
from chomp.analysis.scaling import (
    LEAST_STEPS,
    WIDTHS,
    Backend,
    adamw_rate,
    batch_rows,
    flops_per_token,
    muon_rate,
    rest_rate,
    scaling_parameters,
    shape,
    warmup_steps,
)
from chomp.cli.plan import BASE
from chomp.config.load import load_config, parse_config
from chomp.config.model import ModelConfig
from chomp.device.probe import Probe
from chomp.errors import ConfigError, DeviceError
from chomp.model.build import build_model
from tests.in_process import run as run_here
from tests.pretrained.folders import hub_folder

pytestmark = pytest.mark.pure

VOCABULARY = 384
GIB = 2**30
Answer = Callable[[dict[str, Any]], dict[str, Any]]


def speed(config: dict[str, Any]) -> float:
    """Of a device that is slow at small sizes."""
    dim = config["model"]["model_dim"]
    return 4e10 * dim / (dim + 200) / flops_per_token(config["model"]["backend"], dim, VOCABULARY, 256)


def ran(config: dict[str, Any]) -> dict[str, Any]:
    measured = {"tokens_per_second": speed(config), "steps": 9, "peak_bytes": None}
    return {"compiled": {"seconds": 2.0, "memory": {"total": GIB}}, "measured": measured}


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Answer for the child processes; returns the configurations that were tried."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(plan, "probe_gpus", lambda: Probe(reason="none"))

    def made(answer: Answer = ran, *, platform: str = "cpu") -> list[dict[str, Any]]:
        tried: list[dict[str, Any]] = []

        def ask(request: dict[str, Any], deadline: float) -> dict[str, Any]:
            tried.append(request["config"])
            device = {"platform": platform, "name": platform, "count": 1, "memory": GIB, "peak_flops": None}
            model = {**request["config"]["model"], "vocab_size": VOCABULARY}
            return {"device": device, "model": model, **answer(request["config"])}

        monkeypatch.setattr(plan, "ask", ask)
        return tried

    return made


def planned(goal: Goal, seconds: float = 300.0) -> Planning:
    found = Planning(parse_config(BASE, source="test").config, goal, seconds)
    list(found.run())
    return found


@pytest.mark.parametrize("hours", [0.01, 0.1, 1.0, 8.0, 100.0])
def test_the_proposal_is_measured_fits_the_time_and_is_the_largest_with_enough_tokens(
    answering: Callable[..., list[dict[str, Any]]], hours: float
) -> None:
    tried = answering()
    found = planned(Goal(hours * 3600))
    proposal = found.propose()
    size, train = proposal.size, proposal.settings["train"]
    assert len(tried) <= 5
    assert size in found.sizes
    assert proposal.steps * proposal.step_seconds <= hours * 3600 * (1 - RESERVE) - STARTUP_SECONDS
    assert proposal.steps * proposal.step_seconds > 0.9 * found.training_seconds()
    assert train["batch_size"] * train["grad_accum"] * train["seq_len"] == proposal.tokens_per_step
    assert train["max_seconds"] == hours * 3600
    assert size.dim == WIDTHS[0] or proposal.tokens >= 19.5 * size.parameters
    larger = WIDTHS[WIDTHS.index(size.dim) + 1]
    model = {"model_dim": larger, "backend": "llama"}
    enough = 20 * scaling_parameters("llama", larger, VOCABULARY)
    assert speed({"model": model}) * found.training_seconds() < 1.2 * enough


def test_a_wanted_number_of_tokens_decides_the_size(answering: Callable[..., list[dict[str, Any]]]) -> None:
    answering()
    free, few = planned(Goal(8 * 3600.0)).propose(), planned(Goal(8 * 3600.0, tokens=1e7)).propose()
    assert few.size.dim > free.size.dim
    assert 0.98e7 < few.tokens <= 1e7


def test_a_goal_that_is_no_run_is_one_sentence_with_what_would_be_one(
    answering: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    answering()
    few = planned(Goal(3600.0, tokens=300))
    with pytest.raises(
        ConfigError, match=r"^--tokens 300 is less than 2 steps of one row; give at least --tokens 512$"
    ):
        few.propose()
    output = tmp_path / "plan.yaml"
    short = run_here("plan", "--hours", "0.005", "--output", output)
    assert (short.returncode, short.stderr.count("\n"), output.exists()) == (2, 1, False)
    said = re.fullmatch(
        r"error: --hours 0.005 is 18s, of which start and compilation take about 17s: no time is left for steps; give "
        r"at least --hours (0\.\d+)\n",
        short.stderr,
    )
    assert said is not None, short.stderr
    done = run_here("plan", "--hours", said[1], "--output", output)
    assert done.returncode == 0, done.stderr
    assert load_config(output).config.train.steps >= 2


def test_what_does_not_fit_is_tried_with_smaller_micro_batches_then_left(
    answering: Callable[..., list[dict[str, Any]]],
) -> None:
    def answer(config: dict[str, Any]) -> dict[str, Any]:
        fits = config["model"]["model_dim"] * config["train"]["batch_size"] <= 256
        return ran(config) if fits else {"failed": "needs 2.0 GiB of 1.0 GiB as compiled", "needs": 2 * GIB}

    answering(answer)
    found = planned(Goal(100 * 3600.0))
    assert [(one.dim, one.rows, one.too_large) for one in found.sizes] == [
        (128, 4, True), (128, 2, False), (256, 4, True), (256, 2, True), (256, 1, False),
        (320, 4, True), (320, 2, True), (320, 1, True),
    ]  # fmt: skip
    assert (found.propose().size.dim, found.propose().settings["train"]["batch_size"]) == (256, 1)


def test_nothing_measured_is_an_error_and_another_device_than_guessed_is_planned_for(
    answering: Callable[..., list[dict[str, Any]]],
) -> None:
    answering(lambda config: {"failed": "the time limit ended it", "late": True})
    with pytest.raises(DeviceError, match="no size could be measured: the time limit ended it"):
        planned(Goal(3600.0))
    tried = answering(platform="gpu")
    found = planned(Goal(3600.0))
    assert [one["train"]["seq_len"] for one in tried][:2] == [256, 2048]
    assert found.propose().settings["model"]["compute_dtype"] == "bfloat16"
    assert not found.propose().settings["train"]["allow_cpu"]


def test_the_file_is_accepted_and_keeps_text_and_reasons(
    answering: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    answering()
    (tmp_path / "a.txt").write_text("a text " * 2000)
    base = tmp_path / "base.yaml"
    base.write_text(f"data: {{backend: files, files: [{tmp_path}/*.txt]}}\ntrain: {{allow_cpu: true}}\n")
    output = tmp_path / "plan.yaml"
    done = run_here("plan", base, "--hours", "1", "--output", output, "--model", "megalodon")
    assert done.returncode == 0, done.stderr
    assert "passes over the text of" in done.stdout
    config = load_config(output).config
    assert (config.data.files, config.model.backend) == ([f"{tmp_path}/*.txt"], "megalodon")
    assert "arXiv:2203.15556" in output.read_text()
    again = run_here("plan", base, "--hours", "1", "--output", output)
    assert (again.returncode, "exists already" in again.stderr) == (2, True)
    other = run_here(
        "plan", "--hours", 1, "--output", tmp_path / "b.yaml", "--optimizer", "adamw", "--json", "-o", "train.seed=3"
    )
    assert json.loads(other.stdout)["proposal"]["settings"]["optim"]["name"] == "adamw"
    assert load_config(tmp_path / "b.yaml").config.optim.name == "adamw"


def test_what_a_plan_does_not_take_over_is_named(
    tmp_path: Path, answering: Callable[..., list[dict[str, Any]]]
) -> None:
    answering()
    base, output = tmp_path / "base.yaml", tmp_path / "plan.yaml"
    text = tmp_path / "a.txt"
    text.write_text("a text " * 2000)
    base.write_text(
        f"data: {{backend: files, files: [{text}], tokenizer: {{kind: byte}}}}\n"
        "model: {backend: llama, model_dim: 64, norm_eps: 1.0e-3}\n"
        "train: {allow_cpu: true, steps: 77, seed: 5}\n"
        f"evaluation: {{sets: {{s: {{files: [{text}]}}}}, tasks: {{t: {{path: {text}}}}}}}\n"
        "optim: {warmup_steps: 5, muon: {momentum: 0.9, lr_scale: 3}, ema: {decay: 0.9}}\n"
    )
    done = run_here("plan", base, "--hours", "1", "--output", output)
    assert done.returncode == 0, done.stderr
    names = ["model.norm_eps", "train.seed", "evaluation.sets", "evaluation.tasks", "optim.muon.momentum", "optim.ema"]
    said = next(line for line in done.stdout.splitlines() if "not taken over" in line)
    found = said.split(": ")[-1].split(", ")
    assert sorted(found) == sorted(names)
    assert f"# Note           {said.removeprefix('note: ')}." in output.read_text()
    again = run_here("plan", base, "--hours", "1", "--output", tmp_path / "b.yaml", "--json")
    assert json.loads(again.stdout)["not_taken_over"] == found
    without = run_here("plan", "--hours", "1", "--output", tmp_path / "c.yaml")
    assert "not taken over" not in without.stdout


def test_weights_to_start_from_are_refused_with_their_tokenizer(
    tmp_path: Path, answering: Callable[..., list[dict[str, Any]]]
) -> None:
    tried = answering()
    folder = hub_folder(tmp_path / "hub")
    base, output = tmp_path / "base.yaml", tmp_path / "plan.yaml"
    base.write_text(f"model: {{init_from: {folder}}}\ndata: {{backend: stdlib}}\ntrain: {{allow_cpu: true}}\n")
    done = run_here("plan", base, "--hours", "1", "--output", output)
    assert (done.returncode, output.exists(), tried) == (2, False, [])
    assert done.stderr.startswith("error: model.init_from: a plan chooses the shape of a new model, and ")
    done = run_here("plan", base, "--hours", "1", "--output", output, "-o", "model.init_from=null")
    assert done.returncode == 0, done.stderr
    assert load_config(output).config.data.tokenizer.kind == "byte"


def test_a_plan_for_a_mixture_keeps_its_sources(tmp_path: Path, answering: Callable[..., list[dict[str, Any]]]) -> None:
    tried = answering()
    base, output = tmp_path / "base.yaml", tmp_path / "plan.yaml"
    text = json.dumps({"backend": "local_text", "local_text": "word " * 500})
    base.write_text(f"data: {{mixture: {{sources: {{one: {text}, other: {text}}}}}}}\ntrain: {{allow_cpu: true}}\n")
    done = run_here("plan", base, "--hours", "1", "--output", output)
    assert done.returncode == 0, done.stderr
    assert list(tried[0]["data"]["mixture"]["sources"]) == ["one", "other"]
    assert load_config(output).config.data == load_config(base).config.data
    # Of Python's standard library, which `data.backend` means where there is no mixture, nothing is said.
    assert "passes over the text" not in done.stdout
    assert 'backend: "stdlib"' not in output.read_text()
    evaluations = load_config(output).config.train
    assert evaluations.steps / (evaluations.eval_every or 1) >= plan.MOST_EVALUATIONS


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ([], "Missing option '--hours'"),
        (["--hours", "0"], "0.0 is not in the range"),
        (["--hours", "nan"], "nan is not a finite number"),
        (["--hours", "1", "--tokens", "0"], "0.0 is not in the range"),
        (["--hours", "1", "--model", "gpt"], "'gpt' is not one of 'llama', 'megalodon'"),
        (["missing.yaml", "--hours", "1"], "missing.yaml"),
        (["--hours", "1", "--output", "no/such/folder/plan.yaml"], "no/such/folder"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    answering: Callable[..., list[dict[str, Any]]], args: list[str], why: str, tmp_path: Path
) -> None:
    answering()
    done = run_here("plan", *args, cwd=tmp_path)
    assert (done.returncode, why in done.stderr) == (2, True), done.stderr
    assert not list(tmp_path.rglob("plan.yaml"))


@pytest.mark.parametrize("backend", ["llama", "megalodon"])
@pytest.mark.parametrize("dim", [128, 1024])
def test_the_parameters_are_those_of_the_model(backend: Backend, dim: int) -> None:
    config = ModelConfig.model_validate({**shape(backend, dim, 256), "vocab_size": VOCABULARY})
    found = build_model(config).parameter_breakdown()
    counted = found["total"] - found["embedding"]
    assert scaling_parameters(backend, dim, VOCABULARY) == pytest.approx(counted, rel=0.05)


def test_the_rules_are_those_of_their_sources() -> None:
    # Step Law at 1e9 parameters and 1e11 tokens.
    assert adamw_rate(1e9, 1e11, 2048) == pytest.approx(1.79 * 1e9**-0.713 * 1e11**0.307)
    # What it extrapolates to below its paper's sizes is limited by measured rates.
    assert [adamw_rate(1e5, 2e6, dim) for dim in (64, 128, 256)] == [2e-3, 1e-3, 1e-3]
    assert adamw_rate(7e7, 1e12, 512) == 4e-3
    rows = batch_rows(1e11, 2048)
    assert rows * 2048 <= 0.58 * 1e11**0.571 < 2 * rows * 2048
    assert 1e5 / (batch_rows(1e5, 16) * 16) >= LEAST_STEPS
    assert rest_rate(512) == pytest.approx(rest_rate(128) / 2)
    assert [muon_rate(tokens) for tokens in (512, 2048, 1 << 20)] == pytest.approx([0.015, 0.03, 0.03])
    assert [warmup_steps(steps) for steps in (1, 1000, 10**6)] == [1, 20, 1000]
