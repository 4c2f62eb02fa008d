"""Everything about a run that stands on disk."""

from chomp.rundir.fork import fork_run
from chomp.rundir.lock import Holder, RunLock, live_holder, read_holder
from chomp.rundir.manifest import CheckpointInfo, list_checkpoints, read_info, seal, set_tags, verify
from chomp.rundir.newfolder import NewFolder
from chomp.rundir.origin import Origin, read_origin
from chomp.rundir.paths import RunDir, fresh_name, list_runs, open_run, open_run_around, write_whole
from chomp.rundir.removal import delete_checkpoint, delete_run
from chomp.rundir.samples import read_samples
from chomp.rundir.summary import RunSummary, SummaryReader, summarize

__all__ = [
    "CheckpointInfo",
    "Holder",
    "NewFolder",
    "Origin",
    "RunDir",
    "RunLock",
    "RunSummary",
    "SummaryReader",
    "delete_checkpoint",
    "delete_run",
    "fork_run",
    "fresh_name",
    "list_checkpoints",
    "list_runs",
    "live_holder",
    "open_run",
    "open_run_around",
    "read_holder",
    "read_info",
    "read_origin",
    "read_samples",
    "seal",
    "set_tags",
    "summarize",
    "verify",
    "write_whole",
]
