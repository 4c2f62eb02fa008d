"""`chomp` that waits for half a second, not ten, for a terminal that takes nothing, before it leaves it behind.

Run as `python -m tests.impatient ARGS`.
"""

from unittest import mock

from chomp.__main__ import main
from chomp.sinks.base import QueuedSink

if __name__ == "__main__":
    with mock.patch.object(QueuedSink, "CLOSE_TIMEOUT_SECONDS", 0.5):
        main()
