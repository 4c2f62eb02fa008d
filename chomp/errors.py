"""Errors a person can act on, and the exit code each one means.

Every error raised for a user's mistake is a `ChompError`: one sentence that says what
is wrong, where, what is allowed and what to do. The command line prints the sentence
without a traceback and exits with `exit_code`.
"""


class ChompError(Exception):
    """Base of all errors that are reported as one sentence instead of a traceback."""

    exit_code = 1


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
