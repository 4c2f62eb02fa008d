"""Sinks: the run's files, the terminal, trackers, and notices."""

from chomp.sinks.base import QueuedSink, Reporter, Sink
from chomp.sinks.notices import NoticeSink
from chomp.sinks.rows import RowFiles
from chomp.sinks.terminal import LastWords, TerminalSink
from chomp.sinks.trackers import build_trackers, require_trackers

__all__ = [
    "LastWords",
    "NoticeSink",
    "QueuedSink",
    "Reporter",
    "RowFiles",
    "Sink",
    "TerminalSink",
    "build_trackers",
    "require_trackers",
]
