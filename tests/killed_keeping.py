"""`chomp` that SIGKILL ends while it writes the compiled step: the bytes are written, and the file is not in its place.

Run as `python -m tests.killed_keeping ARGS`.
"""

import os
import signal
from pathlib import Path
from unittest import mock

from chomp.__main__ import main

fsync = os.fsync


def fsync_or_die(fd: int) -> None:
    if Path(f"/proc/self/fd/{fd}").readlink().name.startswith(".train_step."):
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(fd)


if __name__ == "__main__":
    with mock.patch.object(os, "fsync", fsync_or_die):
        main()
