"""A failed allocation ends an attempt with one sentence: the request, the free memory, its holders, what would fit."""

from __future__ import annotations

import errno
import functools
import os
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import psutil
import pytest

from chomp.config.load import parse_config
from chomp.config.variants import as_written, vary
from chomp.device import Gpu, Probe, Process
from chomp.parallel.mesh import placement_of
from chomp.record.commands import Command, send_command
from chomp.record.event_log import read_events
from chomp.record.events import Acknowledged, RunEnded
from chomp.record.manifest import list_checkpoints
from chomp.train import footprint
from chomp.train import free_memory as memory
from chomp.train import trainer as training
from chomp.train.blueprint import build_blueprint
from chomp.train.compilation import CompiledStep
from chomp.train.out_of_memory import is_out_of_memory, out_of_memory, requested_bytes
from tests.engine import dummy_config, write_config, write_corpus
from tests.in_process import run

GIB = 2**30
ON_GPU = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 7516192768 bytes.\nBufferAssignment stats:\n 1GiB"


@pytest.mark.parametrize(
    ("error", "requested"),
    [
        (jax.errors.JaxRuntimeError(ON_GPU), 7 * GIB),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 6400000000 bytes."), 6_400_000_000),
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1.5GiB."),
            GIB * 3 // 2,
        ),
        (
            jax.errors.JaxRuntimeError(
                "RESOURCE_EXHAUSTED: Failed to allocate request for 176.00MiB (184549376B) on device ordinal 0"
            ),
            176 * 2**20,
        ),
        (jax.errors.JaxRuntimeError("INTERNAL: CUDA error: : CUDA_ERROR_OUT_OF_MEMORY: out of memory"), None),
        (jax.errors.JaxRuntimeError("INTERNAL: the library was not initialized: CUBLAS_STATUS_ALLOC_FAILED"), None),
        (MemoryError("Unable to allocate 11.9 GiB for an array with shape (40000, 40000)"), round(11.9 * GIB)),
        (MemoryError(), None),
        (ValueError("RESOURCE_EXHAUSTED: Out of memory allocating 4000000000 bytes."), 4_000_000_000),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), None),
    ],
)
def test_a_failed_allocation_is_recognised_with_its_size(error: Exception, requested: int | None) -> None:
    assert is_out_of_memory(error)
    assert requested_bytes(error) == requested


@pytest.mark.parametrize(
    "error",
    [
        jax.errors.JaxRuntimeError("INTERNAL: Couldn't find output tile sizes"),
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Shared memory size limit exceeded: requested 270336"),
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("out of memory"),
    ],
)
def test_other_errors_are_not_taken_for_one(error: Exception) -> None:
    assert not is_out_of_memory(error)


def on_gpu(
    monkeypatch: pytest.MonkeyPatch, stats: dict[str, int] | None, processes: tuple[Process, ...], total: int = 24 * GIB
) -> None:
    device = SimpleNamespace(platform="gpu", device_kind="NVIDIA GeForce RTX 4090", memory_stats=lambda: stats)
    monkeypatch.setattr(memory.jax, "local_devices", lambda: [device])
    gpu = Gpu(0, name=device.device_kind, memory_total_bytes=total, processes=processes)
    monkeypatch.setattr(memory, "probe_gpus", lambda: Probe((gpu,)))


def test_a_gpu_says_what_is_free_and_who_holds_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    stats = {"bytes_limit": 18 * GIB, "bytes_in_use": 10 * GIB, "largest_free_block_bytes": 3 * GIB}
    others = (Process(4242, 9 * GIB, "python\n3"), Process(77, 2**20, "tiny"), Process(os.getpid(), 11 * GIB, "chomp"))
    on_gpu(monkeypatch, stats, others)
    assert str(out_of_memory(jax.errors.JaxRuntimeError(ON_GPU), "in step 3")) == (
        "out of memory in step 3: 7.0 GiB were requested and 5.0 GiB of 18.0 GiB are free on NVIDIA GeForce RTX 4090, "
        "the largest block has 3.0 GiB (process 4242 python 3 holds 9.0 GiB)"
    )


