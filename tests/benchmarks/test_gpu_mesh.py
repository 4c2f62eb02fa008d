"""`benchmarks/gpu.sh --mesh`: what it runs, what it compares, and that it works on virtual devices."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks.gpu_mesh import MODELS, Case, Runs, apart, arguments, line, plan

ROOT = Path(__file__).resolve().parents[2]


def test_each_model_runs_on_one_device_first_and_on_every_mesh() -> None:
    meshes = [(1, 1), (2, 1), (1, 2), (4, 1), (1, 4), (2, 2)]
    assert [(case.data, case.fsdp) for case in plan(["llama"], 5)] == meshes
    assert [case.model for case in plan(list(MODELS), 1)] == list(MODELS)


def test_the_command_names_mesh_and_devices(tmp_path: Path) -> None:
    command = Runs(tmp_path, 20, ["optim.lr=1"], rehearse=False).command(
        Case("llama", 2, 4), "name", "--resume", "latest"
    )
    assert command[command.index("--devices") + 1] == "0,1,2,3,4,5,6,7"
    assert {"parallel.data=2", "parallel.fsdp=4", "optim.lr=1", "checkpoint.save_every=10"} <= set(command)
    assert command[-2:] == ["--resume", "latest"]


def test_curves_over_other_tokens_are_not_compared() -> None:
    one = {"losses": [2.0, 1.0], "tokens": [5, 10]}
    assert apart({"losses": [2.0, 1.5], "tokens": [5, 10]}, one) == 0.5
    with pytest.raises(ValueError, match="not seen the same tokens"):
        apart({"losses": [2.0, 1.0], "tokens": [5, 9]}, one)


def test_a_line_says_what_was_measured_or_why_nothing_was() -> None:
    found = {
        "losses": [2.0], "tokens_per_sec": 2000.0, "mfu": 0.5, "peak_gb": 2.0, "in_use_gb": [1.0, 1.5], "apart": 1e-6,
    }  # fmt: skip
    words = " ".join(line(Case("llama", 2, 1), found, {"tokens_per_sec": 1000.0}).split())
    assert words == "llama-2x1 2 2,000 2.00 50.0% 2.0 GiB 1.0 GiB to 1.5 GiB 2.0000 1.0e-06"
    assert line(Case("llama", 2, 1), {"error": "no\nmemory"}, {}).endswith("failed: no memory")


def test_too_few_steps_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(["--steps", "10"])
    assert "more than 10 are needed" in capsys.readouterr().err


@pytest.mark.soak
def test_a_rehearsal(tmp_path: Path) -> None:
    command = [ROOT / "benchmarks" / "gpu.sh", "--mesh", "--rehearse", "--devices", "2", "--steps", "12"]
    done = subprocess.run(
        [*command, "--results", tmp_path / "found"], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("all 12 losses have the same digits") == 2
    found = [json.loads(row) for row in (tmp_path / "found" / "meshes.jsonl").read_text().splitlines()]
    assert max(each.get("apart", 0.0) for each in found) < 1e-5
