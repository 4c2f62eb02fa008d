"""As `tests.parallel.four_poisoned`; SIGKILL ends it when all of a rollback is done and nothing of it recorded."""

import os
import signal
from typing import Any, NoReturn
from unittest import mock

import jax

from chomp.__main__ import main
from chomp.train import rollback
from tests.parallel.four_poisoned import FACTOR
from tests.poisoned import poisoned_models


def die(*_: Any) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL returns to nothing")


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 4)
    with poisoned_models(FACTOR), mock.patch.object(rollback, "_rolled_back", die):
        main()
