"""TensorBoard and Weights & Biases, each an extra to install."""

from __future__ import annotations

import importlib.util
import time
from typing import Any

from chomp.config import Config
from chomp.errors import ConfigError
from chomp.events import Event, RunStarted, Sampled, Step
from chomp.rundir import RunDir
from chomp.sinks.base import QueuedSink, Sink

NOT_SERIES = frozenset({"step", "packing_mode"})


def build_trackers(config: Config, run: RunDir, values: dict[str, Any]) -> list[Sink]:
    """The trackers that `logging` asks for, each behind a queue of its own.

    Args:
        values: the resolved configuration, shown by trackers beside the curves.

    Raises:
        ConfigError: a tracker is asked for whose package is not installed.
    """
    trackers: list[Sink] = []
    if config.logging.tensorboard:
        _require("tensorboard", "logging.tensorboard")
        trackers.append(QueuedSink(TensorBoardSink(run)))
    if config.logging.wandb.enabled:
        _require("wandb", "logging.wandb.enabled")
        trackers.append(QueuedSink(WandbSink(config, run, values)))
    return trackers


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
    """Scalars and samples as TensorBoard event files in `RUN/tensorboard/`."""

    name = "TensorBoard"

    def __init__(self, run: RunDir):
        self._folder = run.path / "tensorboard"
        self._writer: Any = None

    def _start(self) -> Any:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        return EventFileWriter(str(self._folder))

    def handle(self, event: Event) -> None:
        from tensorboard.compat.proto.event_pb2 import Event as Record
        from tensorboard.compat.proto.summary_pb2 import Summary

        if self._writer is None:
            self._writer = self._start()
        if isinstance(event, Step):
            values = [Summary.Value(tag=tag, simple_value=value) for tag, value in series(event.row).items()]
            self._writer.add_event(Record(wall_time=time.time(), step=event.row["step"], summary=Summary(value=values)))
        elif isinstance(event, Sampled):
            self._writer.add_event(self._text_record(event))

    @staticmethod
    def _text_record(event: Sampled) -> Any:
        from tensorboard.compat.proto.event_pb2 import Event as Record
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING

        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        tensor = TensorProto(dtype=DT_STRING, string_val=[(event.prompt + event.text).encode()])
        value = Summary.Value(tag="sample", metadata=metadata, tensor=tensor)
        return Record(wall_time=time.time(), step=event.step, summary=Summary(value=[value]))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class WandbSink(Sink):
    """Metrics rows as a Weights & Biases run that a resumed chomp run continues."""

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
        if self._run is not None and isinstance(event, Step):
            self._run.log(series(event.row), step=event.row["step"])

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()
