"""As `tests.parallel.four`, with models to whose loss a text with the byte 1 is a spike.

The loss of a whole micro-batch is poisoned, and devices share its rows: with one row at once, all meshes agree.
"""

import jax

from chomp.__main__ import main
from tests.poisoned import poisoned_models

FACTOR = 16.0

if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 4)
    with poisoned_models(FACTOR):
        main()
