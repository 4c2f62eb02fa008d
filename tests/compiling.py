"""Flags of XLA that compile the tests' programs in a third of the time, for a process and what is forked from it.

`python -m tests.compiling ARGS` is `chomp ARGS` in a process of its own that compiles as forks do.
"""

from __future__ import annotations

import os

from jaxlib import xla_client

from chomp.device.flag_check import check_xla_flags

# The older code generator for CPUs, which that of jaxlib 0.11 does not have any more, and one LLVM module for a program
# instead of several: the other cores run other tests.
FLAGS = ("--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1")
# The flags that the installed XLA knows, found out once in a session.
KNOWN = "CHOMP_TESTS_XLA_FLAGS"


def compile_quickly() -> None:
    """Give XLA its quick flags, unless this process compiles as users' processes do.

    XLA reads them here, once. They do not stay in its variable, where every engine would report them, and first start a
    process to find out whether the installed XLA knows them.
    """
    if os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS", "0") == "0":
        return
    if KNOWN not in os.environ:
        os.environ[KNOWN] = " ".join(
            flag for flag in FLAGS if check_xla_flags({**os.environ, "XLA_FLAGS": flag}).accepted
        )
    given = os.environ.get("XLA_FLAGS")
    os.environ["XLA_FLAGS"] = f"{os.environ[KNOWN]} {given or ''}".rstrip()
    xla_client.CompileOptions()
    if given is None:
        del os.environ["XLA_FLAGS"]
    else:
        os.environ["XLA_FLAGS"] = given


if __name__ == "__main__":
    compile_quickly()
    from chomp.__main__ import main

    main()
