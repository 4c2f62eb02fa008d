"""`chomp replay` certifies an honest run, and names what is different in one that is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chomp.analysis.receipt import flags_of, what_differs
from chomp.analysis.replay import Stretch, choose, differing_elements
from chomp.checkpoint.retention import Retention
from chomp.checkpoint.store import CheckpointStore
from chomp.parallel.mesh import ONE_DEVICE
from chomp.record.events import RunStarted, Warned
from chomp.record.manifest import CheckpointInfo, find_checkpoint
from chomp.record.rundir import RunDir
from tests.engine import WORDS, dummy_config, events_of, optimized, saved_arrays, saved_position
from tests.engine import run as run_apart
from tests.in_process import run
from tests.references import References


@pytest.fixture
def honest(references: References) -> dict[str, Any]:
    """The configuration of a run with checkpoints of steps 5, 10, 15 and 20, the first computed from the start."""
    return dummy_config(references.corpus, checkpoint={"max_to_keep": 9})


def receipt(run_dir: Path, *options: object) -> tuple[int, dict[str, Any], str]:
    """Exit code, receipt and standard error of a replay."""
    done = run("replay", run_dir, "--json", *options)
    last = json.loads((run_dir / "receipts.jsonl").read_text().splitlines()[-1])
    assert json.loads(done.stdout) == {name: value for name, value in last.items() if name not in ("v", "t")}
    return done.returncode, last, done.stderr


def replace_checkpoint(run_dir: Path, step: int, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    """Save a checkpoint anew, sealed, with other arrays."""
    arrays, position = saved_arrays(run_dir, step), saved_position(run_dir, step)
    info = find_checkpoint(RunDir(run_dir), step)
    change(arrays)
    items: dict[str, dict[str, Any]] = {}
    for path, array in arrays.items():
        item, _, name = path.partition("/")
        items.setdefault(item, {})[name] = array
    shutil.rmtree(info.path)
    store = CheckpointStore(run_dir / "checkpoints", retention=Retention(9), on_event=lambda event: None)
    store.save(step, items, position, info.meta, wait=True)


@pytest.mark.compile
def test_an_honest_run_is_certified_and_one_flipped_bit_is_named(
    honest: dict[str, Any], references: References, tmp_path: Path
) -> None:
    copy = references.copy(tmp_path / "run", run, honest)
    code, found, _ = receipt(copy, "--steps", 20)
    assert (code, found["certified"], found["steps"], found["of_steps"], found["differs"]) == (0, True, 20, 20, [])
    assert [(one["begin"], one["end"], one["rows"]) for one in found["stretches"]] == [
        (0, 5, 5), (5, 10, 5), (10, 15, 5), (15, 20, 5),
    ]  # fmt: skip
    assert found["stretches"][0]["manifests"][0] is None
    names = saved_arrays(copy, 15)
    assert found["stretches"][2]["arrays"] == len(names)

    victim = next(name for name in names if name.startswith("params/") and names[name].ndim == 2)

    def flip(arrays: dict[str, np.ndarray]) -> None:
        changed = np.array(arrays[victim])
        changed.view(np.uint32)[1, 2] ^= 1
        arrays[victim] = changed

    replace_checkpoint(copy, 15, flip)
    # The stretch that begins at the changed checkpoint is different, and tells to look before it.
    seed = next(seed for seed in range(99) if choose_of(copy, seed) == [15])
    code, found, errors = receipt(copy, "--seed", seed)
    assert (code, found["certified"]) == (8, False)
    assert [one["begin"] for one in found["stretches"]] == [10, 15]
    assert found["stretches"][0]["row"] is None
    assert f"checkpoint of step 15: {victim}[1, 2] is " in errors
    assert f"(1 of {names[victim].size:,} numbers differ); the 5 metrics rows before it agree" in errors
    assert "versions, device and flags are those of the run" in errors
    assert not found["stretches"][1]["certified"]


def write_few(folder: Path) -> None:
    for number in range(5):
        (folder / f"{number}.txt").write_text(" ".join(WORDS[number:][: 8 + number]) + "\n")


@pytest.mark.compile
@pytest.mark.parametrize("packing", ["sequential", "bin"])
def test_a_mixture_is_certified_and_explained_by_source(packing: str, references: References, tmp_path: Path) -> None:
    """Across a stage and the end of a source, with unfinished documents in every packer."""
    few = references.folder("few", write_few)
    config = dummy_config(references.corpus, checkpoint={"max_to_keep": 9})
    config["data"] = {
        "packing_mode": packing,
        "packing_buffer_docs": 5,
        "mixture": {
            "sources": {
                "many": {"backend": "files", "files": [str(references.corpus / "*.txt")], "weight": 0.6},
                "few": {"backend": "files", "files": [str(few / "*.txt")], "weight": 0.4, "max_epochs": 1},
            },
            "stages": {"late": {"from_tokens": 200, "weights": {"many": 0.3, "few": 0.7}}},
            "exhausted": "renormalise",
        },
    }
    copy = references.copy(tmp_path / "run", run, config)
    (ended,) = [event for event in events_of(copy, Warned) if "few of data.mixture is exhausted" in event.message]
    assert ended.step is not None
    assert ended.step < 20
    code, found, _ = receipt(copy, "--steps", 20)
    assert (code, found["certified"], found["steps"], found["differs"]) == (0, True, 20, [])
    done = run("explain", copy, 2, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["exact"], told["checkpoint"]) == (True, 0)
    assert {one["source"] for one in told["top"]} == {"many", "few"}
    folders = {"many": references.corpus, "few": few}
    for one in told["top"]:
        path = Path(one["place"].removeprefix(f"{one['source']}: "))
        assert path.parent == folders[one["source"]]
        assert one["beginning"].rstrip("\n") in path.read_text()


def choose_of(run_dir: Path, seed: int) -> list[int]:
    infos: list[Any] = [None, *(find_checkpoint(RunDir(run_dir), step) for step in (5, 10, 15, 20))]
    stretches = [Stretch(first, last) for first, last in pairwise(infos)]
    return [stretch.begin for stretch in choose(stretches, 1, seed)]


@pytest.mark.process
def test_another_flag_of_the_compiler_is_named(honest: dict[str, Any], references: References, tmp_path: Path) -> None:
    copy = references.copy(tmp_path / "run", run_apart, honest)
    done = run_apart("replay", copy, env={**optimized(), "XLA_FLAGS": "--xla_cpu_enable_fast_math=true"})
    assert done.returncode == 8, done.stdout + done.stderr
    assert "computed again" in done.stderr
    assert "--xla_cpu_enable_fast_math was not set and is now true" in done.stderr


@pytest.mark.compile
@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        ("rows", 8, "metrics row of step 12: loss is 1.5 in the run and "),
        ("checkpoint", 5, "is damaged"),
        ("text", 3, "the text is not the text that"),
        ("one", 5, "has no checkpoint yet"),
    ],
)
def test_what_keeps_a_run_from_its_certificate_is_one_sentence(
    damage: str, code: int, words: str, honest: dict[str, Any], references: References, tmp_path: Path
) -> None:
    copy = references.copy(tmp_path / "run", run, honest)
    options: list[object] = ["--steps", 20]
    if damage == "rows":
        rows = (copy / "metrics.jsonl").read_text().splitlines()
        rows[11] = json.dumps({**json.loads(rows[11]), "loss": 1.5})
        (copy / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    elif damage == "checkpoint":
        next((copy / "checkpoints" / "10" / "data").glob("*.json")).write_text("{}")
    elif damage == "text":
        for meta in copy.glob("checkpoints/*/meta.json"):
            meta.write_text(meta.read_text().replace('"documents": 200', '"documents": 201'))
            reseal(meta.parent)
    else:
        shutil.rmtree(copy / "checkpoints")
    done = run("replay", copy, *options)
    assert done.returncode == code, done.stdout + done.stderr
    assert words in done.stderr


def flip_bit(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1 << 6
    path.write_bytes(content)


@pytest.mark.compile
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("manifest.json", "manifest.json is missing or damaged"),
        ("meta.json", "meta.json has changed: its SHA-256 does not match"),
        ("params", "has changed: its SHA-256 does not match"),
    ],
)
def test_nothing_is_certified_past_a_damaged_checkpoint_and_the_rest_is(
    name: str, reason: str, honest: dict[str, Any], references: References, tmp_path: Path
) -> None:
    copy = references.copy(tmp_path / "run", run, honest)
    folder = copy / "checkpoints" / "10"
    inside = sorted((folder / name).rglob("d/*")) if (folder / name).is_dir() else [folder / name]
    assert inside[0].is_file()
    flip_bit(inside[0], 1 if name == "manifest.json" else 20)
    done = run("replay", copy, "--steps", 20)
    assert done.returncode == 5, done.stdout + done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["steps 1 to 5", "steps 16 to 20"]
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert f"checkpoint {folder} is damaged: " in sentence
    assert reason in sentence
    assert "certified: 10 of 20 steps computed again bit for bit" in sentence
    last = json.loads((copy / "receipts.jsonl").read_text())
    assert (last["certified"], last["steps"]) == (False, 10)
    assert [(one["begin"], one["end"], one["certified"]) for one in last["stretches"]] == [(0, 5, True), (15, 20, True)]
    ((step, said),) = [tuple(one.values()) for one in last["damaged"]]
    assert step == 10
    assert reason in said
    shutil.rmtree(copy / "checkpoints" / "5")
    shutil.rmtree(copy / "checkpoints" / "15")
    shutil.rmtree(copy / "checkpoints" / "20")
    done = run("replay", copy)
    assert done.returncode == 5, done.stdout + done.stderr
    assert reason in done.stderr


@pytest.mark.compile
def test_missing_rows_are_named_and_leave_no_plain_certificate(
    honest: dict[str, Any], references: References, tmp_path: Path
) -> None:
    honest = {**honest, "train": {**honest["train"], "log_every": 2}}
    copy = references.copy(tmp_path / "run", run, honest)
    lines = (copy / "metrics.jsonl").read_text().splitlines(keepends=True)
    code, found, _ = receipt(copy, "--steps", 20)
    assert (code, found["certified"], found["damaged"]) == (0, True, [])
    lost = [line for line in lines if json.loads(line)["step"] in (1, 12)]
    (copy / "metrics.jsonl").write_text("".join(line for line in lines if line not in lost))
    code, found, errors = receipt(copy, "--steps", 20)
    assert (code, found["certified"]) == (5, False)
    assert [one["missing_rows"] for one in found["stretches"]] == [[1], [], [12], []]
    assert f"{copy / 'metrics.jsonl'}: 2 metrics rows are missing: of steps 1, 12; certified but for the" in errors
    (copy / "metrics.jsonl").unlink()
    done = run("replay", copy, "--steps", 20)
    assert done.returncode == 5
    assert "11 metrics rows are missing: of steps 1, 2, 4, 6, 8, 10, and 5 more" in done.stderr
    assert "steps 1 to 5: the same, 0 metrics rows" in done.stdout
    assert "certified: 20" not in done.stdout


def reseal(folder: Path) -> None:
    from chomp.record.manifest import seal

    seal(folder, json.loads((folder / "meta.json").read_text()))


@pytest.mark.pure
def test_stretches_are_drawn_by_the_seed() -> None:
    infos = [CheckpointInfo(step, Path(str(step)), 0, {}) for step in (10, 20, 40, 45)]
    stretches = [Stretch(first, last) for first, last in zip([None, *infos], infos, strict=False)]
    assert [one.steps for one in stretches] == [10, 10, 20, 5]
    assert choose(stretches, 1000, 3) == stretches
    drawn = {tuple(one.begin for one in choose(stretches, 12, seed)) for seed in range(50)}
    assert choose(stretches, 12, 3) == choose(stretches, 12, 3)
    assert len(drawn) > 4
    assert all(sum(one.steps for one in choose(stretches, 12, seed)) >= 12 for seed in range(50))
    assert {len(choose(stretches, 1, seed)) for seed in range(9)} == {1}


@pytest.mark.pure
def test_numbers_are_compared_by_their_bits() -> None:
    now = np.asarray([[1.0, np.nan], [0.0, 3.0]], np.float32)
    assert differing_elements("params/w", now.copy(), now) is None
    saved = now.copy()
    saved[1, 0] = -0.0
    found = differing_elements("params/w", saved, now)
    assert found is not None
    assert (found.index, str(found.recorded), found.recomputed, found.elements) == ((1, 0), "-0.0", 0.0, 1)
    scalar = differing_elements("state/step", np.int32(3), np.asarray(4, np.int32))
    assert scalar is not None
    assert (scalar.index, scalar.recorded, scalar.recomputed) == ((), 3, 4)


@pytest.mark.pure
def test_what_differs_is_named_with_both_values(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"XLA_FLAGS": "--xla_a=1 --xla_dump_to=/x", "XLA_CLIENT_MEM_FRACTION": ".5", "JAX_ENABLE_X64": "1"}
    assert flags_of(environment) == {"--xla_a": "1", "JAX_ENABLE_X64": "1"}
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=2")
    monkeypatch.delenv("JAX_ENABLE_X64", raising=False)
    started = RunStarted(1, "h", 1, None, environment=environment)
    meta = {"versions": {"jax": "0.1"}, "device": {"name": "NVIDIA H100", "count": 1}}
    found = what_differs(meta, started, ONE_DEVICE)
    assert any(one.startswith("jax was 0.1 and is now ") for one in found)
    assert "device was NVIDIA H100 and is now cpu" in found
    assert "--xla_a was 1 and is now 2" in found
    assert "JAX_ENABLE_X64 was 1 and is now not set" in found
