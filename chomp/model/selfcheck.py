"""Compares chomp's own path through a layer with the library's, on the current device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from megalodon_jax.layers.attention import ChunkedAttention
from megalodon_jax.layers.complex_ema import ComplexEMA
from megalodon_jax.layers.timestep_norm import TimestepNorm

from chomp.config.model import ModelConfig
from chomp.model.megalodon import computed_by_documents, own_cema

LONGEST = 512
MEAN_DOCUMENT = 100
# fp32 sums in another order differ by a few times 1e-7; more than this is another function.
ALARM = 1e-3


@dataclass(frozen=True)
class PathCheck:
    """How far chomp's normalisation, moving average and attention are from the library's, in one layer's widths.

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
        """The result in one sentence."""
        found = f"differ from the library's by {self.outputs:.1e} (gradients {self.gradients:.1e})"
        end = "" if self.is_good else f"; that is too much: set model.cema to {self.instead}"
        return f"normalisation, moving average and attention {found} over {self.tokens} tokens{end}"


def check_path(config: ModelConfig, seq_len: int, *, isolate: bool) -> PathCheck | None:
    """Compare one layer, drawn at random, with the library's; None where the library's own paths are used.

    Args:
        config: the resolved model section.
        seq_len: tokens in a row; no more than 512 are tried.
        isolate: `data.isolate_documents`.
    """
    backend = jax.default_backend()
    own = own_cema(config.cema, backend)
    if config.backend != "megalodon" or own is None:
        return None
    length = min(seq_len, LONGEST)
    rng = np.random.default_rng(0)
    given = _drawn(config, length, rng)
    begins = rng.random((1, length)) < 1 / MEAN_DOCUMENT
    segment_ids = jnp.asarray(np.cumsum(begins, 1) + 1, jnp.int32) if isolate else None
    theirs = _layer(config)
    ours = computed_by_documents(theirs, own, backend)
    exact, tried = (_through(one, given, segment_ids) for one in (theirs, ours))
    instead = "associative or sequential" if isolate else "fft"
    return PathCheck(_distance(tried[0], exact[0]), _distance(tried[1], exact[1]), length, instead)


class _Layer(eqx.Module):
    """The parts of a layer that are tried, as the library has them."""

    norm: TimestepNorm
    average: ComplexEMA
    attention: ChunkedAttention


class _Given(NamedTuple):
    """What goes in, fp32: a row for the norm and the average, queries, keys and values for attention."""

    row: Array
    queries: Array
    keys: Array
    values: Array


def _layer(config: ModelConfig) -> _Layer:
    heads = config.num_heads
    return _Layer(
        TimestepNorm(config.model_dim, config.norm_num_groups, eps=config.norm_eps),
        ComplexEMA(config.model_dim, config.cema_ndim, key=jax.random.key(0)),
        ChunkedAttention(
            heads,
            config.z_dim // heads,
            config.value_dim // heads,
            config.chunk_size,
            attention_window=config.attention_window,
        ),
    )


def _drawn(config: ModelConfig, length: int, rng: np.random.Generator) -> _Given:
    heads = config.num_heads
    head = config.z_dim // heads
    shapes = ((head, head**-0.25), (head, head**-0.25), (config.value_dim // heads, 1.0))
    wide = (rng.normal(scale=scale, size=(1, length, heads, width)) for width, scale in shapes)
    row = rng.normal(size=(1, length, config.model_dim))
    return _Given(*(jnp.asarray(part, jnp.float32) for part in (row, *wide)))


@eqx.filter_jit
def _through(layer: _Layer, given: _Given, segment_ids: Any) -> tuple[Any, Any]:
    """Outputs, and gradients of their sum with weights that are drawn once."""

    def total(parts: tuple[_Layer, _Given]) -> tuple[Any, Any]:
        layer, given = parts
        normal, _ = layer.norm(given.row, segment_ids=segment_ids)
        channels = jnp.moveaxis(normal, 1, 2)
        averaged, _ = layer.average(channels, segment_ids=segment_ids, use_associative_segment_scan=False)
        mixed, _, _ = layer.attention(given.queries, given.keys, given.values, segment_ids=segment_ids)
        outputs = (averaged, mixed)
        drawn = zip(outputs, jax.random.split(jax.random.key(1), len(outputs)), strict=True)
        return sum((one * jax.random.normal(key, one.shape)).sum() for one, key in drawn), outputs

    (_, outputs), gradients = eqx.filter_value_and_grad(total, has_aux=True)((layer, given))
    return outputs, gradients


def _distance(ours: Any, theirs: Any) -> float:
    """The largest difference of two arrays, or of arrays in pairs, as a share of the largest number of its pair."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    shares = [float(jnp.abs(one - other).max() / jnp.maximum(jnp.abs(other).max(), 1e-30)) for one, other in pairs]
    return max(shares) if all(np.isfinite(shares)) else float("inf")
