"""`benchmarks/gpu.sh` keeps its budget, goes on after a failure, and says what went wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.gpu_pack import ALONE, requirements
from benchmarks.gpu_plan import CONFIG, NANO, PLAN, Variant, chosen
from benchmarks.gpu_step import Budget, Child, arguments, line, measure, run_plan, unpacked
from chomp.config import load_config
from chomp.config.presets import MODEL_PRESETS

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu.sh"
MEASURED = {
    "step_seconds": [9.0, 9.0, 0.3, 0.1, 0.2], "tokens": 1000, "flops_per_token": 1e6, "peak_flops": 1e11,
    "peak_bytes": 2**30, "memory": {"total": 2**29}, "compile_seconds": 12.5, "seconds": 20.0,
}  # fmt: skip


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_variant_gets_half_of_what_is_left_or_twice_what_the_slowest_took() -> None:
    clock = Clock()
    budget = Budget(400, clock)
    assert budget.limit() == 200
    budget.took(60)
    budget.took(70)
    assert budget.limit() == 200
    clock.now += 200
    assert budget.limit() == 140
    clock.now += 100
    assert budget.limit() == 100
    clock.now += 41
    assert budget.limit() is None


def test_nothing_is_started_in_the_last_seconds() -> None:
    assert Budget(19, Clock()).limit() is None
    assert Budget(21, Clock()).limit() == 21


def test_the_plan_goes_on_after_a_failure_and_ends_with_the_budget(capsys: pytest.CaptureFixture[str]) -> None:
    clock, saved, limits = Clock(), [], []
    answers = iter([{**MEASURED}, {"error": "RESOURCE_EXHAUSTED:\nOut of memory", "seconds": 5.0}, {**MEASURED}])

    def run(asked: dict[str, Any], flags: str, limit: float) -> dict[str, Any]:
        limits.append(limit)
        clock.now += 40
        assert asked["overrides"][-1] == "train.allow_cpu=true"
        return next(answers)

    variants = [Variant(name, ()) for name in ("one", "two", "three", "four")]
    failed = run_plan(variants, ("train.allow_cpu=true",), run, Budget(125, clock), saved.append)
    assert failed == 1
    assert limits == [62.5, 42.5, 40]
    assert [record["variant"] for record in saved] == ["one", "two", "three", "four"]
    one, two, three, four = capsys.readouterr().out.splitlines()
    assert one.split() == [
        "one",
        "200.0",
        "100.0",
        "300.0",
        "5,000",
        "5.0%",
        "1.0",
        "GiB",
        "512",
        "MiB",
        "12.5",
        "20.0",
    ]
    assert two.split(maxsplit=1)[1] == "failed after 5 s: RESOURCE_EXHAUSTED: Out of memory"
    assert three.split()[1:] == one.split()[1:]
    assert four.split(maxsplit=1)[1] == "not started: 5 s of the budget left"
    assert json.loads(json.dumps(saved))[3]["skipped"]


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"digests": ["a", "b"]}, "all 2 arrays have the same bits after a resume in a new process (14 s)"),
        ({"digests": ["a", "c"]}, "1 of 2 arrays differ after a resume in a new process (14 s)"),
        ({"error": "exit code 1: no memory"}, "failed after 14 s: resumed: exit code 1: no memory"),
    ],
)
def test_a_resume_compares_two_processes(second: dict[str, Any], said: str) -> None:
    limits: list[float] = []
    answers = iter([{"digests": ["a", "b"], "seconds": 8.0}, {**second, "seconds": 6.0}])

    def run(asked: dict[str, Any], flags: str, limit: float) -> dict[str, Any]:
        assert Path(asked["saved"]).parent.is_dir()
        assert flags == "--strict"
        limits.append(limit)
        return next(answers)

    variant = Variant("resume", (), "--strict", kind="resume")
    assert line(variant, measure(variant, (), run, 50.0)).split(maxsplit=1)[1] == said
    assert limits == [50.0, 42.0]


@pytest.fixture
def child(tmp_path: Path) -> Callable[[str], Child]:
    """Makes a child that runs some Python text, found as a package of the wheels is."""

    def make(text: str) -> Child:
        (tmp_path / "stand_in.py").write_text(text)
        return Child(tmp_path, "cpu", "stand_in")

    return make


def test_what_a_child_says_is_one_record(child: Callable[[str], Child]) -> None:
    text = """import json, os, sys
asked = json.loads(sys.argv[1])
print("a library's own words"); print('{"cut')
print(json.dumps({"compile_seconds": 3.5, "flags": os.environ["XLA_FLAGS"], "kind": asked["kind"]}))
for seconds in (0.5, 0.25): print(json.dumps({"step_seconds": seconds, "loss": 2.0}))
"""
    found = child(text)({"kind": "speed"}, "--one=2", 60)
    assert found.pop("seconds") >= 0
    assert found == {
        "step_seconds": [0.5, 0.25], "losses": [2.0, 2.0], "compile_seconds": 3.5, "kind": "speed",
        "flags": f"{os.environ.get('XLA_FLAGS', '')} --one=2".strip(),
    }  # fmt: skip


def test_a_child_that_hangs_is_ended_with_its_own_children(child: Callable[[str], Child], tmp_path: Path) -> None:
    text = f"""import subprocess, sys, time
