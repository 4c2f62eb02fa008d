"""Sinks: the run's files, the terminal, and trackers."""

from chomp.sinks.base import QueuedSink, Reporter, Sink
from chomp.sinks.console import ConsoleSink
from chomp.sinks.rows import RowFiles
from chomp.sinks.trackers import build_trackers

__all__ = ["ConsoleSink", "QueuedSink", "Reporter", "RowFiles", "Sink", "build_trackers"]
