"""Everything about a run that stands on disk."""

from chomp.rundir.lock import Holder, RunLock, live_holder, read_holder
from chomp.rundir.manifest import CheckpointInfo, list_checkpoints, read_info, seal, set_tags, verify
from chomp.rundir.paths import RunDir, fresh_name, list_runs, open_run, write_whole

__all__ = [
    "CheckpointInfo",
    "Holder",
    "RunDir",
    "RunLock",
    "fresh_name",
    "list_checkpoints",
    "list_runs",
    "live_holder",
    "open_run",
    "read_holder",
    "read_info",
    "seal",
    "set_tags",
    "verify",
    "write_whole",
]
