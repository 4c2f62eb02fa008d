"""A resume with the kept step is the uninterrupted run, whatever kernels the compiler would choose now."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from chomp.record.events import Compiled, Warned
from tests.engine import assert_same_run, dummy_config, events_of, exact_rows, tiny_config, write_config
from tests.engine import run as run_process
from tests.in_process import run
from tests.references import References

pytestmark = pytest.mark.process


def half_written(run_dir: Path) -> list[str]:
    return sorted(path.name for path in (run_dir / "program").iterdir() if path.name != "train_step")


def warned(run_dir: Path) -> list[str]:
    return [event.message for event in events_of(run_dir, Warned) if event.topic == "program"]


def test_other_kernels_change_the_numbers_and_a_kept_program_does_not(references: References, tmp_path: Path) -> None:
    """The compiler of the resuming process is another one, and the environment does not say so.

    Forks have XLA's older code generator, see `tests/compiling.py`: as on a GPU, where measurements choose the kernels.
    """
    model = {"backend": "llama", "num_heads": 4, "num_kv_heads": 2}
    config = tiny_config(references.corpus, model=model, train={"steps": 20, "keep_program": "always"})
    path, whole = write_config(tmp_path / "config.yaml", config), tmp_path / "whole"
    done = run_process("train", path, "--run-dir", whole, cold=True)
    assert done.returncode == 0, done.stderr
    kept, anew = (Path(shutil.copytree(whole, tmp_path / name)) for name in ("kept", "anew"))
    for run_dir, options in ((kept, ()), (anew, ("-o", "train.keep_program=never"))):
        done = run_process("train", "--run-dir", run_dir, "--resume", 10, *options)
        assert done.returncode == 0, done.stderr
    assert events_of(kept, Compiled)[-1].in_run == "loaded"
    assert_same_run(whole, kept, 20)
    assert events_of(anew, Compiled)[-1].in_run is None
    assert exact_rows(anew)[:10] == exact_rows(whole)[:10]
    assert exact_rows(anew) != exact_rows(whole), "the kernels are the same: this test proves nothing"


def test_a_kill_while_the_program_is_written(references: References, tmp_path: Path) -> None:
    config = dummy_config(references.corpus, train={"keep_program": "always"})
    path, run_dir = write_config(tmp_path / "config.yaml", config), tmp_path / "run"
    killed = run_process("train", path, "--run-dir", run_dir, module="tests.killed_keeping")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(half_written(run_dir)) == 1
    assert not (run_dir / "program" / "train_step").exists()
    done = run("train", "--run-dir", run_dir, "--resume", "latest")
    assert done.returncode == 0, done.stderr
    assert half_written(run_dir) == []
    assert events_of(run_dir, Compiled)[-1].in_run == "kept"
    before = (run_dir / "program" / "train_step").read_bytes()

    # Killed while it replaces the program, it leaves the one before.
    changed = ("--resume", 10, "-o", "optim.lr=1e-4", "--accept", "optim.lr")
    killed = run_process("train", "--run-dir", run_dir, *changed, module="tests.killed_keeping")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (run_dir / "program" / "train_step").read_bytes() == before
    done = run("train", path, "--run-dir", run_dir, "--resume", 10)
    assert done.returncode == 0, done.stderr
    assert events_of(run_dir, Compiled)[-1].in_run == "loaded"
    assert warned(run_dir) == []


def test_a_step_is_explained_exactly_by_the_kept_program_alone(references: References, tmp_path: Path) -> None:
    config = dummy_config(references.corpus, train={"steps": 10, "keep_program": "always"})
    run_dir = references.copy(tmp_path / "run", run, config)
    for reasons in ([], [f"this run has kept no compiled step ({run_dir / 'program' / 'train_step'} does not exist): "
                         "the step was compiled anew, its kernels may differ"]):  # fmt: skip
        done = run("explain", run_dir, 8, "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert (found["exact"], found["why_not_exact"]) == (not reasons, reasons)
        assert [line for line in done.stderr.splitlines() if "kernels" in line] == reasons
        (run_dir / "program" / "train_step").unlink(missing_ok=True)


@pytest.fixture
def full_folder(tmp_path: Path) -> Iterator[Path]:
    """The folder of a run's program, as a file system with room for one page."""
    folder = tmp_path / "run" / "program"
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(folder)], check=True, capture_output=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.root
def test_a_full_disk_is_a_warning(references: References, full_folder: Path, tmp_path: Path) -> None:
    config = dummy_config(references.corpus, train={"keep_program": "always"})
    path, run_dir = write_config(tmp_path / "config.yaml", config), full_folder.parent
    done = run("train", path, "--run-dir", run_dir)
    assert done.returncode == 0, done.stderr
    assert events_of(run_dir, Compiled)[-1].in_run is None
    (sentence,) = warned(run_dir)
    assert sentence == (
        f"the compiled step could not be kept in {full_folder} (No space left on device); training continues, and a "
        "resume compiles the step anew"
    )
    assert list(full_folder.iterdir()) == []
