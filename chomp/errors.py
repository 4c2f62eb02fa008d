"""Errors a person can act on, and the exit code each one means.

Every error raised for a user's mistake is a `ChompError`: one sentence that says what
is wrong, where, what is allowed and what to do. The command line prints the sentence
without a traceback and exits with `exit_code`.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path

# What the user calls the engine, from the console that starts it.
COMMAND_VARIABLE = "CHOMP_COMMAND"


def command_name(program: str = "chomp") -> str:
    """How the user can call `program`: by its name, or as this process was called (`python -m chomp`, by path)."""
    if program == "chomp" and COMMAND_VARIABLE in os.environ:
        return os.environ[COMMAND_VARIABLE]
    called = Path(sys.argv[0])
    if called.name == "__main__.py" and called.parent.name in ("chomp", "chomp_tui"):
        return f"python -m {program.replace('-', '_')}"
    if called.name.startswith("chomp") and "/" in sys.argv[0] and shutil.which(program) is None:
        return shlex.quote(str(called.with_name(program)))
    return program


def printable(text: str) -> str:
    """The text with bytes of file names that are not UTF-8 written as `\\xe9`: any terminal and any file takes it."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()


class ChompError(Exception):
    """Base of all errors that are reported as one sentence instead of a traceback."""

    exit_code = 1

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigError(ChompError):
    """The configuration cannot be used as written."""

    exit_code = 2


class DataError(ChompError):
    """The training or evaluation text cannot be read or used."""

    exit_code = 3


class DeviceError(ChompError):
    """The requested device is missing or cannot run the configuration."""

    exit_code = 4


class CheckpointError(ChompError):
    """A checkpoint cannot be written, read or resumed from."""

    exit_code = 5


class RunDirError(CheckpointError):
    """A run directory is in use, occupied, missing or not a run."""


class NonFiniteError(ChompError):
    """Training met a loss or gradient that is not finite and the policy is to halt."""

    exit_code = 6


class ProcessLostError(ChompError):
    """A process of a run on several processes was lost, and the run ends; a resume continues it."""

    exit_code = 7


class ReplayDifferenceError(ChompError):
    """Steps of a run, computed again, are not what the run saved."""

    exit_code = 8
