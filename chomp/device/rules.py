"""Which environment variables which GPUs need, and why: data, applied by `environment`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chomp.device.probe import Gpu

How = Literal["append flag", "set"]


@dataclass(frozen=True)
class FlagRule:
    """One variable for GPUs of a range of compute capabilities.

    Attributes:
        name: short and stable, for logs and switches.
        at_least, below: compute capabilities (major, minor); `below` is not included.
        how: `append flag` adds `value` to the flags in the variable, `set` gives it the value.
        automatic: applied without asking; otherwise only recommended.
        why: one sentence for the user.
        source: where the advice comes from.
    """

    name: str
    at_least: tuple[int, int]
    below: tuple[int, int]
    variable: str
    value: str
    how: How
    automatic: bool
    why: str
    source: str

    def applies(self, gpu: Gpu) -> bool:
        """Whether the GPU is of the rule's kind; False where its capability is unknown."""
        capability = gpu.compute_capability
        return capability is not None and self.at_least <= capability < self.below


# Compute capability 12.x: GeForce RTX 50xx and their workstation siblings. Data-centre Blackwell is 10.x.
RULES: tuple[FlagRule, ...] = (
    FlagRule(
        name="blackwell-triton-gemm",
        at_least=(12, 0),
        below=(13, 0),
        variable="XLA_FLAGS",
        value="--xla_gpu_enable_triton_gemm=false",
        how="append flag",
        automatic=True,
        why="Triton matrix products can fail with CUDA_ERROR_OUT_OF_MEMORY on RTX 50xx; cuBLAS computes them instead",
        source="seen on RTX 5090 with jax 0.8.2; flag: https://docs.jax.dev/en/latest/gpu_performance_tips.html",
    ),
    FlagRule(
        name="blackwell-preallocate",
        at_least=(12, 0),
        below=(13, 0),
        variable="XLA_PYTHON_CLIENT_PREALLOCATE",
        value="false",
        how="set",
        automatic=False,
        why="these cards often draw a desktop too; JAX then allocates on demand instead of three quarters at the start",
        source="https://docs.jax.dev/en/latest/gpu_memory_allocation.html",
    ),
)
