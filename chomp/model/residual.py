"""How what a layer finds is added to the residual stream, or to several of them (hyper-connections).

With n streams `s`, a layer `F` reads their sum weighted by `h`, the streams are mixed by a matrix `H`, and what `F`
found is added to each by a weight of `p` (Zhu et al. 2024, arXiv 2409.19606; Xie et al. 2025, mHC, arXiv 2512.24880,
equation 3):

    s' = H s + p F(h · s)        h = σ(pre_logits + pre_bias)        p = 2 σ(post_logits + post_bias)

`H` acts on the streams alone and `F` is added behind it: adding first would send what was just found through `H` too,
which is not what the papers write. `H` is a mean of permutation matrices, so that its rows and columns sum to 1 by
construction, its norm is 1 and so is that of any number of them in a row (Yang and Gao 2026, mHC-lite, arXiv
2601.05732; mHC itself comes near such a matrix by Sinkhorn's iterations). What leaves the stack is the streams' mean,
which no such matrix changes: the last layer's has no effect.

In the papers `h`, `p` and `H` also depend on the text. Here they are learned numbers of each layer and nothing else, so
that `logits` and `bias`, two summands that an exported file keeps apart, are one number in effect.
"""

import abc
import itertools
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Layer = Callable[[Float[Array, "batch seq dim"]], Float[Array, "batch seq dim"]]

# Of the identity among the permutations, at first. Public code of mHC-lite begins 8 above the other logits, where a
# number that depends on nothing hardly has a gradient.
IDENTITY_SHARE = 0.9


def expand_streams(x: Float[Array, "batch seq dim"], streams: int) -> Float[Array, "*streams batch seq dim"]:
    """Return `streams` equal streams, or `x` itself where there is one."""
    return x if streams == 1 else jnp.broadcast_to(x, (streams, *x.shape))


def merge_streams(x: Float[Array, "*streams batch seq dim"], streams: int) -> Float[Array, "batch seq dim"]:
    """Return the streams' mean, or `x` itself where there is one."""
    return x if streams == 1 else jnp.mean(x, axis=0)


class Residual(eqx.Module):
    """The connection between a layer and the residual stream."""

    @abc.abstractmethod
    def __call__(
        self, x: Float[Array, "*streams batch seq dim"], layer: Layer
    ) -> Float[Array, "*streams batch seq dim"]:
        """Call the layer once and return the streams behind it."""


class Plain(Residual):
    """One stream, to which every layer is added."""

    def __call__(self, x: Float[Array, "batch seq dim"], layer: Layer) -> Float[Array, "batch seq dim"]:
        """See `Residual.__call__`."""
        return x + layer(x)


class HyperConnection(Residual):
    """Several streams, see the module; all numbers are fp32 whatever the other parameters are.

    Attributes:
        alpha_logits: of the permutations, as `itertools.permutations` orders them; of two streams the identity's alone,
            `H = [[a, 1 - a], [1 - a, a]]` with `a = σ(alpha_logits)`.
    """

    alpha_logits: Float[Array, " mixes"]
    pre_logits: Float[Array, " streams"]
    pre_bias: Float[Array, " streams"]
    post_logits: Float[Array, " streams"]
    post_bias: Float[Array, " streams"]

    def __init__(self, streams: int, place: int) -> None:
        """Begin with a stream of its own to read from and write to: of equal weights none would ever differ.

        Args:
            place: the layer's number, from 0; neighbours begin with different streams, as in hyper-connections.
        """
        own = jnp.where(jnp.arange(streams) == place % streams, 1.0, -1.0)
        others = math.factorial(streams) - 1
        identity = math.log(IDENTITY_SHARE / (1 - IDENTITY_SHARE) * others)
        self.alpha_logits = jnp.zeros(1 if streams == 2 else others + 1).at[0].set(identity)
        self.pre_logits, self.post_logits = jnp.zeros(streams), jnp.zeros(streams)
        self.pre_bias, self.post_bias = own, own

    @property
    def read(self) -> Float[Array, " streams"]:
        """`h`, between 0 and 1."""
        return jax.nn.sigmoid(self.pre_logits + self.pre_bias)

    @property
    def write(self) -> Float[Array, " streams"]:
        """`p`, between 0 and 2."""
        return 2.0 * jax.nn.sigmoid(self.post_logits + self.post_bias)

    @property
    def mixing(self) -> Float[Array, "streams streams"]:
        """`H`; a permutation `o` takes stream `o[i]` to stream i."""
        orders = np.array(list(itertools.permutations(range(self.pre_bias.size))))
        logits = self.alpha_logits
        shares = jax.nn.softmax(logits if logits.size == len(orders) else jnp.append(logits, 0.0))
        return jnp.tensordot(shares, np.eye(orders.shape[1], dtype=np.float32)[orders], 1, precision="highest")

    def __call__(self, x: Float[Array, "streams batch seq dim"], layer: Layer) -> Float[Array, "streams batch seq dim"]:
        """See `Residual.__call__`."""
        return _written(self.mixing, self.write, x, layer(_read(self.read, x)))


# Few sums of products, so that the backward pass computes them again from the streams, which else were kept in fp32,
# and for the mixing once for each pair of streams.


@jax.checkpoint
def _read(weights: Float[Array, " streams"], x: Float[Array, "streams batch seq dim"]) -> Float[Array, "batch seq dim"]:
    return _weighted(weights, x).astype(x.dtype)


@jax.checkpoint
def _written(
    mixing: Float[Array, "streams streams"],
    weights: Float[Array, " streams"],
    x: Float[Array, "streams batch seq dim"],
    found: Float[Array, "batch seq dim"],
) -> Float[Array, "streams batch seq dim"]:
    added = weights[:, None, None, None] * found.astype(jnp.float32)
    return (_weighted(mixing, x) + added).astype(x.dtype)


def _weighted(weights: Float[Array, "*lead streams"], x: Float[Array, "streams batch seq dim"]) -> Array:
    """The streams' weighted sums in fp32, by products and sums alone: a GPU might round a matrix product's inputs."""
    return (weights[..., None, None, None] * x.astype(jnp.float32)).sum(axis=-4)


def connection(streams: int, place: int) -> Residual:
    """Return what the layer in this place of the stack is added by."""
    return Plain() if streams == 1 else HyperConnection(streams, place)


def mixing_flops(streams: int, dim: int) -> float:
    """Operations of a token between a layer and its streams: reading, mixing, writing; a plain sum is left out."""
    return 0.0 if streams == 1 else 2.0 * dim * (streams + streams**2 + streams)
