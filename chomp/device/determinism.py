"""XLA's flags of `train.strict_determinism`: a GPU program computes the same bits each time it is compiled and run."""

from __future__ import annotations

from collections.abc import Mapping

from chomp.device.environment import xla_flags

# XLA reads them when JAX starts: https://openxla.org/xla/determinism, and `debug_options_flags.cc` for each.
STRICT_FLAGS = {
    # Additions in a fixed order in scatters and attention, and the first kernel instead of the fastest one.
    "--xla_gpu_exclude_nondeterministic_ops": "true",
    # No measurement decides about a kernel, in passes too that the flag above does not reach.
    "--xla_gpu_autotune_level": "0",
    # cuBLAS computes the matrix products: Triton's tile sizes are results of measurements.
    "--xla_gpu_enable_triton_gemm": "false",
}


def strict_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """`XLA_FLAGS` with the flags that the user has not set; empty if nothing is to change."""
    given = environ.get("XLA_FLAGS", "").strip()
    present = xla_flags(environ)
    missing = [f"{name}={value}" for name, value in STRICT_FLAGS.items() if name not in present]
    # XLA reads the name of a file or flags, not both.
    if not missing or (given and not given.startswith("-")):
        return {}
    return {"XLA_FLAGS": " ".join([given, *missing]).strip()}


def not_strict(environ: Mapping[str, str]) -> list[str]:
    """The flags that are not in force as `train.strict_determinism` needs them, as `NAME=VALUE` needed."""
    present = xla_flags(environ)
    # XLA reads 1 and 0 as well.
    allowed = {"true": ("true", "1"), "false": ("false", "0"), "0": ("0",)}
    return [
        f"{name}={value}" for name, value in STRICT_FLAGS.items() if present.get(name, "").lower() not in allowed[value]
    ]
