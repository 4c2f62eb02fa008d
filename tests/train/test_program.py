"""The compiled step in the run directory: found at a resume, and compiled anew with a word where it is of no use."""

from __future__ import annotations

import json
import pickle
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest

from chomp.device.probe import Probe
from chomp.record.commands import Command, send_command
from chomp.record.events import Compiled, RunStarted, Warned
from chomp.record.manifest import list_checkpoints
from chomp.train import program
from chomp.train.program import MESH, STEP, Obtained, compile_in_each, describe_changes, keeps_program, load_secret
from tests.engine import assert_same_run, dummy_config, events_of, exact_rows, tiny_config, write_config
from tests.in_process import run
from tests.references import References

KEPT = Path("program") / "train_step"
NOT_EXACT = ", and this run's numbers after step 10 may not be bit for bit those of an uninterrupted run"
AFTER = ": the engine compiled the step anew, its kernels may differ" + NOT_EXACT


@pytest.fixture
def config(references: References) -> dict[str, Any]:
    return dummy_config(references.corpus, train={"keep_program": "always"})


@pytest.fixture
def copy(references: References, config: dict[str, Any], tmp_path: Path) -> Path:
    """A run of 20 steps that keeps its program."""
    return references.copy(tmp_path / "run", run, config)


def resume(run_dir: Path, *options: object, step: int = 10) -> tuple[Compiled, list[str]]:
    """Resume in this process: the new `compiled` event, and the warnings about programs."""
    before = len(events_of(run_dir, Warned))
    done = run("train", "--run-dir", run_dir, "--resume", step, *options)
    assert done.returncode == 0, done.stderr
    told = [event.message for event in events_of(run_dir, Warned)[before:] if event.topic == "program"]
    return events_of(run_dir, Compiled)[-1], told


def test_a_resume_runs_the_kept_program_bit_for_bit(references: References, config: dict[str, Any], copy: Path) -> None:
    (first,) = events_of(copy, Compiled)
    assert (first.in_run, first.cache_hit) == ("kept", False)
    written = (copy / KEPT).stat()
    again, told = resume(copy)
    assert (again.in_run, again.cache_hit, told) == ("loaded", False, [])
    assert again.source == "from the run"
    assert again.memory == first.memory
    assert (copy / KEPT).stat().st_mtime_ns == written.st_mtime_ns, "written once"
    assert_same_run(references.run(run, config), copy, 20)


def test_a_program_from_the_cache_of_jax_is_not_kept(references: References, tmp_path: Path) -> None:
    """What XLA serializes of such a program loads, and fails when it is called."""
    model = {"backend": "llama", "num_heads": 4, "num_kv_heads": 2}
    path = write_config(tmp_path / "config.yaml", tiny_config(references.corpus, model=model, train={"steps": 10}))
    for name, keep in (("cached", "never"), ("kept", "always")):
        done = run("train", path, "--run-dir", tmp_path / name, "-o", f"train.keep_program={keep}")
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / "cached" / KEPT.parent).exists()
    (compiled,) = events_of(tmp_path / "kept", Compiled)
    assert not compiled.cache_hit
    assert resume(tmp_path / "kept", "-o", "train.steps=12")[0].in_run == "loaded"


def absent(path: Path) -> None:
    path.unlink()


def flipped(path: Path) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[-100] ^= 1
    path.write_bytes(damaged)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def another_format(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"format":1', b'"format":2', 1))


def nested(path: Path) -> None:
    path.write_bytes(b"[" * 50_000)


FIRST_LINE = "{path} is damaged: its first line is not that of a kept program"
BYTES = "{path} is damaged: its bytes are not those that were written"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (absent, "this run has kept no compiled step ({path} does not exist)"),
        (flipped, BYTES),
        (cut, BYTES),
        (empty, FIRST_LINE),
        (another_format, FIRST_LINE),
        (nested, FIRST_LINE),
    ],
)
def test_a_program_of_no_use_is_replaced_with_a_word(copy: Path, damage: Callable[[Path], None], reason: str) -> None:
    path = copy / KEPT
    damage(path)
    compiled, told = resume(copy)
    assert compiled.in_run == "kept"
    assert told == [reason.format(path=path) + AFTER]
    compiled, told = resume(copy, step=15)
    assert (compiled.in_run, told) == ("loaded", []), "the new program computed this checkpoint"
    compiled, told = resume(copy)
    assert compiled.in_run == "loaded"
    assert told == [f"the checkpoint of step 10 was computed by another program than {path}" + NOT_EXACT]


