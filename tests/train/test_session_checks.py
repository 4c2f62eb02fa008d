"""What is refused or said before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from chomp.config.load import parse_config
from chomp.data.tokenizers import build_tokenizer, load_tokenizer
from chomp.device import problems, unset_memory_variables
from chomp.errors import DeviceError
from chomp.record.codec import decode
from chomp.record.events import RunStarted, Warned
from chomp.record.rundir import RunDir
from chomp.train import machine, session
from chomp.train.session import _open_tokenizer, require_device
from tests.device.fake_nvml import probe_of
from tests.engine import dummy_config, events_of, rows, write_config
from tests.in_process import run

CONFIG = Path(__file__).parents[2] / "configs" / "debug_smoke.yaml"


def test_no_gpu_and_no_leave_to_use_the_cpu() -> None:
    config = parse_config("train: {allow_cpu: false}", source="test").config
    with pytest.raises(DeviceError) as caught:
        require_device(config)
    assert str(caught.value) == (
        "no GPU was found and train.allow_cpu is false; set train.allow_cpu: true to train on the CPU, "
        "or run `chomp probe` to see what is missing"
    )
    assert caught.value.exit_code == 4


def test_packages_that_keep_jax_from_the_gpu_are_named() -> None:
    config = parse_config("train: {allow_cpu: false}", source="test").config
    with pytest.raises(DeviceError) as caught:
        require_device(config, ["the driver is too old", "another reason"])
    assert str(caught.value) == "JAX does not use the GPU: the driver is too old"


def test_cuda_packages_are_recorded_and_what_does_not_fit_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = {"jax-cuda13-plugin": "0.10.2", "nvidia-cuda-nvrtc": "13.2.51"}
    monkeypatch.setattr(machine, "cuda_packages", lambda: packages)
    monkeypatch.setattr(session, "cuda_packages", lambda: packages)
    monkeypatch.setattr(session, "probe_gpus", lambda: probe_of("rtx5090"))
    # The engine computes on the CPU of this machine; only its judgement is to see a GPU.
    monkeypatch.setattr(session, "problems", lambda probe, environ, found: problems(probe, {}, found, jaxlib="0.10.2"))
    monkeypatch.setattr(session, "unset_memory_variables", lambda probe, environ: unset_memory_variables(probe, {}))
    done = run("train", CONFIG, "--run-dir", tmp_path / "run", "-o", "train.steps=3")
    assert done.returncode == 0, done.stderr
    events = [decode(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    [started] = [event for event in events if isinstance(event, RunStarted)]
    assert started.versions.items() >= packages.items()
    warned = [event.message for event in events if isinstance(event, Warned) and event.topic == "device"]
    assert [message.split(":")[0] for message in warned] == [
        "nvidia-cuda-nvrtc 13.2.51",
        "XLA_PYTHON_CLIENT_PREALLOCATE is not set, and false is recommended",
    ]


def test_a_snapshot_torn_before_the_first_checkpoint_is_not_read(tmp_path: Path) -> None:
    config = parse_config("train: {allow_cpu: true}", source="test").config
    folder = RunDir(tmp_path)
    folder.tokenizer.mkdir()
    folder.config_resolved.write_text('{"data": {"tokenizer": {}}}')
    assert _open_tokenizer(config, folder, resuming=True).vocab_size == 259


def test_a_snapshot_replaces_what_stood_there_whole(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(parse_config("{train: {}}", source="test").config.data.tokenizer)
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "half-written").write_text("{")
    tokenizer.save(folder)
    assert load_tokenizer(folder).digest() == tokenizer.digest()
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer"]
    assert [path.name for path in folder.iterdir()] == ["chomp_tokenizer.json"]


def test_shares_that_cannot_be_met_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    little, python = "data.mixture.sources.little", "data.mixture.sources.python"
    words = "A text of so few words that it lasts for a moment of the run alone."
    mixture = (f"{little}.backend=local_text", f"{little}.local_text={words}", f"{python}.backend=stdlib")
    options = ("data.backend=stdlib", "data.local_text=null", "data.mixture.exhausted=stop", *mixture)
    given = [word for option in options for word in ("-o", option)]
    done = run("train", CONFIG, "--run-dir", tmp_path / "run", *given)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: the source little of data.mixture has ")
    assert "the shares cannot be met to the last step" in done.stderr
    assert not (tmp_path / "run").exists()


def test_text_of_all_sources_that_ends_before_the_run_is_told_before_and_at_its_end(tmp_path: Path) -> None:
    text = {"backend": "local_text", "local_text": "Words of a short text. " * 60}
    values = dummy_config(tmp_path)
    values["data"] = {"mixture": {"sources": {"a": text, "b": text}, "exhausted": "renormalise"}, "max_eval_samples": 2}
    config = write_config(tmp_path / "c.yaml", values | {"train": values["train"] | {"steps": 200}})
    before = "warning: the text of all sources of data.mixture ends after about "
    looked_at = run("inspect", config)
    assert before in looked_at.stdout
    done = run("train", config, "--run-dir", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    said = [event.message for event in events_of(tmp_path / "run", Warned)]
    assert [one for one in said if one.startswith("the text of all sources")] == [
        line.removeprefix("warning: ") for line in looked_at.stdout.splitlines() if line.startswith(before)
    ]
    (told,) = [one for one in said if one.startswith("the text of all sources")]
    step = int(told.split("about step ")[1].split()[0])
    assert abs(rows(tmp_path / "run")[-1]["step"] - step) <= 1
    assert "take the rest" not in looked_at.stdout
