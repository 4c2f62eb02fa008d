"""Where files of the user, which belong to no run, are kept."""

from __future__ import annotations

import os
import tempfile
import time
import traceback
from collections.abc import Mapping
from pathlib import Path

from chomp.record.rundir import write_whole


def state_file(name: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """`chomp/NAME` in the user's state folder; None for a user without a home."""
    return user_file(environ, "XDG_STATE_HOME", ".local/state", name)


def user_file(environ: Mapping[str, str], variable: str, below_home: str, name: str) -> Path | None:
    """`chomp/NAME` in the folder that `variable` names, or in `below_home` of the user's home; None without a home."""
    folder = Path(environ.get(variable, ""))
    if not folder.is_absolute():
        try:
            folder = Path.home() / below_home
        except RuntimeError:
            return None
    return folder / "chomp" / name


def keep_traceback(error: BaseException) -> Path | None:
    """Write the traceback of an error into a new file of the state folder, else of the temporary one; None if neither.

    Both outlive the folder of a dry run.
    """
    text = "".join(traceback.format_exception(error)).encode("utf-8", "backslashreplace")
    name = f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    path = state_file(name)
    try:
        if path is None:
            raise FileNotFoundError
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError:
        try:
            path = Path(tempfile.mkdtemp(prefix="chomp-")) / name
            path.write_bytes(text)
        except OSError:
            return None
    return path