def test_other_software_is_named(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts_of = program.facts_of
    monkeypatch.setattr(program, "facts_of", lambda *given: facts_of(*given) | {"the driver": "570.12"})
    assert resume(copy)[1] == ["the driver is 570.12 and was absent" + AFTER]
    monkeypatch.setattr(program, "facts_of", lambda *given: facts_of(*given) | {"the driver": "580.65"})
    compiled, told = resume(copy)
    assert compiled.in_run == "kept"
    assert told == ["the driver is 580.65 and was 570.12" + AFTER]


def test_flags_are_named(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_autotune_level=0 --xla_dump_max_hlo_modules=7")
    assert resume(copy)[1] == ["--xla_gpu_autotune_level is 0 and was absent" + AFTER]


def test_another_step_is_another_program(copy: Path) -> None:
    compiled, told = resume(copy, "-o", "optim.lr=1e-4", "--accept", "optim.lr")
    assert compiled.in_run == "kept"
    assert told == ["the training step is another one, by its settings or by the code of chomp" + AFTER]


def test_a_stop_while_the_first_program_is_compiled_has_nothing_to_warn_of(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint of step 0 was computed by no program."""

    path, run_dir = write_config(tmp_path / "config.yaml", config), tmp_path / "run"

    def stopped(*args: object, **named: object) -> None:
        send_command(run_dir / "commands.jsonl", Command("stop"))
        threading.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr("chomp.train.trainer.compile_step", stopped)
        run("train", path, "--run-dir", run_dir)
    assert [info.step for info in list_checkpoints(run_dir / "checkpoints")] == [0]
    compiled, told = resume(run_dir, step=0)
    assert (compiled.in_run, told) == ("kept", [])


def test_a_resume_from_nothing_has_nothing_to_warn_of(copy: Path) -> None:
    shutil.rmtree(copy / "checkpoints")
    (copy / KEPT).unlink()
    before = len(events_of(copy, Warned))
    done = run("train", "--run-dir", copy, "--resume", "latest")
    assert done.returncode == 0, done.stderr
    assert [event.topic for event in events_of(copy, Warned)[before:]] == ["resume"], "it begins again at step 0"
    assert (copy / KEPT).exists()


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_foreign_program_is_not_even_unpickled(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the seal can be forged."""
    path, mark = copy / KEPT, tmp_path / "exploded"
    line, _ = path.read_bytes().split(b"\n", 1)
    payload = pickle.dumps(Bomb(mark))
    header = program.Header.model_validate_json(line)
    forged = program.Header(facts=header.facts, sha256=program.hashlib.sha256(payload).hexdigest(), seal=header.seal)
    path.write_bytes(forged.model_dump_json().encode() + b"\n" + payload)
    compiled, told = resume(copy)
    assert compiled.in_run == "kept"
    assert not mark.exists()
    (sentence,) = told
    assert sentence == (
        f"{path} was sealed by another user or on another machine, and to load it is to run its author's code (if you "
        "trust it, pass --accept train.keep_program)" + AFTER
    )
    assert resume(copy)[0].in_run == "loaded", "the engine's own took its place"


def test_the_program_of_another_machine_runs_when_it_is_accepted(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = (copy / KEPT).read_bytes()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    for options in ((), ("--accept", "train")):
        compiled, told = resume(copy, *options)
        assert compiled.in_run == "kept"
        assert "another machine" in told[0]
        (copy / KEPT).write_bytes(kept)
    compiled, told = resume(copy, "--accept", "train.keep_program")
    assert (compiled.in_run, told) == ("loaded", [])
    assert events_of(copy, RunStarted)[-1].accepted == ["train.keep_program"]
    assert resume(copy)[0].in_run == "loaded", "it has this machine's seal now"


def test_a_sealed_program_that_does_not_load(copy: Path) -> None:
    """Of a jaxlib with the same version that was built otherwise, say."""
    path = copy / KEPT
    header = program.Header.model_validate_json(path.read_bytes().split(b"\n", 1)[0])
    payload = pickle.dumps("no program")[:-1]
    own = program.Header(facts=header.facts, sha256=program.hashlib.sha256(payload).hexdigest())
    path.write_bytes(own.sealed_with(load_secret()).model_dump_json().encode() + b"\n" + payload)
    compiled, told = resume(copy)
    assert compiled.in_run == "kept"
    assert told[0].startswith(f"{path} cannot be loaded (")


def test_what_cannot_be_kept_is_a_warning(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(copy / "program")
    (copy / "program").write_text("in the way")
    compiled, told = resume(copy)
    assert compiled.in_run is None
    reason = f"File exists: {copy / 'program'}"
    assert told[-1] == (
        f"the compiled step could not be kept in {copy / 'program'} ({reason}); training continues, and a resume "
        "compiles the step anew"
    )
    (copy / "program").unlink()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "state" / "chomp").mkdir(parents=True)
    (tmp_path / "state" / "chomp" / "program-secret").write_bytes(b"short")
    compiled, told = resume(copy)
    assert compiled.in_run is None
    assert "program-secret has 5 bytes and needs 32; delete it" in told[-1]


def test_a_fork_takes_the_program_along(copy: Path, tmp_path: Path) -> None:
    fork, changed = tmp_path / "fork", tmp_path / "changed"
    for new in (fork, changed):
        assert run("fork", copy, new, "--step", 10).returncode == 0
    kept = (copy / KEPT).read_bytes()
    assert resume(fork)[0].in_run == "loaded"
    assert exact_rows(fork) == exact_rows(copy)
    compiled, told = resume(changed, "-o", "optim.lr=1e-4", "--accept", "optim.lr")
    assert (compiled.in_run, len(told)) == ("kept", 1)
    assert (changed / KEPT).read_bytes() != kept
    assert (copy / KEPT).read_bytes() == kept, "a link, and never written in place"


@pytest.mark.parametrize(
    "options", [["-o", "train.keep_program=auto"], ["-o", "checkpoint.enabled=false"], ["--dry-run"]]
)
def test_nothing_is_kept_that_no_resume_needs(config: dict[str, Any], tmp_path: Path, options: list[str]) -> None:
    """On a CPU, the only device here, `auto` keeps none."""
    config["train"]["steps"] = 3
    path = write_config(tmp_path / "config.yaml", config)
    done = run("train", path, "--run-dir", tmp_path / "run", *options)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "run" / "program").exists()


@pytest.mark.pure
def test_auto_is_for_gpus() -> None:
    asked = [keeps_program(setting, platform) for setting in ("auto", "always", "never") for platform in ("gpu", "cpu")]  # type: ignore[arg-type]
    assert asked == [True, False, True, True, False, False]


@pytest.mark.pure
def test_changes_are_named_in_few_words() -> None:
    was = {"the driver": "570.12", "jaxlib": "0.10.2", "nvidia-nccl-cu13": "2.28", "a": "1", "b": "1"}
    now = {"the driver": "580.65", "jaxlib": "0.10.3", "a": "2", "b": "x" * 100}
    assert describe_changes(now, now) == ""
    assert describe_changes(was, now) == (
        "the driver is 580.65 and was 570.12, jaxlib is 0.10.3 and was 0.10.2, a is 2 and was 1, and 2 more differences"
    )
    assert describe_changes({"b": "y"}, {"b": "x" * 100}) == f"b is {'x' * 59}… and was y"


def test_another_mesh_is_named_and_not_the_step_that_it_makes() -> None:
    one, two, four = {STEP: "a"}, {MESH: "2 x 1 devices", STEP: "b"}, {MESH: "1 x 4 devices", STEP: "c"}
    assert describe_changes(one, four) == "the mesh is 1 x 4 devices and was one device"
    assert describe_changes(four, one) == "the mesh is one device and was 1 x 4 devices"
    assert describe_changes(two, four) == "the mesh is 1 x 4 devices and was 2 x 1 devices"


def test_several_processes_keep_no_program_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "compile_only", lambda lowered: Obtained(lowered, notes=("before",)))
    lowered: Any = None
    assert compile_in_each(0)(lowered).notes == ("before",)
    assert (
        compile_in_each(10)(lowered)
        .notes[1]
        .startswith("a run of several processes keeps no compiled step: each compiled it anew")
    )


@pytest.mark.pure
def test_the_driver_and_the_packages_of_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "cuda_packages", lambda: {"nvidia-cublas": "13.1"})
    monkeypatch.setattr(program, "probe_gpus", lambda: Probe(driver="580.65"))
    assert program._cuda_facts() == {"the driver": "580.65", "nvidia-cublas": "13.1"}
    # A container without NVML.
    monkeypatch.setattr(program, "probe_gpus", lambda: Probe(reason="no NVIDIA driver is installed"))
    assert program._cuda_facts()["the driver"] == "unknown"


@pytest.mark.pure
def test_the_secret_is_made_once_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    secret = load_secret()
    path = tmp_path / "chomp" / "program-secret"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert load_secret() == secret == path.read_bytes()
    assert len(secret) == 32
    assert [one.name for one in path.parent.iterdir()] == [path.name]


@pytest.mark.pure
def test_the_first_line_is_for_readers_too(tmp_path: Path) -> None:
    header = program.Header(facts={"jax": "0.10.2"}, sha256="0").sealed_with(b"secret")
    assert json.loads(header.model_dump_json()) == {
        "format": 1,
        "facts": {"jax": "0.10.2"},
        "sha256": "0",
        "seal": header.seal,
    }
    assert header.seal != header.sealed_with(b"other").seal
    assert program.Header(facts={"jax": "0.10.3"}, sha256="0").sealed_with(b"secret").seal != header.seal


class WithoutTiles(jax.stages.Lowered):
    """A lowered program that XLA cannot compile unless it leaves out a kind of kernel."""

    def __init__(self, message: str) -> None:
        self.message = message

    def compile(self, compiler_options: dict[str, bool] | None = None) -> jax.stages.Compiled:  # type: ignore[override]
        if compiler_options != {"xla_gpu_enable_triton_gemm": False}:
            raise jax.errors.JaxRuntimeError(self.message)
        return jax.jit(lambda: 1.0).lower().compile()


def test_a_step_that_triton_cannot_compile_is_compiled_without_it() -> None:
    found = program.compile_only(WithoutTiles("INTERNAL: Couldn't find output tile sizes for fusion.7"))
    assert found.program() == 1.0
    assert found.in_run is None
    assert found.notes == (
        "XLA cannot compile the training step with its Triton kernels for this GPU: "
        "it is compiled with --xla_gpu_enable_triton_gemm=false",
    )
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        program.compile_only(WithoutTiles("RESOURCE_EXHAUSTED: Out of memory"))
