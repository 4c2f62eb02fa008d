"""The rules by which `chomp plan` chooses shape, batch and rates; docs/plan.md has the evidence for each.

N: parameters outside the input embedding. D: training tokens. B: tokens of a step.
"""

from __future__ import annotations

import math
from typing import Any, Literal

Backend = Literal["llama", "megalodon"]
Rule = Literal["muon", "adamw"]

# One number sizes the model, as in nanochat (`scripts/base_train.py`, where it is the depth): there is a layer for each
# 64 of the width. Small models have finer steps, of half that.
ASPECT, LEAST_DEPTH = 64, 2
WIDTHS = (*range(64, 256, 32), *range(256, 2561, 64))
# Hoffmann et al. 2022 (arXiv:2203.15556).
TOKENS_PER_PARAMETER = 20.0
# Learning rate of the matrices under Muon, whatever the width, for steps of at least so many tokens.
MUON_RATE, MUON_STEP_TOKENS = 0.03, 2048
# Learning rate of the other parameters at a width.
REST_RATE, REST_WIDTH = 3e-3, 128
# Step Law was measured from 60 million parameters on. Below, its rate for AdamW exceeds what is best: in sweeps that is
# 0.002 at width 64, and 0.001 at 128 (docs/plan.md).
MEASURED_PARAMETERS, MOST_ADAMW_RATE = 6e7, 4e-3
SMALL_ADAMW_RATE, SMALL_WIDTH = 1e-3, 128
LEAST_STEPS = 200
WARMUP_SHARE, MOST_WARMUP = 0.02, 1000


def shape(backend: Backend, dim: int, seq_len: int) -> dict[str, Any]:
    """The settings of the `model` section that follow from the width."""
    common = {"backend": backend, "model_dim": dim, "num_layers": max(LEAST_DEPTH, round(dim / ASPECT))}
    if backend == "llama":
        head = 32 if dim % 64 else 64
        return {**common, "num_heads": dim // head, "ffn_hidden_dim": round(dim * 8 / 3 / 32) * 32}
    # The proportions of the published mega200m and mega1_3b.
    return {
        **common,
        "num_heads": max(1, dim // 1024),
        "z_dim": dim // 4,
        "value_dim": 2 * dim,
        "ffn_hidden_dim": dim * 5 // 2,
        "chunk_size": min(seq_len, 2048),
        "norm_num_groups": 32,
    }


def scaling_parameters(backend: Backend, dim: int, vocabulary: int) -> int:
    """N: all matrices of the layers, and the output head."""
    sizes = shape(backend, dim, 1)
    hidden = sizes["ffn_hidden_dim"]
    if backend == "llama":
        layer = 4 * dim * dim + 3 * dim * hidden
    else:
        z, value = sizes["z_dim"], sizes["value_dim"]
        layer = dim * z + 2 * dim * value + dim * dim + value * dim + 2 * dim * hidden
    return int(sizes["num_layers"] * layer + dim * vocabulary)


def flops_per_token(backend: Backend, dim: int, vocabulary: int, seq_len: int) -> float:
    """Training FLOPs of a token, to carry a measured speed over to a size that was not measured."""
    layers = shape(backend, dim, seq_len)["num_layers"]
    return float(6.0 * scaling_parameters(backend, dim, vocabulary) + 6.0 * layers * dim * seq_len)


def batch_rows(tokens: float, seq_len: int) -> int:
    """Rows of a step for a run of so many tokens: a power of two, for at least `LEAST_STEPS` steps.

    B = 0.58 D^0.571 (Step Law, Li et al. 2025, arXiv:2503.04715).
    """
    wanted = min(0.58 * tokens**0.571, tokens / LEAST_STEPS) / seq_len
    return max(1, 2 ** math.floor(math.log2(max(1.0, wanted))))


def adamw_rate(parameters: float, tokens: float, dim: int) -> float:
    """Step Law: 1.79 N^-0.713 D^0.307, up to a limit, which is lower for models smaller than those of its paper."""
    small = SMALL_ADAMW_RATE * max(1.0, SMALL_WIDTH / dim)
    return min(
        small if parameters < MEASURED_PARAMETERS else MOST_ADAMW_RATE, 1.79 * parameters**-0.713 * tokens**0.307
    )


def muon_rate(tokens_per_step: int) -> float:
    """Of the matrices: falls with the root of the batch below `MUON_STEP_TOKENS`, and does not rise above."""
    return MUON_RATE * min(1.0, math.sqrt(tokens_per_step / MUON_STEP_TOKENS))


def rest_rate(dim: int) -> float:
    """Of the parameters that Muon does not update, of which the embedding is the largest: falls with the root of D."""
    return REST_RATE * math.sqrt(REST_WIDTH / dim)


def warmup_steps(steps: int) -> int:
    """A fiftieth of the run, at most `MOST_WARMUP`."""
    return max(1, min(MOST_WARMUP, round(WARMUP_SHARE * steps)))
