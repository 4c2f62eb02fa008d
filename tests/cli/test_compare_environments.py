"""`chomp probe --compare` runs the same step in two environments, in turns, and keeps the result."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from chomp.analysis import environments
from chomp.device.comparison import Side, comparison_file, load_comparison
from tests.device.fake_nvml import probe_of
from tests.in_process import run

CONFIG = Path(__file__).parent.parent.parent / "configs" / "debug_smoke.yaml"
SPEEDS = {"slow": 1000.0, "fast": 1500.0}


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Environments of the children, which answer by the variable `SPEED`."""
    found: list[dict[str, str]] = []

    def ask(request: Mapping[str, Any], deadline: float, environ: Mapping[str, str]) -> dict[str, Any]:
        found.append(dict(environ))
        device = {"device": {"name": "FakeGPU"}}
        speed = environ.get("SPEED", "slow")
        if speed == "refused":
            return {"refused": "the tokenizer cannot be read", "exit_code": 2}
        if speed not in SPEEDS:
            return {**device, "failed": "out of memory"}
        # The second turn of each environment is slowed down by another program.
        slowed = SPEEDS[speed] / (1 + sum(each.get("SPEED", "slow") == speed for each in found[:-1]))
        measured = {"tokens_per_second": slowed, "peak_bytes": 2**30}
        return {**device, "compiled": {"memory": {}}, "measured": measured}

    monkeypatch.setattr(environments, "ask", ask)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return found


def test_the_environments_take_turns_and_the_result_is_kept(asked: list[dict[str, str]]) -> None:
    done = run("probe", "--compare", CONFIG, "--set", "SPEED=fast")
    assert done.returncode == 0, done.stderr
    assert [environ.get("SPEED") for environ in asked] == [None, "fast", "fast", None]
    assert {name for name in asked[0] if asked[0][name] != os.environ.get(name)} <= {
        "EQX_ON_ERROR",
        "TF_CPP_MIN_LOG_LEVEL",
        "TOKENIZERS_PARALLELISM",
        "HF_HUB_VERBOSITY",
    }
    assert done.stdout.splitlines() == [
        "with: SPEED=fast",
        "without  1,000 tokens/s (1.0 GiB)",
        "with     1,500 tokens/s (1.0 GiB)",
        "with     750 tokens/s (1.0 GiB)",
        "without  500 tokens/s (1.0 GiB)",
        "FakeGPU: without 1,000 tokens/s (1.0 GiB), with 1,500 tokens/s (1.0 GiB): +50.0%",
    ]
    kept = load_comparison(comparison_file())
    assert kept is not None
    assert (kept.variables, kept.after) == ({"SPEED": "fast"}, Side(1500.0, 2**30))


def test_json(asked: list[dict[str, str]]) -> None:
    values = json.loads(run("probe", "--compare", CONFIG, "--set", "SPEED=fast", "--json").stdout)
    assert values["gain"] == pytest.approx(0.5)
    assert values["variables"] == {"SPEED": "fast"}


def test_the_recommended_variables_are_the_default(
    asked: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chomp.cli.compare_environments.probe_gpus", lambda: probe_of("rtx5090"))
    monkeypatch.setattr("chomp.cli.compare_environments.require_xla_flags", lambda environ: None)
    done = run("probe", "--compare", CONFIG)
    assert done.returncode == 0, done.stderr
    assert "xla_gpu_enable_triton_gemm" not in asked[0].get("XLA_FLAGS", "")
    assert "--xla_gpu_enable_triton_gemm=false" in asked[1]["XLA_FLAGS"]


def test_one_environment_may_fail(asked: list[dict[str, str]]) -> None:
    done = run("probe", "--compare", CONFIG, "--set", "SPEED=none")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "FakeGPU: without 1,000 tokens/s (1.0 GiB), with out of memory"


def test_a_result_that_cannot_be_kept_is_printed(asked: list[dict[str, str]], tmp_path: Path) -> None:
    (tmp_path / "chomp").write_text("a file")
    done = run("probe", "--compare", CONFIG, "--set", "SPEED=fast")
    assert done.returncode == 0
    assert "+50.0%" in done.stdout
    assert "warning: the result was not kept: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--compare", CONFIG, "--set", "SPEED=refused"), 2, "the tokenizer cannot be read"),
        (("--compare", CONFIG, "--set", "=1"), 2, "--set =1: write NAME=VALUE, e.g. --set XLA_CLIENT_MEM_FRACTION=0.9"),
        (("--compare", CONFIG), 2, "there is nothing to compare: the GPUs of this machine need no variables"),
        (("--compare", "no.yaml"), 2, "no.yaml: the configuration file does not exist"),
        (("--set", "A=b"), 2, "--set and -o need --compare CONFIG."),
        (
            ("--compare", CONFIG, "--set", "XLA_FLAGS=--xla_no_such_flag"),
            4,
            "does not know the flag --xla_no_such_flag",
        ),
    ],
)
def test_what_cannot_be_compared(
    asked: list[dict[str, str]], arguments: tuple[object, ...], code: int, said: str
) -> None:
    done = run("probe", *arguments)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_both_may_fail(asked: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEED", "none")
    done = run("probe", "--compare", CONFIG, "--set", "OTHER=1")
    assert done.returncode == 4
    assert done.stderr == "error: nothing was measured: without out of memory, with out of memory\n"
