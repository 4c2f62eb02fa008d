"""Python logging and warnings go to the run's log file; the terminal is the console sink's."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Libraries whose progress at INFO would bury everything else.
QUIET = (
    "absl",
    "huggingface_hub",
    "orbax",
    "jax",
    "jax._src",
    "fsspec",
    "urllib3",
    "httpx",
    "filelock",
    "datasets",
    "transformers",
    "asyncio",
    "grain",
)


class PatientFileHandler(logging.FileHandler):
    """A log file on a disk that may fill up: a record that cannot be written is lost without a word.

    Python would print a traceback for each; that the disk is full is said where it matters, in the
    event log and on the console.
    """

    def handleError(self, record: logging.LogRecord) -> None:
        """Do nothing."""


def log_to_file(path: Path, level: str) -> None:
    """Send all log records of at least `level` to `path`, appended; other handlers are taken away."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    handler = PatientFileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter(FORMAT))
    root.addHandler(handler)
    root.setLevel(level)
    for name in QUIET:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.DEBUG if level == "DEBUG" else logging.WARNING)
    logging.captureWarnings(True)
    warnings.simplefilter("default")
