"""Where files of the user, which belong to no run, are kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


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
