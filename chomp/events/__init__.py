"""What happened in a run, and what is asked of it: the run directory's two channels."""

from chomp.events.commands import COMMANDS, Command, CommandReader, refusal, send_command
from chomp.events.log import EventReader, EventWriter, read_events
from chomp.events.types import (
    Acknowledged,
    Checkpoint,
    Compiled,
    Evaluated,
    Event,
    NonFinite,
    Phase,
    RolledBack,
    RunEnded,
    RunStarted,
    Sampled,
    Step,
    Unknown,
    Warned,
)

__all__ = [
    "COMMANDS",
    "Acknowledged",
    "Checkpoint",
    "Command",
    "CommandReader",
    "Compiled",
    "Evaluated",
    "Event",
    "EventReader",
    "EventWriter",
    "NonFinite",
    "Phase",
    "RolledBack",
    "RunEnded",
    "RunStarted",
    "Sampled",
    "Step",
    "Unknown",
    "Warned",
    "read_events",
    "refusal",
    "send_command",
]
