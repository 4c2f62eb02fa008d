"""Sets the environment before JAX is imported, and imports it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from chomp.errors import ChompError, DeviceError
from chomp.record.signals import NOTICE_SIGNALS, STOP_SIGNALS

# Equinox's run-time checks are host callbacks, which keep a program out of the compilation cache.
# Token ids, the one thing they would guard, are checked on the host by the data pipeline.
BEFORE_IMPORT = {
    "EQX_ON_ERROR": "off",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_VERBOSITY": "error",
}
# Variables that these libraries read at import begin so.
READ_AT_IMPORT = ("JAX_", "EQX_")


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


def prepare_environment(
    *, strict_determinism: bool = False, imports_jax: bool = True, devices: Sequence[str] = ()
) -> None:
    """Set variables that libraries read at import, and the flags of the installed GPUs; never override the user's.

    Args:
        strict_determinism: also set the flags of the setting with this name.
        imports_jax: then import JAX, which refuses a wrong value of some variables.
        devices: those to compute on, as `--devices` names them; empty for all. CUDA gets to see no other GPU; of the
            CPU's devices `chosen_devices` (`chomp.model.device`) takes them.

    Raises:
        DeviceError: JAX cannot start with the installed CUDA packages or the variables, the installed XLA does not
            accept a flag in `XLA_FLAGS`, which would abort the process, or a device is not there.
    """
    from chomp.device.choice import gpu_environment
    from chomp.device.determinism import strict_environment
    from chomp.device.environment import changes, recommended_environment
    from chomp.device.flag_check import require_xla_flags
    from chomp.device.packages import require_compatible
    from chomp.device.probe import probe_gpus

    for name, value in BEFORE_IMPORT.items():
        os.environ.setdefault(name, value)
    probe = probe_gpus()
    os.environ.update(gpu_environment(devices, probe, os.environ))
    os.environ.update(changes(os.environ, recommended_environment(probe, os.environ)))
    if strict_determinism:
        os.environ.update(strict_environment(os.environ))
    require_compatible(probe, os.environ)
    require_xla_flags(os.environ)
    if imports_jax:
        _import_jax()


def _import_jax() -> None:
    try:
        import equinox  # noqa: F401 - imports JAX
    except Exception as error:
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        chosen = [f"{name}={value}" for name, value in sorted(os.environ.items()) if _is_read(name, value)]
        advice = f"correct or unset what is wrong among {', '.join(chosen)}" if chosen else "install chomp again"
        raise DeviceError(f"JAX cannot be imported: {why}; {advice}") from error


def _is_read(name: str, value: str) -> bool:
    return name.startswith(READ_AT_IMPORT) and BEFORE_IMPORT.get(name) != value


def out_of_memory_of(error: BaseException) -> ChompError | None:
    """The sentence about a failed allocation of a command that has loaded JAX; None for any other error."""
    # Equinox is imported after JAX, unless it refuses a variable.
    if isinstance(error, ChompError) or "equinox" not in sys.modules:
        return None
    from chomp.train.out_of_memory import is_out_of_memory, out_of_memory

    return out_of_memory(error) if is_out_of_memory(error) else None
