"""TensorBoard and Weights & Biases, each an extra to install."""

from __future__ import annotations

import importlib.util
import time
from typing import Any

from chomp.config import Config
from chomp.errors import ConfigError
from chomp.record.events import Event, RolledBack, RunStarted, Sampled, Step
from chomp.record.rundir import RunDir
from chomp.sinks.base import QueuedSink, Sink

STEP_AXIS = "step"
NOT_SERIES = frozenset({STEP_AXIS, "packing_mode"})


def build_trackers(config: Config, run: RunDir, values: dict[str, Any], files: RunDir | None = None) -> list[Sink]:
    """The trackers that `logging` enables, each behind a queue of its own.

    Args:
        values: the resolved configuration, shown by trackers beside the curves.
        files: the run directory as this process writes to it, if that is by another path.

    Raises:
        ConfigError: the package of a tracker is not installed.
    """
    require_trackers(config)
    trackers: list[Sink] = []
    if config.logging.tensorboard:
        trackers.append(QueuedSink(TensorBoardSink(files or run)))
    if config.logging.wandb.enabled:
        trackers.append(QueuedSink(WandbSink(config, run, values)))
    return trackers


def require_trackers(config: Config) -> None:
    """Refuse trackers whose package is missing.

    Raises:
        ConfigError: names the package and the setting.
    """
    if config.logging.tensorboard:
        _require("tensorboard", "logging.tensorboard")
    if config.logging.wandb.enabled:
        _require("wandb", "logging.wandb.enabled")


def _require(package: str, key: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"{key} needs the package {package}; install it with: pip install 'chomp[{package}]', or set {key}: false"
        )


def series(row: dict[str, Any]) -> dict[str, float]:
    """The numbers of a metrics row that make a curve."""
    return {
        key: float(value)
        for key, value in row.items()
        if key not in NOT_SERIES and isinstance(value, (int, float)) and not isinstance(value, bool)
    }


class TensorBoardSink(Sink):
    """Scalars and samples as TensorBoard event files in `RUN/tensorboard/`.

    Where a resume or a rollback takes the run back, later points are removed too, as in `metrics.jsonl`.
    """

    name = "TensorBoard"

    def __init__(self, run: RunDir):
        self._folder = run.path / "tensorboard"
        self._writer: Any = None

    def handle(self, event: Event) -> None:
        if isinstance(event, Step):
            self._scalars(event)
        elif isinstance(event, Sampled):
            self._text("sample", event.prompt + event.text, event.step)
        elif isinstance(event, RunStarted):
            self._start_session(event.resumed_from or 0)
        elif isinstance(event, RolledBack):
            self._start_session(event.step)
            self._text("rollback", event.message, event.step)

    def _scalars(self, event: Step) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in series(event.row).items()]
        self._add(event.row["step"], summary=Summary(value=values))

    def _text(self, tag: str, text: str, step: int) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING

        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
        self._add(step, summary=Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)]))

    def _start_session(self, done: int) -> None:
        # At the start of any session but its first, TensorBoard drops the points that it has of that step and later
        # ones (tensorboard/backend/event_processing/plugin_event_accumulator.py).
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self._add(done + 1, session_log=SessionLog(status=SessionLog.START))

    def _add(self, step: int, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event as Record
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if self._writer is None:
            self._writer = EventFileWriter(str(self._folder))
        self._writer.add_event(Record(wall_time=time.time(), step=step, **content))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class WandbSink(Sink):
    """Metrics rows as a Weights & Biases run that a resumed chomp run continues.

    The library drops rows below the largest step it was ever given, and takes nothing back. Rows therefore carry their
    step as a value, the x-axis of all curves: steps done again after a resume or a rollback appear twice.
    """

    name = "Weights & Biases"

    def __init__(self, config: Config, run: RunDir, values: dict[str, Any]):
        self._options = config.logging.wandb
        self._run_dir = run
        self._values = values
        self._run: Any = None

    def _start(self) -> Any:
        import wandb

        options = self._options
        tracked = wandb.init(
            project=options.project,
            entity=options.entity,
            name=options.run_name or self._run_dir.name,
            id=self._run_id(),
            resume="allow",
            mode=options.mode,
            tags=options.tags,
            config=self._values,
            dir=str(self._run_dir.path),
        )
        tracked.define_metric(STEP_AXIS, hidden=True)
        tracked.define_metric("*", step_metric=STEP_AXIS)
        artifact = wandb.Artifact(f"config-{tracked.id}", type="config")
        artifact.add_file(str(self._run_dir.config_original))
        tracked.log_artifact(artifact)
        return tracked

    def _run_id(self) -> str:
        """The same id at every attempt, kept in the run directory."""
        import secrets

        path = self._run_dir.path / "wandb_id"
        if not path.exists():
            path.write_text(secrets.token_hex(4))
        return path.read_text().strip()

    def handle(self, event: Event) -> None:
        # Not before the run has started: until then its directory does not hold the configuration yet.
        if self._run is None and isinstance(event, RunStarted):
            self._run = self._start()
        if self._run is None:
            return
        if isinstance(event, Step):
            self._run.log({STEP_AXIS: event.row["step"], **series(event.row)})
        elif isinstance(event, RolledBack):
            self._run.log({STEP_AXIS: event.from_step, "rollbacks": event.count})

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()
