"""The checkpoint store in one process: what is written is read back, and what fails is told."""

from __future__ import annotations

import os
import resource
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from chomp.checkpoint.reading import in_parts, load, load_to_host, with_sharding
from chomp.checkpoint.reasons import reason_in_words
from chomp.checkpoint.retention import Retention
from chomp.checkpoint.room import size_of
from chomp.checkpoint.store import CheckpointStore
from chomp.errors import CheckpointError
from chomp.record.events import Checkpoint
from chomp.record.held_folder import HeldFolder
from chomp.record.manifest import list_checkpoints, seal, set_tags, verify


class Saving:
    """A store and what it reported."""

    def __init__(self, folder: Path, **retention: Any):
        self.told: list[Checkpoint] = []
        self.store = CheckpointStore(
            folder, retention=Retention(**{"max_to_keep": 2, **retention}), on_event=self.told.append
        )
        self.store.prepare()

    def save(self, step: int, *, wait: bool = True, **meta: Any) -> None:
        self.store.save(step, items(step), {"documents": step}, {"step": step, **meta}, wait=wait)

    def states(self) -> list[tuple[str, int]]:
        return [(event.state, event.step) for event in self.told]

    def steps(self) -> list[int]:
        return [info.step for info in self.store.infos()]


def items(step: int) -> dict[str, dict[str, Any]]:
    values = jax.numpy.arange(1000, dtype=jax.numpy.float32) + step
    return {"params": {"layer.0.w": values}, "opt": {"0.count": jax.numpy.asarray(step)}, "state": {"rng": values[:2]}}


def abstract() -> dict[str, Any]:
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), items(0))
    return with_sharding(shapes, jax.sharding.SingleDeviceSharding(jax.devices()[0]))


@pytest.fixture
def saving(tmp_path: Path) -> Saving:
    return Saving(tmp_path / "checkpoints")


@pytest.mark.parametrize("wait", [True, False])
def test_what_is_saved_is_read_back(wait: bool, saving: Saving) -> None:
    saving.save(5, wait=wait, note="x")
    saving.store.wait()
    assert saving.states() == [("saving", 5), ("committed", 5)]
    committed = saving.told[-1]
    assert committed.bytes is not None
    assert committed.bytes > 4000
    (info,) = saving.store.infos()
    assert verify(info.path) == []
    assert (info.step, info.meta["note"], info.bytes) == (5, "x", committed.bytes)
    loaded, position = load(info, abstract())
    assert position == {"documents": 5}
    for name, tree in items(5).items():
        for leaf, value in tree.items():
            assert np.asarray(loaded[name][leaf]).tobytes() == np.asarray(value).tobytes()
    only, _ = load(info, {"params": abstract()["params"]})
    assert set(only) == {"params"}


def test_one_item_is_read_to_the_host(saving: Saving) -> None:
    dtypes = (jax.numpy.float32, jax.numpy.bfloat16)
    tree = {f"w{n}": jax.numpy.arange(n + 1, dtype=dtypes[n % 2]) for n in range(20)}
    saving.store.save(3, {"params": tree, "opt": items(3)["opt"]}, {}, {"step": 3}, wait=True)
    (info,) = saving.store.infos()
    shapes = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in tree.items()}
    assert len(in_parts({name: leaf.nbytes for name, leaf in tree.items()})) > 1
    loaded = load_to_host(info, "params", shapes)
    assert set(loaded) == set(tree)
    for name, leaf in tree.items():
        assert type(loaded[name]) is np.ndarray
        assert loaded[name].dtype == leaf.dtype
        assert loaded[name].tobytes() == np.asarray(leaf).tobytes()
    next((info.path / "params" / "d").iterdir()).unlink()
    with pytest.raises(CheckpointError, match=r"checkpoint 3 .* cannot be read"):
        load_to_host(info, "params", shapes)


def test_an_item_is_read_in_parts() -> None:
    sizes = {"large": 300, "a": 50, "b": 50, "c": 40, "nothing": 0}
    assert in_parts(sizes) == [{"large"}, {"a"}, {"b"}, {"c", "nothing"}]
    assert in_parts({f"w{n}": 10 for n in range(16)}) == [{f"w{n}", f"w{n + 1}"} for n in range(0, 16, 2)]
    assert in_parts({"only": 0}) == [{"only"}]
    assert in_parts({}) == []


