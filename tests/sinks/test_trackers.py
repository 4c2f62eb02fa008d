"""TensorBoard files that TensorBoard reads, and Weights & Biases through a stand-in for its package."""

from __future__ import annotations

import dataclasses
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chomp.config import parse_resolved
from chomp.config.validate import config_from_dict
from chomp.errors import ConfigError
from chomp.record.event_log import EventWriter, read_events
from chomp.record.events import Event, Phase, RolledBack, RunStarted, Sampled, Step, Warned
from chomp.record.rundir import RunDir
from chomp.sinks import Reporter, build_trackers
from chomp.sinks.trackers import TensorBoardSink, WandbSink, series
from chomp.train.reporting import open_reporter
from chomp.train.request import RunRequest

ROW = {
    "step": 3,
    "loss": 2.5,
    "grad_norm": float("nan"),
    "lr": 1e-3,
    "packing_mode": "bin",
    "mfu": None,
    "eval_loss": 2.25,
}


STARTED = RunStarted(
    pid=1,
    host="box",
    attempt=1,
    resumed_from=None,
    versions={},
    device={},
    environment={},
    parameters=1,
    tokens_per_step=1,
    total_steps=5,
)


def config(**logging: Any) -> Any:
    return config_from_dict({"model": {"backend": "dummy"}, "logging": logging})


def test_series_are_the_numbers_of_a_row() -> None:
    assert set(series(ROW)) == {"loss", "grad_norm", "lr", "eval_loss"}


