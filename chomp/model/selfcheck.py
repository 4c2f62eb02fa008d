"""Whether chomp's own way through a layer gives what the library's does, on the device at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from megalodon_jax.layers.complex_ema import ComplexEMA
from megalodon_jax.layers.timestep_norm import TimestepNorm

from chomp.config.model import ModelConfig
from chomp.model.megalodon import computed_by_documents, is_blockwise

LONGEST = 512
MEAN_DOCUMENT = 100
# fp32 sums in another order differ by a few times 1e-7; more than this is another function.
ALARM = 1e-3


@dataclass(frozen=True)
class PathCheck:
    """How far chomp's normalisation and moving average are from the library's, in one layer of the model's width.

    Attributes:
        outputs: largest difference of an output, as a share of the largest output.
        gradients: the same of the gradients of inputs and parameters.
        tokens: positions in the row that was tried.
        instead: the library's paths for such rows, as `model.cema` names them.
    """

    outputs: float
    gradients: float
    tokens: int
    instead: str

    @property
    def is_good(self) -> bool:
        """Whether the two compute the same function."""
        return self.outputs <= ALARM and self.gradients <= ALARM

    @property
    def sentence(self) -> str:
        """What was found, for people."""
        found = f"differ from the library's by {self.outputs:.1e} (gradients {self.gradients:.1e})"
        end = "" if self.is_good else f"; that is too much: set model.cema to {self.instead}"
        return f"normalisation and moving average in blocks {found} over {self.tokens} tokens{end}"


def check_path(config: ModelConfig, seq_len: int, *, isolate: bool) -> PathCheck | None:
    """Compare one layer, drawn at random, with the library's; None where the library's own paths are used.

    Args:
        config: the resolved model section.
        seq_len: tokens in a row; no more than 512 are tried.
        isolate: `data.isolate_documents`.
    """
    if config.backend != "megalodon" or not is_blockwise(config.cema):
        return None
    rng, length, width = np.random.default_rng(0), min(seq_len, LONGEST), config.model_dim
    x = jnp.asarray(rng.normal(size=(1, length, width)), jnp.float32)
    weights = jnp.asarray(rng.normal(size=x.shape), jnp.float32)
    begins = rng.random((1, length)) < 1 / MEAN_DOCUMENT
    segment_ids = jnp.asarray(np.cumsum(begins, 1) + 1, jnp.int32) if isolate else None
    theirs = (
        TimestepNorm(width, config.norm_num_groups, eps=config.norm_eps),
        ComplexEMA(width, config.cema_ndim, key=jax.random.key(0)),
    )
    exact, tried = (_through(one, x, weights, segment_ids) for one in (theirs, computed_by_documents(theirs)))
    instead = "associative or sequential" if isolate else "fft"
    return PathCheck(_distance(tried[0], exact[0]), _distance(tried[1], exact[1]), length, instead)


@eqx.filter_jit
def _through(layer: tuple[TimestepNorm, ComplexEMA], x: Any, weights: Any, segment_ids: Any) -> tuple[Any, Any]:
    """Outputs, and gradients of their weighted sum."""

    def total(parts: tuple[tuple[TimestepNorm, ComplexEMA], Any]) -> tuple[Any, Any]:
        (norm, average), given = parts
        normal, _ = norm(given, segment_ids=segment_ids)
        y, _ = average(jnp.moveaxis(normal, 1, 2), segment_ids=segment_ids, use_associative_segment_scan=False)
        return (jnp.moveaxis(y, 1, 2) * weights).sum(), y

    (_, y), gradients = eqx.filter_value_and_grad(total, has_aux=True)((layer, x))
    return y, jax.tree.leaves(gradients)


def _distance(ours: Any, theirs: Any) -> float:
    """The largest difference of two arrays, or of arrays in pairs, as a share of the largest number of its pair."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    shares = [float(jnp.abs(one - other).max() / jnp.maximum(jnp.abs(other).max(), 1e-30)) for one, other in pairs]
    return max(shares) if all(np.isfinite(shares)) else float("inf")
