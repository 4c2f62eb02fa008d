"""What `chomp replay` and `chomp explain` say of runs that were computed on a mesh, there and on one device."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.engine import run
from tests.parallel.group import Group
from tests.parallel.test_mixture_on_mesh import CONTINUED, FSDP, STEPS, trained
from tests.references import References

pytestmark = pytest.mark.process

FOUR, ALONE = "tests.parallel.four", "chomp"
# Computed again with another order of sums, most losses would differ in their last digit.
REFUSED = (
    "error: steps 1 to 10 cannot be computed again: 4 devices computed them (mesh data 1 x fsdp 4) and here is 1; "
    "another mesh orders sums otherwise, and the last digits differ\n"
)


@pytest.fixture
def runs(references: References) -> Path:
    return references.folder("mixture-on-meshes", trained)


def replayed(run_dir: Path, module: str, *options: str) -> dict[str, Any]:
    """The receipt of a run that is certified; what standard error says is its `notes`."""
    done = run("replay", run_dir, "--steps", STEPS, "--json", *options, module=module)
    assert done.returncode == 0, done.stdout + done.stderr
    notes = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    return {**json.loads(done.stdout), "notes": notes}


@pytest.mark.parametrize(("name", "devices"), [("one", 1), ("fsdp", 4)])
def test_a_run_is_certified_on_as_many_devices_as_computed_it(
    name: str, devices: int, runs: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(runs / name, tmp_path / name)
    found = replayed(copy, FOUR)
    assert (found["certified"], found["steps"], found["differs"], found["notes"]) == (True, STEPS, [], [])
    assert found["device"]["count"] == devices


def test_a_machine_with_fewer_devices_says_why_it_computes_nothing(runs: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(runs / "fsdp", tmp_path / "fsdp")
    done = run("replay", copy, "--steps", STEPS)
    assert (done.returncode, done.stdout, done.stderr.lstrip()) == (4, "", REFUSED)
    assert not (copy / "receipts.jsonl").exists()


def test_a_run_that_changed_its_mesh_is_computed_on_each(runs: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(runs / "fsdp-one", tmp_path / "run")
    assert replayed(copy, FOUR)["steps"] == STEPS
    found = replayed(copy, ALONE)
    assert (found["steps"], [one["begin"] for one in found["stretches"]]) == (STEPS - CONTINUED, [10, 20])
    assert found["notes"] == [REFUSED.strip().replace("error: ", "note: ")]
    # Nothing is left of where the mesh changed.
    shutil.rmtree(copy / "checkpoints" / "10")
    found = replayed(copy, FOUR)
    assert [one["begin"] for one in found["stretches"]] == [20]
    assert found["notes"] == [
        "note: steps 1 to 20 cannot be computed again: the run was resumed at step 10 with another mesh, and that "
        "checkpoint is gone"
    ]


def test_one_device_explains_a_step_of_a_mesh(runs: Path) -> None:
    found = {}
    for module in (FOUR, ALONE):
        done = run("explain", runs / "fsdp", 23, "--json", module=module)
        assert done.returncode == 0, done.stderr
        found[module] = json.loads(done.stdout), done.stderr
    (there, _), (here, said) = found[FOUR], found[ALONE]
    reason = "mesh data 1 x fsdp 4 is now data 1 x fsdp 1: losses may differ from those of the run in their last digits"
    assert (here["exact"], here["why_not_exact"]) == (False, [reason])
    assert reason in said.splitlines()
    assert (there["exact"], there["why_not_exact"]) == (True, [])
    assert "is now" not in found[FOUR][1]
    assert here["loss"] == pytest.approx(there["loss"], rel=1e-5)
    documents = [[(one["place"], one["number"], one["start"]) for one in each["top"]] for each in (there, here)]
    assert documents[0] == documents[1]
    folders = {(one["source"], Path(one["place"].rpartition(": ")[2]).parent.name) for one in here["top"]}
    assert folders == {("big", "big"), ("small", "small")}


@pytest.mark.soak
def test_what_several_processes_computed_is_never_called_different(runs: Path, tmp_path: Path) -> None:
    """Two sums of two are not the sum of four; of two processes with a device each, both orders are one."""
    with Group(tmp_path / "four", runs / "config.yaml", "--devices", "0,1", *FSDP, module=FOUR) as group:
        assert group.finish() == [0, 0], group.texts()
    done = run("replay", group.run_dir, "--steps", STEPS, module=FOUR)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "can be neither certified nor refuted here: 2 processes computed them" in done.stderr
    assert "different" not in done.stdout
    assert not (group.run_dir / "receipts.jsonl").exists()
    with Group(tmp_path / "two", runs / "config.yaml") as group:
        assert group.finish() == [0, 0], group.texts()
    assert replayed(group.run_dir, FOUR)["differs"] == ["number of processes was 2 and is now 1"]
