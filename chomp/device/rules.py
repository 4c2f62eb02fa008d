"""Which environment variables which GPUs need, with which versions of JAX, and why: data, applied by `environment`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from chomp.device.probe import Gpu

How = Literal["append flag", "set"]


@dataclass(frozen=True)
class FlagRule:
    """One variable for GPUs of a kind.

    Attributes:
        name: short and stable, for logs and switches.
        how: `append flag` adds `value` to the flags in the variable, `set` gives it the value.
        why: one sentence for the user.
        source: where the advice comes from.
        at_least, below: compute capabilities (major, minor); `below` is not included; None for any.
        desktop: True for GPUs that draw a desktop, False for those that do not, None for both.
        automatic_below: runs with a version of JAX below this one get it without asking; None: it is only recommended.
        old_name: an older name of the variable, which JAX refuses beside the new one.
    """

    name: str
    variable: str
    value: str
    how: How
    why: str
    source: str
    at_least: tuple[int, int] | None = None
    below: tuple[int, int] | None = None
    desktop: bool | None = None
    automatic_below: tuple[int, int] | None = None
    old_name: str | None = None

    def applies(self, gpus: Sequence[Gpu]) -> bool:
        """Whether a run on these GPUs meets the rule; False where the driver does not report that."""
        kind = [gpu for gpu in gpus if self._has_capability(gpu)]
        if self.desktop is False:
            # The variable holds for all GPUs of a run.
            return bool(kind) and all(_is_free(gpu) for gpu in gpus)
        return any(self.desktop is None or gpu.desktop is True for gpu in kind)

    def is_automatic(self, jax_version: tuple[int, int]) -> bool:
        """Whether runs get it without asking."""
        return self.automatic_below is not None and jax_version < self.automatic_below

    def _has_capability(self, gpu: Gpu) -> bool:
        if self.at_least is None and self.below is None:
            return True
        capability = gpu.compute_capability
        return (
            capability is not None
            and (self.at_least is None or self.at_least <= capability)
            and (self.below is None or capability < self.below)
        )


def _is_free(gpu: Gpu) -> bool:
    # A GPU without a memory of its own shares the machine's, most of which must not be taken.
    return gpu.desktop is False and gpu.memory_total_bytes is not None


# Compute capability 12.x: GeForce RTX 50xx and their workstation siblings. Data-centre Blackwell is 10.x.
RULES: tuple[FlagRule, ...] = (
    FlagRule(
        name="blackwell-triton-gemm",
        variable="XLA_FLAGS",
        value="--xla_gpu_enable_triton_gemm=false",
        how="append flag",
        why="Triton matrix products failed with CUDA_ERROR_OUT_OF_MEMORY on RTX 50xx in jax 0.8, and cuBLAS replaces "
        "them; runs with jax below 0.10 get this by themselves, newer jax has settings for these cards and needs it "
        "only where compiling or a run fails",
        source="seen on RTX 5090 with jax 0.8.2; tuned: https://github.com/openxla/xla/pull/39253; "
        "reports since: https://github.com/openxla/xla/issues/44517",
        at_least=(12, 0),
        below=(13, 0),
        automatic_below=(0, 10),
    ),
    FlagRule(
        name="desktop-preallocate",
        variable="XLA_PYTHON_CLIENT_PREALLOCATE",
        value="false",
        how="set",
        why="this GPU draws a desktop too; JAX then allocates on demand instead of three quarters at the start",
        source="https://docs.jax.dev/en/latest/gpu_memory_allocation.html",
        desktop=True,
    ),
    FlagRule(
        name="memory-fraction",
        variable="XLA_CLIENT_MEM_FRACTION",
        value=".9",
        how="set",
        why="no desktop uses this GPU, so JAX can take nine tenths of its memory instead of three quarters",
        source="https://docs.jax.dev/en/latest/gpu_memory_allocation.html",
        desktop=False,
        old_name="XLA_PYTHON_CLIENT_MEM_FRACTION",
    ),
)