@pytest.mark.parametrize("stats", [None, {}, {"bytes_in_use": 5}])
def test_a_device_without_readings_still_gives_a_sentence(
    monkeypatch: pytest.MonkeyPatch, stats: dict[str, int] | None
) -> None:
    on_gpu(monkeypatch, stats, (Process(9, None, None),))
    assert str(out_of_memory(jax.errors.JaxRuntimeError("INTERNAL: OUT_OF_MEMORY"))) == (
        "out of memory: on NVIDIA GeForce RTX 4090 does not report its free memory (process 9 ? holds memory)"
    )


def test_the_tightest_limit_of_the_host_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    monkeypatch.setattr(memory.resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert memory.host_memory().name == "on this machine"
    assert memory.host_memory().limit == psutil.virtual_memory().total
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("5\n")
    assert memory.host_memory().name == "on this machine"
    (tmp_path / "memory.max").write_text("4096\n")
    found = memory.host_memory()
    assert (found.name, found.free, found.limit) == ("under the memory limit of this container (cgroup)", 4091, 4096)
    monkeypatch.setattr(memory.resource, "getrlimit", lambda which: (psutil.Process().memory_info().vms, -1))
    found = memory.host_memory()
    assert found.name == "under this process's limit of addresses (ulimit -v)"
    assert found.free == 0


CHUNK = "model.loss_chunk_size"
LLAMA = """
model: {backend: llama, model_dim: 64, num_layers: 3, num_heads: 2, ffn_hidden_dim: 128, vocab_size: 8192,
        compute_dtype: float32}
train: {batch_size: 8, grad_accum: 2, seq_len: 512}
"""


def test_only_what_would_fit_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    blueprint = build_blueprint(parse_config(LLAMA, source="test").config, "gpu")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    # Figures depend on the way alone: each is computed once for all shares.
    predict_variant = functools.cache(footprint.predict_variant)
    monkeypatch.setattr("chomp.train.out_of_memory.predict_variant", predict_variant)
    now = as_written(blueprint.config)
    whole = predict_variant(now, "gpu").total
    for share, expected in (
        (0.85, [{"train.batch_size": 4, "train.grad_accum": 4}, {"model.remat": "attention"}, {CHUNK: 2048}]),
        (0.6, [{"train.batch_size": 4, "train.grad_accum": 4}, {CHUNK: 1024}]),
        (0.09, [{"train.batch_size": 2, "train.grad_accum": 8, "model.remat": "full", CHUNK: 512}]),
    ):
        on_gpu(monkeypatch, {"bytes_limit": round(share * whole), "bytes_in_use": 0}, ())
        error = out_of_memory(jax.errors.JaxRuntimeError(ON_GPU), "in step 1", blueprint)
        assert [dict(variant.settings) for variant in error.fits] == expected, share
        assert all(predict_variant(variant, "gpu").total <= share * whole for variant in error.fits)
        assert all(f"{variant.options} (" in str(error) for variant in error.fits)
    on_gpu(monkeypatch, {"bytes_limit": 1000, "bytes_in_use": 0}, ())
    error = out_of_memory(jax.errors.JaxRuntimeError(ON_GPU), "in step 1", blueprint)
    assert error.fits == ()
    assert str(error).endswith("fits: shorten train.seq_len or choose a smaller model")


@pytest.mark.parametrize(
    ("share", "shape", "ending"),
    [
        (0.4, (8, 1), "; parallel.fsdp of at least 4 fits by estimate (-o parallel.fsdp=4, "),
        (0.05, (8, 1), "; even parallel.fsdp=8 does not fit 8 devices by estimate"),
        (0.4, (1, 8), None),
    ],
)
def test_on_a_mesh_the_least_fsdp_that_fits_is_named(
    share: float, shape: tuple[int, int], ending: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nearly all of its memory is state.
    wide = {"vocab_size: 8192": "vocab_size: 512", "model_dim: 64": "model_dim: 512", "num_layers: 3": "num_layers: 12"}
    text = functools.reduce(lambda text, change: text.replace(*change), wide.items(), LLAMA.replace(": 512", ": 16"))
    config = parse_config(text, source="test").config
    blueprint = build_blueprint(config, "gpu", placement=placement_of(*shape))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    whole = footprint.predict_variant(as_written(config), "gpu", placement_of(8, 1)).total
    on_gpu(monkeypatch, {"bytes_limit": round(share * whole), "bytes_in_use": 0}, ())
    said = str(out_of_memory(jax.errors.JaxRuntimeError(ON_GPU), "in step 1", blueprint))
    assert (ending in said) if ending is not None else ("parallel" not in said)


def test_what_failed_is_not_offered_again_whatever_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    blueprint = build_blueprint(parse_config(LLAMA, source="test").config, "gpu")
    on_gpu(monkeypatch, {"bytes_limit": 1000 * GIB, "bytes_in_use": 0}, ())
    compiled = {"total": footprint.predict_variant(as_written(blueprint.config), "gpu").total // 2}
    for error in (out_of_memory(MemoryError(), "", blueprint), out_of_memory(MemoryError(), "", blueprint, compiled)):
        assert all(variant.batch_size * variant.grad_accum == 16 for variant in error.fits)
        assert vary(blueprint.config, 4, "none", None) in error.fits


Fail = Callable[[Any], None]


def failing_at(monkeypatch: pytest.MonkeyPatch, step: int, fail: Fail) -> None:
    """Compile as usual; the call for `step` runs out of memory after `fail` has seen the state."""
    real = training.compile_step

    def compile_step(*args: Any, **named: Any) -> CompiledStep:
        program = real(*args, **named)

        def call(state: Any, batch: Any) -> Any:
            if int(state.step) + 1 == step:
                fail(state)
                raise jax.errors.JaxRuntimeError(ON_GPU)
            return program.step(state, batch)

        return replace(program, step=call)

    monkeypatch.setattr(training, "compile_step", compile_step)


def lose(state: Any) -> None:
    for leaf in jax.tree.leaves(state):
        leaf.delete()


def ended(run_dir: Path) -> RunEnded:
    (event,) = (event for event in read_events(run_dir / "events.jsonl") if isinstance(event, RunEnded))
    return event


def test_a_step_that_fails_before_it_takes_the_state_is_saved_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = {"steps": 9, "batch_size": 4, "grad_accum": 2}
    config = dummy_config(write_corpus(tmp_path / "corpus"), train=train)
    path, run_dir = write_config(tmp_path / "c.yaml", config), tmp_path / "run"
    with monkeypatch.context() as patched:
        failing_at(patched, 4, lambda state: None)
        done = run("train", path, "--run-dir", run_dir)
    reason = ended(run_dir).reason
    assert done.returncode == ended(run_dir).exit_code == 4
    assert reason.startswith("out of memory in step 4: 7.0 GiB were requested and ")
    assert "-o train.batch_size=2 -o train.grad_accum=4 (" in reason
    command = f"chomp train --run-dir {run_dir} --resume latest -o train.batch_size=2 -o train.grad_accum=4"
    assert f"; the state of step 3 is saved, and `{command} --accept " in reason
    assert [info.step for info in list_checkpoints(run_dir / "checkpoints")] == [3]
    assert "Traceback" not in done.stderr
    assert "BufferAssignment" in (run_dir / "train.log").read_text()

    resumed = run(*reason.split("`")[1].split()[1:])
    assert resumed.returncode == 0, resumed.stderr
    assert list_checkpoints(run_dir / "checkpoints")[-1].step == 9


def test_a_step_that_takes_the_state_with_it_continues_from_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dummy_config(write_corpus(tmp_path / "corpus"), checkpoint={"save_every": 2, "max_to_keep": 9})
    path, run_dir = write_config(tmp_path / "c.yaml", config), tmp_path / "run"
    failing_at(monkeypatch, 6, lose)
    assert run("train", path, "--run-dir", run_dir).returncode == 4
    reason = ended(run_dir).reason
    assert "out of memory in step 6: " in reason
    assert "; the state of step 5 is lost with the memory of the failed step, and `" in reason
    assert reason.endswith("continues from step 4")


def test_memory_that_lacks_for_the_compilation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_step(*args: Any, **named: Any) -> CompiledStep:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 2.00GiB.")

    monkeypatch.setattr(training, "compile_step", compile_step)
    path = write_config(tmp_path / "c.yaml", dummy_config(write_corpus(tmp_path / "corpus")))
    done = run("train", path, "--run-dir", tmp_path / "run")
    assert done.returncode == 4
    assert "error: out of memory while the step was compiled: 2.0 GiB were requested and " in done.stderr
    assert "; nothing was saved" in done.stderr
    assert not (tmp_path / "run").exists(), "the same command may be given again"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("chomp.train.blueprint.init_state", "error: out of memory while the model was made: "),
        ("chomp.train.session.build_data", "error: out of memory before the first step: "),
    ],
)
def test_memory_that_lacks_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, said: str
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise MemoryError("Unable to allocate 3.0 GiB for an array")

    monkeypatch.setattr(place, fail)
    path = write_config(tmp_path / "c.yaml", dummy_config(write_corpus(tmp_path / "corpus")))
    done = run("train", path, "--run-dir", tmp_path / "run")
    assert done.returncode == 4
    assert f"{said}3.0 GiB were requested and " in done.stderr


@pytest.mark.parametrize(("phase", "setting"), [("eval", "train.batch_size"), ("sample", "train.generate_max_tokens")])
def test_memory_that_lacks_between_two_steps_ends_with_a_saved_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str, setting: str
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise jax.errors.JaxRuntimeError(ON_GPU)

    monkeypatch.setattr(
        {"eval": "chomp.train.hooks.evaluate.evaluate", "sample": "chomp.train.hooks.sample.write"}[phase], fail
    )
    every = {"eval": {"eval_every": 3}, "sample": {"generate_every": 3}}[phase]
    path = write_config(tmp_path / "c.yaml", dummy_config(write_corpus(tmp_path / "corpus"), train=every))
    assert run("train", path, "--run-dir", tmp_path / "run").returncode == 4
    reason = ended(tmp_path / "run").reason
    assert {"eval": "in the evaluation at step 3: ", "sample": "while sampling at step 3: "}[phase] in reason
    assert f"a smaller {setting}" in reason
    assert "; the state of step 3 is saved, and `" in reason


def test_a_command_that_lacks_memory_is_answered_and_training_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = training.compile_step

    def compile_step(*args: Any, **named: Any) -> CompiledStep:
        send_command(tmp_path / "run" / "commands.jsonl", Command("eval", id="mine"))
        return real(*args, **named)

    def fail(*args: Any, **options: Any) -> None:
        raise jax.errors.JaxRuntimeError(ON_GPU)

    monkeypatch.setattr(training, "compile_step", compile_step)
    monkeypatch.setattr("chomp.train.hooks.evaluate.evaluate", fail)
    path = write_config(tmp_path / "c.yaml", dummy_config(write_corpus(tmp_path / "corpus")))
    assert run("train", path, "--run-dir", tmp_path / "run").returncode == 0
    events = list(read_events(tmp_path / "run" / "events.jsonl"))
    (answer,) = (event for event in events if isinstance(event, Acknowledged))
    assert (answer.id, answer.ok) == ("mine", False)
    assert answer.message.startswith("eval failed: out of memory in the evaluation at step 0: 7.0 GiB were requested ")


def test_a_command_without_a_run_gives_the_sentence_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise jax.errors.JaxRuntimeError(ON_GPU)

    monkeypatch.setattr("chomp.analysis.inspection.compile_step", fail)
    path = write_config(tmp_path / "c.yaml", dummy_config(write_corpus(tmp_path / "corpus")))
    done = run("inspect", path, "--compile")
    assert done.returncode == 4
    assert done.stderr.startswith("error: out of memory: 7.0 GiB were requested and ")
    assert "Traceback" not in done.stderr