def test_a_step_is_saved_once(saving: Saving) -> None:
    saving.save(5)
    saving.save(5)
    assert saving.states() == [("saving", 5), ("committed", 5)]
    assert saving.store.has(5)
    assert not saving.store.has(6)


def test_a_second_save_waits_for_the_first(saving: Saving) -> None:
    for step in range(1, 5):
        saving.save(step, wait=False)
    saving.store.wait()
    assert not saving.store.is_busy()
    assert saving.steps() == [3, 4]
    assert [state for state, _ in saving.states()].count("committed") == 4


def test_a_folder_given_as_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saving = Saving(Path("runs/x/checkpoints"))
    saving.save(1)
    (info,) = list_checkpoints(Path("runs/x/checkpoints"))
    assert load(info, abstract())[1] == {"documents": 1}


def test_a_failed_save_is_told_once_and_leaves_nothing(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path, meta: dict[str, Any]) -> int:
        raise OSError(28, "No space left on device")

    saving.save(1)
    monkeypatch.setattr("chomp.checkpoint.store.seal", fail)
    saving.save(2)
    failure = saving.store.take_failure()
    assert failure is not None
    assert (failure.step, failure.reason) == (2, "No space left on device")
    assert saving.store.take_failure() is None
    assert saving.told[-1] == Checkpoint(state="failed", step=2, reason="No space left on device")
    assert [path.name for path in saving.store.folder.iterdir()] == ["1"]
    monkeypatch.undo()
    saving.save(3)
    assert saving.steps() == [1, 3]


