"""`chomp` with kernels of XLA's older code generator for CPUs, of which its environment says nothing.

It stands for a GPU, where measurements choose the kernels. Run as `python -m tests.other_kernels ARGS`.
"""

import os

from jaxlib import xla_client

from chomp.__main__ import main

if __name__ == "__main__":
    os.environ["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=false"
    # XLA reads the flag here, once in a process.
    xla_client.CompileOptions()
    del os.environ["XLA_FLAGS"]
    main()
