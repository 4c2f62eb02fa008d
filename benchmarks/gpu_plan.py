"""What `benchmarks/gpu.sh` measures, the most valuable first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from chomp.device.determinism import STRICT_FLAGS

CONFIG = "configs/megalodon_200m_zyda2.yaml"
NO_TRITON = "--xla_gpu_enable_triton_gemm=false"
STRICT = " ".join(f"{name}={value}" for name, value in STRICT_FLAGS.items())
WARM_UP = 2
"""Steps of a variant that do not count."""
# The vocabulary that the preset's tokenizer would give.
COMMON = ("model.vocab_size=50304",)
# The preset of this name, whose fields would not override those of the file.
NANO = (
    "model.backend=llama", "model.model_dim=768", "model.num_layers=12", "model.num_heads=12", "model.num_kv_heads=12",
    "model.ffn_hidden_dim=2176", "model.norm_eps=1e-6", "model.rope_base=10000", "model.share_emb=true",
)  # fmt: skip
TINY = (
    "model.vocab_size=512", "model.num_layers=1", "model.model_dim=32", "model.num_heads=1", "model.num_kv_heads=1",
    "model.z_dim=16", "model.value_dim=32",
    "model.ffn_hidden_dim=32", "model.cema_ndim=4", "model.chunk_size=32", "model.norm_num_groups=4",
    "model.loss_chunk_size=64", "train.seq_len=64", "train.allow_cpu=true",
)  # fmt: skip
"""Overrides of a rehearsal: every variant runs in seconds on a CPU, and its figures mean nothing."""


@dataclass(frozen=True)
class Variant:
    """One way to run the step of the 200M preset, or of a Llama in its place.

    Attributes:
        overrides: of the configuration.
        flags: added to `XLA_FLAGS`.
        kind: `speed`, or `resume`: the same steps in one process, and continued in another from a saved state; bits are
            compared.
    """

    name: str
    overrides: tuple[str, ...]
    flags: str = ""
    kind: Literal["speed", "resume"] = "speed"


def rows(batch: int, accum: int, *more: str) -> tuple[str, ...]:
    """Overrides: `accum` micro-batches of `batch` rows, and others."""
    return (*COMMON, f"train.batch_size={batch}", f"train.grad_accum={accum}", *more)


# Two layers compile quickly, and have every kind of kernel of twelve.
RESUMED = rows(2, 8, "model.num_layers=2")

PLAN: tuple[Variant, ...] = (
    Variant("2x8 parallel", rows(2, 8, "model.cema=parallel")),
    Variant("2x8 kernel", rows(2, 8, "model.cema=kernel")),
    Variant("2x8 blockwise", rows(2, 8, "model.cema=blockwise")),
    Variant("8x2 kernel", rows(8, 2, "model.cema=kernel")),
    Variant("8x2 parallel", rows(8, 2, "model.cema=parallel")),
    Variant("2x8 kernel, no Triton GEMM", rows(2, 8, "model.cema=kernel"), NO_TRITON),
    Variant("resume", RESUMED, kind="resume"),
    Variant("resume, strict flags", RESUMED, STRICT, kind="resume"),
    Variant("2x8 nano-125m", rows(2, 8, *NANO)),
    Variant("2x8 nano-125m, flash", rows(2, 8, *NANO, "model.attention=flash")),
    Variant("8x2 auto, loss chunk 8192", rows(8, 2, "model.loss_chunk_size=8192")),
    Variant("8x2 auto, remat dots", rows(8, 2, "model.remat=dots")),
    Variant("8x2 auto, remat attention", rows(8, 2, "model.remat=attention")),
    Variant("8x2 auto, remat full", rows(8, 2, "model.remat=full")),
    Variant("8x2 blockwise", rows(8, 2, "model.cema=blockwise")),
    Variant("2x8 auto, strict flags", rows(2, 8), STRICT),
    Variant("16x1 auto", rows(16, 1)),
)


def chosen(words: Sequence[str]) -> list[Variant]:
    """The variants whose names hold one of the words, all for none; in the order of the plan."""
    return [variant for variant in PLAN if not words or any(word in variant.name for word in words)]