def test_a_save_that_has_no_room_is_not_begun(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is judged by the newest checkpoint: before the first there is nothing to judge by."""
    free, real = 0, shutil.disk_usage("/")

    def usage(path: Path) -> object:
        assert path == saving.store.folder
        return real._replace(free=free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    saving.save(1)
    (first,) = saving.store.infos()
    needed = int(first.bytes * 1.1)
    free = needed - 1
    saving.save(2)
    reason = f"{saving.store.folder} has {free:,} bytes free, and a checkpoint needs {needed:,}"
    assert saving.told[2:] == [Checkpoint(state="failed", step=2, reason=reason)], "it was not begun"
    failure = saving.store.take_failure()
    assert failure is not None
    assert (failure.step, failure.reason) == (2, reason)
    assert [path.name for path in saving.store.folder.iterdir()] == ["1"]
    free = needed
    saving.save(3)
    assert saving.steps() == [1, 3]


def test_a_failure_in_the_background_does_not_raise(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    monkeypatch.setattr("chomp.checkpoint.store.seal", lambda folder, meta: 1 // 0)
    saving.save(1, wait=False)
    saving.store.wait()
    assert saving.states()[-1] == ("failed", 1)
    assert not seen


def test_preparing_clears_what_was_never_finished_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    for name in ("7", "8.orbax-checkpoint-tmp", "9.orbax-checkpoint-tmp-123", "set-aside", "mine", "8.backup"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_text("x")
    (folder / "12").write_text("a file")
    Saving(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["12", "8.backup", "mine", "set-aside"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        CheckpointError, match=f"cannot write checkpoints to {tmp_path / 'file' / 'x'}: Not a directory"
    ):
        Saving(tmp_path / "file" / "x")


def test_setting_aside_keeps_every_byte_however_often(saving: Saving) -> None:
    for _ in range(2):
        saving.save(1)
        saving.save(2)
        assert saving.store.set_aside(1, "before-attempt-2") == [2]
    assert saving.store.set_aside(1, "before-attempt-2") == []
    aside = saving.store.folder / "set-aside"
    assert sorted(path.name for path in aside.iterdir()) == ["before-attempt-2", "before-attempt-2-2"]
    for path in aside.iterdir():
        assert [(info.step, verify(info.path)) for info in list_checkpoints(path)] == [(2, [])]
    assert saving.steps() == [1]


def test_damaged_bytes_are_refused_by_name(saving: Saving) -> None:
    saving.save(1)
    (info,) = saving.store.infos()
    position = info.path / "data" / "position.json"
    position.write_text("{}")
    with pytest.raises(CheckpointError) as caught:
        load(info, abstract())
    assert str(caught.value) == (f"checkpoint 1 ({info.path}) is damaged: data/position.json has 2 bytes instead of 16")


def test_verified_bytes_that_do_not_fit_are_one_sentence(saving: Saving) -> None:
    saving.save(1)
    (info,) = saving.store.infos()
    wrong = {"params": {"another.w": abstract()["params"]["layer.0.w"]}}
    with pytest.raises(CheckpointError, match=r"^checkpoint 1 \(.*\) cannot be read: "):
        load(info, wrong)


def test_tiers(tmp_path: Path) -> None:
    """Two newest, every tenth, the best by evaluation, and what a person tagged."""
    saving = Saving(tmp_path / "checkpoints", max_to_keep=2, keep_every=10, keep_best=1)
    for step in (5, 8, 10, 12, 15):
        saving.save(step, eval_loss={8: 1.0, 12: 2.0}.get(step))
        if step == 5:
            set_tags(saving.store.folder / "5", ["paper"])
    assert saving.steps() == [5, 8, 10, 12, 15]
    saving.save(18)
    saving.save(21, eval_loss=0.5)
    assert saving.steps() == [5, 10, 18, 21]
    assert [step for state, step in saving.states() if state == "deleted"] == [12, 8, 15]


def test_a_damaged_checkpoint_is_no_obstacle_to_the_next(saving: Saving) -> None:
    saving.save(1)
    (saving.store.folder / "1" / "meta.json").write_text("{")
    assert not saving.store.has(1)
    saving.save(1)
    (info,) = saving.store.infos()
    assert verify(info.path) == []
    shutil.rmtree(info.path)
    assert saving.steps() == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device", "/x/y"), "No space left on device: /x/y"),
        (ValueError("RESOURCE_EXHAUSTED: write\nlong\ntrace"), "No space left on device"),
        (ValueError("\n\n first line \nsecond"), "first line"),
        (ValueError(""), "ValueError"),
        (ValueError("x" * 1000), "x" * 300),
    ],
)
def test_reasons_in_words(error: Exception, words: str) -> None:
    assert reason_in_words(error) == words


def test_a_reason_is_found_behind_others() -> None:
    outer = RuntimeError("orbax failed")
    outer.__cause__ = OSError(30, "Read-only file system")
    assert reason_in_words(outer) == "Read-only file system"


def test_what_is_not_kept_is_gone_from_the_disk(saving: Saving) -> None:
    """Folders, files and bytes, not only the manifest that makes them a checkpoint."""
    for step in range(1, 7):
        saving.save(step, wait=step % 2 == 0)
    saving.store.wait()
    assert sorted(path.name for path in saving.store.folder.iterdir()) == ["5", "6"]
    kept = sum(info.bytes + (info.path / "manifest.json").stat().st_size for info in saving.store.infos())
    assert sum(path.stat().st_size for path in saving.store.folder.rglob("*") if path.is_file()) == kept
    assert [step for state, step in saving.states() if state == "deleted"] == [1, 2, 3, 4]


def test_a_checkpoint_that_cannot_be_deleted_whole_is_none_any_more(
    saving: Saving, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, **options: Any) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr("chomp.checkpoint.store.shutil.rmtree", refuse)
    for step in (1, 2, 3):
        saving.save(step)
    monkeypatch.undo()
    assert saving.steps() == [2, 3]
    assert (saving.store.folder / "1").is_dir()
    assert ("deleted", 1) not in saving.states(), "what still takes room is not told as deleted"
    saving.store.prepare()
    assert sorted(path.name for path in saving.store.folder.iterdir()) == ["2", "3"]


def test_what_will_stay_is_known_when_it_is_saved(saving: Saving, tmp_path: Path) -> None:
    assert not saving.store.will_stay(10, 0.5), "only the newest are kept"
    best = Saving(tmp_path / "best", keep_every=10, keep_best=2, max_to_keep=1)
    for step, loss in ((1, 3.0), (2, 2.0), (3, None)):
        best.save(step, eval_loss=loss)
    losses = {4: (1.0, True), 5: (2.0, True), 6: (2.5, True), 7: (3.5, False), 8: (None, False), 9: (np.nan, False)}
    for step, (loss, stays) in losses.items():
        assert best.store.will_stay(step, loss) is stays, step
    assert best.store.will_stay(20, None)
    assert not best.store.will_stay(0, None)


class Held(Saving):
    """The checkpoints of a run directory that this process holds, as an engine does."""

    def __init__(self, run_dir: Path):
        run_dir.mkdir()
        self.held = HeldFolder(run_dir)
        self.told = []
        self.store = CheckpointStore(
            run_dir / "checkpoints", retention=Retention(max_to_keep=2), on_event=self.told.append, held=self.held
        )
        self.store.prepare()


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    """In a directory whose name is not UTF-8, which Orbax does not take."""
    held = Held(tmp_path / os.fsdecode(b"r\xe9"))
    yield held
    held.held.close()


def test_a_name_that_is_not_utf_8(held: Held) -> None:
    held.store.prove(items(0), 20)
    held.save(5)
    (info,) = held.store.infos()
    assert (info.path, verify(info.path)) == (held.held.path / "checkpoints" / "5", [])
    # A reader that does not hold the run directory, such as `chomp generate`.
    assert load(info, abstract())[1] == {"documents": 5}


def test_a_directory_that_is_renamed_during_a_save(held: Held, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = held.held.path, tmp_path / "renamed"

    def rename(folder: Path, meta: dict[str, Any]) -> int:
        before.rename(after)
        return seal(folder, meta)

    monkeypatch.setattr("chomp.checkpoint.store.seal", rename)
    held.save(1)
    monkeypatch.undo()
    held.held.follow()
    held.save(2)
    held.save(3)
    assert held.steps() == [2, 3], held.told
    assert [verify(info.path) for info in list_checkpoints(after / "checkpoints")] == [[], []]
    assert held.store.set_aside(2, "before-rollback") == [3]
    assert not before.exists(), "it was made anew"


def test_a_directory_that_is_removed(held: Held) -> None:
    held.save(1)
    path = held.held.path
    shutil.rmtree(path)
    held.save(2)
    failure = held.store.take_failure()
    assert failure is not None
    assert failure.reason == f"No such file or directory: {path / 'checkpoints'}"
    assert not path.exists(), "it was made anew"


def test_removed_checkpoints_are_no_reason_to_stop_saving(held: Held) -> None:
    held.save(1)
    shutil.rmtree(held.store.folder)
    held.save(2)
    assert held.steps() == [2]


def test_proving_leaves_nothing(saving: Saving) -> None:
    saving.store.prove(items(0), 20)
    assert list(saving.store.folder.iterdir()) == []
    assert saving.told == []


def test_no_room_for_the_first_checkpoint_is_found_by_its_size(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    size, real = size_of(items(0)), shutil.disk_usage("/")
    assert size == 4000 + 4 + 8
    free = size // 2 - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real._replace(free=free))
    with pytest.raises(CheckpointError) as caught:
        saving.store.prove(items(0), 20)
    room = f"{saving.store.folder} has 2,005 bytes free, and a checkpoint has 4,012 bytes before compression"
    assert str(caught.value) == f"no checkpoint can be saved: {room}; mend that, or choose another --run-dir"
    assert not saving.store.folder.exists(), "a directory without a run is free for the next attempt"
    saving.store.prepare()
    free = size - 1
    assert saving.store.prove(items(0), 20) == f"there may be too little room: {room.replace('2,005', '4,011')}"
    free = size
    assert saving.store.prove(items(0), 20) is None


def test_an_array_above_the_limit_of_file_sizes(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (3999, resource.RLIM_INFINITY))
    with pytest.raises(CheckpointError, match=r"at most 3,999 bytes \(ulimit -f\).* an array of 4,000;"):
        saving.store.prove(items(0), 20)


def test_a_library_that_cannot_save_is_found_before_the_first_save(
    saving: Saving, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, data: bytes) -> None:
        raise OSError(95, "Operation not supported", str(path))

    monkeypatch.setattr("chomp.checkpoint.store.write_whole", fail)
    with pytest.raises(CheckpointError, match=r"^no checkpoint can be saved: Operation not supported: /.*/020/meta"):
        saving.store.prove(items(0), 20)
    assert not saving.store.folder.exists()
