"""Sets the environment before JAX is imported."""

from __future__ import annotations

import os
import signal
from types import FrameType

from chomp.record.signals import NOTICE_SIGNALS, STOP_SIGNALS

# Equinox's run-time checks are host callbacks, which keep a program out of the compilation cache.
# Token ids, the one thing they would guard, are checked on the host by the data pipeline.
BEFORE_IMPORT = {
    "EQX_ON_ERROR": "off",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_VERBOSITY": "error",
}


def leave_on_signals(*, notices: bool = False) -> None:
    """Before the engine handles signals there is nothing to save: end the process on a signal, with its exit code.

    Args:
        notices: also on the signals of a cluster that will end the job; they do nothing otherwise.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        os._exit(128 + number)

    def go_on(number: int, frame: FrameType | None) -> None:
        pass

    for number in (*STOP_SIGNALS, *NOTICE_SIGNALS):
        signal.signal(number, leave if notices or number in STOP_SIGNALS else go_on)


def prepare_environment(*, strict_determinism: bool = False) -> None:
    """Set variables that libraries read at import, and the flags of the installed GPUs; never override the user's.

    Args:
        strict_determinism: also set the flags of the setting with this name.

    Raises:
        DeviceError: JAX cannot start with the installed CUDA packages or the variables, or the installed XLA does not
            accept a flag in `XLA_FLAGS`, which would abort the process.
    """
    from chomp.device.determinism import strict_environment
    from chomp.device.environment import changes, recommended_environment
    from chomp.device.flag_check import require_xla_flags
    from chomp.device.packages import require_compatible
    from chomp.device.probe import probe_gpus

    for name, value in BEFORE_IMPORT.items():
        os.environ.setdefault(name, value)
    probe = probe_gpus()
    os.environ.update(changes(os.environ, recommended_environment(probe, os.environ)))
    if strict_determinism:
        os.environ.update(strict_environment(os.environ))
    require_compatible(probe, os.environ)
    require_xla_flags(os.environ)