print('{{"compile_seconds": 1.0}}', flush=True)
print('{{"step_seconds": 1.0, "loss": 2.0}}', flush=True)
inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(tmp_path / "pid")!r}, "w").write(str(inner.pid))
time.sleep(600)
"""
    found = child(text)({}, "", 4)
    assert found["error"] == "no end within 4 s (1 steps)"
    for _ in range(1000):
        if not is_running(int((tmp_path / "pid").read_text())):
            return
        time.sleep(0.01)
    pytest.fail("the child's child still runs")


def is_running(pid: int) -> bool:
    """Whether the process exists and is not one that only waits for the system to collect it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import os; os.kill(os.getpid(), 11)", "ended by signal 11: no message"),
        ("raise SystemExit('F1 Unknown flag in XLA_FLAGS: --one')", "exit code 1: F1 Unknown flag in XLA_FLAGS: --one"),
        ("import absent_module", "exit code 1: ModuleNotFoundError: No module named 'absent_module'"),
        ('print(\'{"error": "ValueError: why"}\'); raise SystemExit(1)', "ValueError: why"),
    ],
)
def test_a_child_that_fails_says_why(child: Callable[[str], Child], text: str, said: str) -> None:
    found = child(text)({}, "", 60)
    assert found["error"] == said
    assert "stderr" in found


def wheel(folder: Path, name: str) -> None:
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("package_of_wheel/__init__.py", "")


def test_wheels_are_unpacked(tmp_path: Path) -> None:
    unpacked(None, tmp_path)
    here = f"cp{sys.version_info.major}{sys.version_info.minor}"
    for tags in ("py3-none-any", "cp310-abi3-manylinux_2_17_x86_64", f"{here}-{here}-manylinux_2_17_x86_64"):
        wheel(tmp_path, f"package-1.0-{tags}.whl")
    unpacked(tmp_path, tmp_path / "to")
    assert (tmp_path / "to" / "package_of_wheel" / "__init__.py").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "has no wheels; `benchmarks/gpu.sh --pack DIR` collects them"),
        ("package-1.0-cp39-cp39-linux_x86_64.whl", "package-1.0-cp39-cp39-linux_x86_64.whl is not for Python"),
        ("damaged-1.0-py3-none-any.whl", "damaged-1.0-py3-none-any.whl is damaged: File is not a zip file"),
    ],
)
def test_wheels_that_cannot_be_used_are_named(tmp_path: Path, name: str, said: str) -> None:
    if name.startswith("damaged"):
        (tmp_path / name).write_text("no zip")
    elif name:
        wheel(tmp_path, name)
    with pytest.raises(ValueError, match=re.escape(said)):
        unpacked(tmp_path, tmp_path / "to")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--budget", "0"], "invalid seconds value: '0'"),
        (["--budget", "nan"], "invalid seconds value: 'nan'"),
        (["--only", "4x4"], "no variant has 4x4 in its name: 2x8 parallel; "),
    ],
)
def test_wrong_arguments_are_refused(given: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments(given)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_variants_are_chosen_by_words_of_their_names() -> None:
    assert chosen([]) == list(PLAN)
    assert [variant.name for variant in chosen(["remat full", "resume"])] == [
        "resume", "resume, strict flags", "8x2 auto, remat full",
    ]  # fmt: skip
    assert len({variant.name for variant in PLAN}) == len(PLAN)


def test_the_llama_of_the_plan_is_the_preset() -> None:
    model = load_config(ROOT / CONFIG, NANO).config.model
    shape = MODEL_PRESETS["nano-125m"]
    assert {name: getattr(model, name) for name in shape} == shape
    assert len([variant for variant in PLAN if set(NANO) <= set(variant.overrides)]) == 2


def script(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_machine_without_jax_is_told_so() -> None:
    ended = script(PYTHON="/bin/false")
    assert ended.returncode == 4
    assert ended.stderr == (
        "error: none of /bin/false is Python 3.11 or newer with JAX with CUDA; name one with PYTHON=/path/to/python\n"
    )


def test_the_parent_needs_only_the_standard_library() -> None:
    code = "import benchmarks.gpu_step"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-P", "-S", "-c", code], env=environment, check=True)


def importing_with(folder: Path, *packages: str) -> subprocess.CompletedProcess[str]:
    """Import what a variant imports, with only these packages of the environment."""
    folder.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if re.split(r"[.-]", entry.name)[0] in packages:
            (folder / entry.name).symlink_to(entry)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(folder)))}
    command = [sys.executable, "-S", "-P", "-c", "import benchmarks.gpu_variant"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_variant_needs_only_what_is_packed_and_jax(tmp_path: Path) -> None:
    jax_itself = ("jax", "jaxlib", "ml_dtypes", "numpy", "opt_einsum", "scipy")
    checks = ("annotated_types", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection", "yaml")
    alone = [{"absl-py": "absl"}.get(name, name.replace("-", "_")) for name in ALONE]
    ended = importing_with(tmp_path / "all", *jax_itself, *checks, *alone)
    assert ended.returncode == 0, ended.stderr
    without = importing_with(tmp_path / "fewer", *jax_itself, *checks, *alone[:-1])
    assert f"No module named '{alone[-1]}" in without.stderr


def test_packed_versions_are_those_that_the_project_allows() -> None:
    assert requirements(("pydantic", "absl-py")) == ["pydantic>=2.12,<3", "absl-py"]


@pytest.mark.process
def test_a_rehearsal_measures_on_the_cpu(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    few = ("-o", "model.backend=dummy", "-o", "optim.name=adamw", "--only", "strict flags")
    ended = script("--rehearse", *few, "--budget", "500", "--results", str(results), PYTHON=sys.executable)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    machine, resume, speed = (json.loads(line) for line in results.read_text().splitlines())
    assert machine["device"] == "cpu"
    assert resume["different"] == 0
    assert resume["arrays"] > 15
    # The resumed process does the last steps only, and their losses are those of the first process.
    assert resume["resumed"]["losses"] == resume["losses"][3:]
    assert len(speed["step_seconds"]) == 22
    assert speed["losses"][-1] < speed["losses"][0]
    assert [row[:28].rstrip() for row in ended.stdout.splitlines()[2:]] == [resume["variant"], speed["variant"]]