def test_tensorboard_reads_the_files_back(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sink = TensorBoardSink(RunDir(tmp_path))
    for step in range(1, 6):
        sink.handle(Step(row={**ROW, "step": step, "loss": 3.0 / step}))
    sink.handle(Sampled(step=5, prompt="def ", text="f(é):\n", tokens=4, seconds=0.1))
    sink.handle(Phase(name="train", step=5))
    sink.close()
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert set(found.Tags()["scalars"]) == {"loss", "grad_norm", "lr", "eval_loss"}
    assert [(scalar.step, scalar.value) for scalar in found.Scalars("loss")] == [
        (step, pytest.approx(3.0 / step)) for step in range(1, 6)
    ]
    (text,) = found.Tensors("sample")
    assert text.step == 5
    assert text.tensor_proto.string_val[0].decode() == "def f(é):\n"
    assert found.SummaryMetadata("sample").plugin_data.plugin_name == "text"


def test_a_resumed_run_adds_a_second_file(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    for attempt in (1, 2):
        sink = TensorBoardSink(RunDir(tmp_path))
        sink.handle(Step(row={**ROW, "step": attempt}))
        sink.close()
    found = EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    assert [scalar.step for scalar in found.Scalars("tensorboard", "loss")] == [1, 2]


def test_a_tensorboard_that_cannot_write_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("a file is in its place")
    reporter = Reporter(EventWriter(tmp_path / "events.jsonl"), [TensorBoardSink(RunDir(tmp_path))])
    reporter.publish(Step(row=ROW))
    reporter.publish(Step(row=ROW))
    reporter.close()
    (warning,) = [event for event in read_events(tmp_path / "events.jsonl") if isinstance(event, Warned)]
    assert warning.message.startswith("TensorBoard failed and is switched off for this run: ")


BACK = RolledBack(
    step=2, from_step=5, lr_factor=0.5, until_step=9, in_a_row=1, count=1, message="step 5: the loss is nan; went back"
)


@pytest.mark.parametrize("back", [BACK, dataclasses.replace(STARTED, attempt=2, resumed_from=2)])
def test_tensorboard_takes_back_what_the_run_took_back(back: Event, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    sink = TensorBoardSink(RunDir(tmp_path))
    sink.handle(STARTED)
    for step in (1, 2, 3, 4):
        sink.handle(Step(row={**ROW, "step": step, "loss": 1.0}))
        sink.handle(Sampled(step=step, prompt="", text="first", tokens=1, seconds=0.1))
    sink.handle(back)
    sink.handle(Step(row={**ROW, "step": 3, "loss": 2.0}))
    sink.close()
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()

    def points(tag: str) -> list[tuple[int, Any]]:
        return [(point.step, make_ndarray(point.tensor_proto).reshape(()).item()) for point in found.Tensors(tag)]

    assert points("loss") == [(1, 1.0), (2, 1.0), (3, 2.0)]
    assert points("sample") == [(1, b"first"), (2, b"first")]
    if isinstance(back, RolledBack):
        assert points("rollback") == [(2, back.message.encode())]


class FakeWandb(types.ModuleType):
    """As much of the package as the sink uses, keeping what it is told, and dropping what the package drops."""

    def __init__(self) -> None:
        super().__init__("wandb")
        # `find_spec` asks a module that is already imported for its spec.
        self.__spec__ = types.SimpleNamespace(name="wandb")  # type: ignore[assignment]
        self.started: list[dict[str, Any]] = []
        self.rows: list[dict[str, float]] = []
        self.next_row = 0
        self.metrics: dict[str, dict[str, Any]] = {}
        self.files: list[str] = []
        self.finished = 0
        self.error: Exception | None = None

    def init(self, **options: Any) -> FakeWandb:
        if self.error is not None:
            raise self.error
        self.started.append(options)
        self.id = options["id"]
        return self

    def Artifact(self, name: str, type: str) -> types.SimpleNamespace:
        return types.SimpleNamespace(add_file=self.files.append)

    def log_artifact(self, artifact: Any) -> None:
        assert artifact is not None

    def define_metric(self, name: str, *, step_metric: str | None = None, hidden: bool | None = None) -> None:
        self.metrics[name] = {"step_metric": step_metric, "hidden": hidden}

    def log(self, row: dict[str, float], step: int | None = None) -> None:
        # As `handlePartialHistorySync` of wandb's core/internal/stream/handler.go: a row below the last is ignored.
        if step is not None and step < self.next_row:
            return
        self.next_row = step if step is not None else self.next_row + 1
        self.rows.append(row)

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


WANDB = {"enabled": True, "project": "p", "entity": "me", "mode": "offline", "tags": ["a"]}


def test_wandb_gets_rows_and_the_same_run_after_a_resume(tmp_path: Path, wandb: FakeWandb) -> None:
    run = RunDir(tmp_path)
    run.config_original.write_text("model: {}\n")
    for step in (1, 2):
        sink = WandbSink(config(wandb=WANDB), run, {"train": {"steps": 5}})
        sink.handle(STARTED)
        sink.handle(Step(row={**ROW, "step": step}))
        sink.handle(Sampled(step=step, prompt="", text="", tokens=0, seconds=0.0))
        sink.close()
    first, second = wandb.started
    assert first["id"] == second["id"] == (tmp_path / "wandb_id").read_text()
    assert {key: first[key] for key in ("project", "entity", "mode", "tags", "resume", "name", "dir", "config")} == {
        "project": "p",
        "entity": "me",
        "mode": "offline",
        "tags": ["a"],
        "resume": "allow",
        "name": tmp_path.name,
        "dir": str(tmp_path),
        "config": {"train": {"steps": 5}},
    }
    assert [row["step"] for row in wandb.rows] == [1, 2]
    assert wandb.rows[0]["loss"] == 2.5
    assert wandb.metrics == {
        "step": {"step_metric": None, "hidden": True},
        "*": {"step_metric": "step", "hidden": None},
    }
    assert wandb.files == [str(run.config_original)] * 2
    assert wandb.finished == 2


def test_wandb_gets_the_steps_done_again_after_a_rollback(tmp_path: Path, wandb: FakeWandb) -> None:
    run = RunDir(tmp_path)
    run.config_original.write_text("model: {}\n")
    sink = WandbSink(config(wandb=WANDB), run, {})
    sink.handle(STARTED)
    for event in (*(Step(row={**ROW, "step": step}) for step in (3, 4)), BACK, Step(row={**ROW, "step": 3})):
        sink.handle(event)
    sink.close()
    assert [(row["step"], row.get("rollbacks"), row.get("loss")) for row in wandb.rows] == [
        (3, None, 2.5),
        (4, None, 2.5),
        (5, 1, None),
        (3, None, 2.5),
    ]


def test_wandb_waits_for_the_run_to_start_and_closes_only_what_it_started(tmp_path: Path, wandb: FakeWandb) -> None:
    """Before that there is no configuration to upload, and a run that fails on its text leaves nothing behind."""
    sink = WandbSink(config(wandb=WANDB), RunDir(tmp_path), {})
    sink.handle(Phase(name="data", step=0))
    sink.close()
    assert (wandb.started, wandb.finished) == ([], 0)


def test_a_wandb_that_cannot_log_in_is_dropped(tmp_path: Path, wandb: FakeWandb) -> None:
    wandb.error = RuntimeError("api_key not configured (no-tty)")
    sink = WandbSink(config(wandb=WANDB), RunDir(tmp_path), {})
    reporter = Reporter(EventWriter(tmp_path / "events.jsonl"), [sink])
    reporter.publish(STARTED)
    reporter.publish(Step(row=ROW))
    reporter.close()
    (warning,) = [event for event in read_events(tmp_path / "events.jsonl") if isinstance(event, Warned)]
    assert (
        warning.message == "Weights & Biases failed and is switched off for this run: api_key not configured (no-tty)"
    )


def test_trackers_are_built_from_the_configuration(tmp_path: Path, wandb: FakeWandb) -> None:
    run = RunDir(tmp_path)
    assert build_trackers(config(), run, {}) == []
    both = build_trackers(config(tensorboard=True, wandb=WANDB), run, {})
    assert [tracker.name for tracker in both] == ["TensorBoard", "Weights & Biases"]
    for tracker in both:
        tracker.close()
    assert wandb.started == []


@pytest.mark.parametrize(
    ("package", "logging", "key"),
    [
        ("tensorboard", {"tensorboard": True}, "logging.tensorboard"),
        ("wandb", {"wandb": WANDB}, "logging.wandb.enabled"),
    ],
)
def test_a_tracker_that_is_not_installed(
    package: str, logging: dict[str, Any], key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == package else real(name))
    with pytest.raises(ConfigError) as caught:
        build_trackers(config(**logging), RunDir(tmp_path), {})
    assert str(caught.value) == (
        f"{key} needs the package {package}; install it with: pip install 'chomp[{package}]', or set {key}: false"
    )
    trial = RunRequest(parse_resolved(config(**logging).model_dump(), source="test"), dry_run=True)
    claim: Any = SimpleNamespace(run=RunDir(tmp_path), files=RunDir(tmp_path))
    with pytest.raises(ConfigError, match=f"needs the package {package}"), open_reporter(trial, claim):
        pass
