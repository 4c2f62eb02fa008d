"""Sinks: the run's files, the terminal, and trackers."""

from chomp.sinks.base import QueuedSink, Reporter, Sink
from chomp.sinks.rows import RowFiles
from chomp.sinks.terminal import LastWords, TerminalSink
from chomp.sinks.trackers import build_trackers, require_trackers

__all__ = [
    "LastWords",
    "QueuedSink",
    "Reporter",
    "RowFiles",
    "Sink",
    "TerminalSink",
    "build_trackers",
    "require_trackers",
]
