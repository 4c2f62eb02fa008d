"""Shows where a run is on the disk."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from textual.app import App

from chomp_tui.state import Console


def open_folder(app: App[None], console: Console, path: Path) -> None:
    """Open a folder on a desktop; elsewhere show its path, and copy it."""
    opener = shutil.which("xdg-open")
    if opener and os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
        quiet = subprocess.DEVNULL
        subprocess.Popen([opener, str(path)], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
        console.notify(f"opened {path}")
    else:
        app.copy_to_clipboard(str(path))
        console.notify(f"{path} (copied, where the terminal allows it)")
