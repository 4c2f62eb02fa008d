"""`chomp` with four virtual devices: `python -m tests.parallel.four ARGS`; `--devices 0` computes on one of them."""

import jax

from chomp.__main__ import main

if __name__ == "__main__":
    # Before the backend starts, and not by a variable: a process with its own environment would not be forked.
    jax.config.update("jax_num_cpu_devices", 4)
    main()
