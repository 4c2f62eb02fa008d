"""`train.strict_determinism`: flags before JAX starts, in the events of the run, and a word where they are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from chomp.device.determinism import STRICT_FLAGS
from chomp.record.events import RunStarted, Warned
from tests.engine import dummy_config, events_of, write_config
from tests.in_process import run
from tests.references import References


def told(run_dir: Path, topic: str) -> list[str]:
    return [event.message for event in events_of(run_dir, Warned) if event.topic == topic]


def test_the_flags_of_a_run(references: References, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_autotune_level=3")
    config = dummy_config(references.corpus, train={"strict_determinism": True})
    path, run_dir = write_config(tmp_path / "config.yaml", config), tmp_path / "run"
    assert run("train", path, "--run-dir", run_dir).returncode == 0
    (started,) = events_of(run_dir, RunStarted)
    assert started.environment["XLA_FLAGS"].split() == [
        "--xla_gpu_autotune_level=3",
        "--xla_gpu_exclude_nondeterministic_ops=true",
        "--xla_gpu_enable_triton_gemm=false",
    ]
    assert told(run_dir, "determinism") == [
        "train.strict_determinism needs --xla_gpu_autotune_level=0, and XLA_FLAGS or a file that it names has another "
        "value: the engine keeps the user's flags, and numbers on a GPU may differ from run to run"
    ]
    monkeypatch.delenv("XLA_FLAGS")
    assert run("train", "--run-dir", run_dir, "--resume", 10).returncode == 0
    assert events_of(run_dir, RunStarted)[-1].environment["XLA_FLAGS"].split() == [
        f"{name}={value}" for name, value in STRICT_FLAGS.items()
    ]
    assert len(told(run_dir, "determinism")) == 1
    assert not any("strict_determinism" in message for message in told(run_dir, "resume"))
    assert run("train", "--run-dir", run_dir, "--resume", 15, "-o", "train.strict_determinism=false").returncode == 0
    assert "XLA_FLAGS" not in events_of(run_dir, RunStarted)[-1].environment
    (sentence,) = (message for message in told(run_dir, "resume") if "strict_determinism" in message)
    assert sentence == (
        "the run was trained with train.strict_determinism, and this attempt is not: on a GPU its numbers may differ "
        "from run to run"
    )
