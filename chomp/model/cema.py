"""Megalodon's complex moving average, block by block: documents in a row are kept apart at hardly any cost.

The recurrence is the library's (`megalodon_jax.layers.complex_ema`, after Ma et al. 2024, arXiv 2404.08801):

    h[t] = q h[t-1] + p x[t]        y[t] = Re sum over N of gamma h[t]

with h = 0 before a document's first token. A row is cut into blocks of C positions, as chunked scans of diagonal
state-space models are (Dao and Gu 2024, arXiv 2405.21060). Inside a block y is a short convolution with
k[s] = Re sum of gamma p q^s; what a block leaves behind is a linear map of its inputs; a scan over blocks carries
that on; and what was carried in is read off by another linear map. A document's first token ends the reach of the
convolution, what a block leaves behind is that of its last document, and what is carried in reaches its first one.

Sums over N run as matrix products, one for each channel: `[D, B n, C] x [D, C, 2 N]`. The convolution is a sum of C
shifted products with channels last, which compiles to one loop. Neither is what automatic differentiation would
make of it, so the backward pass is written out; it keeps the inputs alone and computes the states again.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex, Float, Int
from megalodon_jax.layers.complex_ema import FFT_RECURRENT_MIN_LENGTH, ComplexEMA
from megalodon_jax.layers.segments import SegmentMetadata, derive_segment_metadata

from chomp.model.block_scan import if_it_goes_on, states_between_blocks, turned

BLOCK = 16
"""Positions in a block: the best of 8, 16 and 32, see docs/step.md."""


# By default GPUs multiply fp32 numbers in lower precision.
FULL = jax.lax.Precision.HIGHEST


class Runs(NamedTuple):
    """Where documents begin, as seen from inside the blocks of a row.

    Attributes:
        reach: `[B, T]` how many positions back the document and the block go.
        rank: `[B, n, C]` how many documents have begun in the block up to here, this one included.
        last: `[B, n]` the rank of the block's last position.
    """

    reach: Int[Array, "batch time"]
    rank: Int[Array, "batch blocks block"]
    last: Int[Array, "batch blocks"]


class Coefficients(NamedTuple):
    """The recurrence as maps between a block's positions and its states (real parts, then imaginary ones; fp32).

    Attributes:
        kernel: `[C, D]` response s positions later.
        feed: `[D, C, 2 N]` from inputs to what they leave behind at the block's end.
        decay: `[2, D, N]` of a state over a whole block, real and imaginary.
        read: `[D, 2 N, C]` from what is carried in to outputs.
    """

    kernel: Float[Array, "block dim"]
    feed: Float[Array, "dim block states"]
    decay: Float[Array, "2 dim ndim"]
    read: Float[Array, "dim states block"]


class BlockwiseEMA(ComplexEMA):
    """The library's `ComplexEMA`, its parameters and its meaning, computed block by block.

    Left to the library: the state after a row of several documents, and the few tokens at a time of sampling.

    Attributes:
        block: positions in a block.
        parallel: no loop over blocks: more work, in large pieces, for devices that wait for the host in each turn.
    """

    block: int = eqx.field(static=True, default=BLOCK)
    parallel: bool = eqx.field(static=True, default=False)

    def __call__(
        self,
        x: Float[Array, "batch dim seq"],
        h_init: Complex[Array, "batch dim ndim"] | None = None,
        return_state: bool = False,
        mask: Bool[Array, "batch seq"] | None = None,
        segment_ids: Int[Array, "batch seq"] | None = None,
        use_associative_segment_scan: bool = True,
        *,
        _segment_metadata: SegmentMetadata | None = None,
    ) -> tuple[Float[Array, "batch dim seq"], Complex[Array, "batch dim ndim"] | None]:
        """See `ComplexEMA.__call__`: the same arguments, results and errors."""
        length, has_state = x.shape[-1], return_state or h_init is not None
        if not length or (has_state and (segment_ids is not None or length < FFT_RECURRENT_MIN_LENGTH)):
            return super().__call__(
                x, h_init, return_state, mask, segment_ids, use_associative_segment_scan,
                _segment_metadata=_segment_metadata,
            )  # fmt: skip
        documents = None
        if segment_ids is not None:
            documents = _segment_metadata or derive_segment_metadata(segment_ids)
            mask = documents.valid if mask is None else mask & documents.valid
        if mask is not None:
            x = jnp.where(mask[:, None, :], x, jnp.zeros((), x.dtype))
        y = self.averaged(jnp.moveaxis(x, 1, 2), h_init, documents)
        h_final = None
        if return_state:
            p, q, _ = self._coeffs()
            h_final = self._final_state_parallel(x, h_init, p, q)
        return jnp.moveaxis(y, 2, 1), h_final

    def averaged(
        self,
        x: Float[Array, "batch seq dim"],
        h_init: Complex[Array, "batch dim ndim"] | None,
        documents: SegmentMetadata | None,
    ) -> Float[Array, "batch seq dim"]:
        """y in the dtype of `x`, which is zero where nothing is to be taken in."""
        length, rows = x.shape[1], x.astype(jnp.float32)
        runs = None
        if documents is not None:
            runs = runs_in_blocks(documents.boundaries, documents.local_positions, self.block)
        padded = jnp.pad(rows, ((0, 0), (0, -length % self.block), (0, 0)))
        start = _split(h_init, x.shape[0], *self.gamma_real.shape)
        y = moving_average(padded, self.coefficients(), start, runs, self.parallel)
        return (y[:, :length] + rows * self.omega.astype(jnp.float32)).astype(x.dtype)

    def recurrence(self) -> tuple[Array, Array, Array, Array, Array]:
        """p, magnitude and angle of q, and the parts of gamma, `[D, N]`, in fp32 whatever parameters are kept in."""
        alpha, delta, theta = (
            jax.nn.sigmoid(value.astype(jnp.float32)[..., 0]) for value in (self.alpha, self.delta, self.theta)
        )
        angle = theta * (2.0 * jnp.pi / self.ndim) * jnp.arange(1, self.ndim + 1, dtype=jnp.float32)
        gamma_real, gamma_imag = (
            value.astype(jnp.float32) * self.scale for value in (self.gamma_real, self.gamma_imag)
        )
        return alpha, 1.0 - alpha * delta, angle, gamma_real, gamma_imag

    def coefficients(self) -> Coefficients:
        """Work out the block's maps from the parameters, in fp32 as the library does.

        Powers are taken of the magnitude and of the angle, so that none loses digits and a magnitude of 0 has a
        gradient.
        """
        alpha, magnitude, angle, gamma_real, gamma_imag = self.recurrence()
        sizes = jnp.stack([magnitude**power for power in range(self.block + 1)])
        turns = jnp.arange(self.block + 1, dtype=jnp.float32)[:, None, None] * angle
        real, imag = sizes * jnp.cos(turns), sizes * jnp.sin(turns)
        kernel = (alpha * (gamma_real * real - gamma_imag * imag)).sum(-1)[:-1]
        feed = jnp.concatenate([alpha * real[-2::-1], alpha * imag[-2::-1]], -1)
        read = jnp.concatenate(
            [gamma_real * real - gamma_imag * imag, -(gamma_real * imag + gamma_imag * real)], -1
        )[1:]  # fmt: skip
        return Coefficients(
            kernel, jnp.moveaxis(feed, 0, 1), jnp.stack([real[-1], imag[-1]]), jnp.transpose(read, (1, 2, 0))
        )


def runs_in_blocks(boundaries: Bool[Array, "batch seq"], positions: Int[Array, "batch seq"], block: int) -> Runs:
    """See documents from inside blocks.

    Args:
        boundaries: where a document, or padding, begins.
        positions: how far each position is from there.
        block: positions in a block; the row is filled up to a whole number of them.
    """
    batch, length = boundaries.shape
    fill = ((0, 0), (0, -length % block))
    starts = jnp.pad(boundaries, fill).reshape(batch, -1, block)
    reach = jnp.minimum(jnp.pad(positions, fill).astype(jnp.int32), jnp.arange(length + fill[1][1]) % block)
    rank = jnp.cumsum(starts, -1, dtype=jnp.int32)
    return Runs(reach, rank, rank[..., -1])


def _split(state: Complex[Array, "batch dim ndim"] | None, batch: int, dim: int, ndim: int) -> Array:
    """A state as `[D, B, 2 N]` reals; zeros where there is none."""
    if state is None:
        return jnp.zeros((dim, batch, 2 * ndim), jnp.float32)
    return jnp.moveaxis(jnp.concatenate([state.real, state.imag], -1).astype(jnp.float32), 0, 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def moving_average(
    x: Float[Array, "batch time dim"],
    coefficients: Coefficients,
    start: Float[Array, "dim batch states"],
    runs: Runs | None,
    parallel: bool = False,
) -> Float[Array, "batch time dim"]:
    """Return y of the recurrence in fp32, `[B, T, D]`, T a whole number of blocks.

    Args:
        x: fp32 inputs, zero where nothing is to be taken in.
        coefficients: the recurrence over a block.
        start: state before the first position.
        runs: where documents begin; None for one continuous row.
        parallel: see `BlockwiseEMA`.
    """
    block = coefficients.kernel.shape[0]
    carried = _carried(_blocks(x, block), coefficients, start, runs, parallel)
    inward = _rows(_only_first(_product(carried, coefficients.read), runs))
    return _convolved(x, coefficients.kernel, _reach(x, block, runs)) + inward


def _forward(
    x: Array, coefficients: Coefficients, start: Array, runs: Runs | None, parallel: bool
) -> tuple[Array, tuple[Array, Coefficients, Array, Runs | None]]:
    return moving_average(x, coefficients, start, runs, parallel), (x, coefficients, start, runs)


def _backward(
    parallel: bool, kept: tuple[Array, Coefficients, Array, Runs | None], dy: Array
) -> tuple[Array, Coefficients, Array, None]:
    x, coefficients, start, runs = kept
    block = coefficients.kernel.shape[0]
    inputs, outputs = _blocks(x, block), _blocks(dy, block)
    carried = _carried(inputs, coefficients, start, runs, parallel)
    firsts, lasts = _only_first(outputs, runs), _only_last(inputs, runs)
    d_carried = _product(firsts, jnp.swapaxes(coefficients.read, 1, 2))
    d_left, d_start = _carried_back(d_carried, coefficients.decay, runs, parallel)
    d_coefficients = Coefficients(
        kernel=_shifted_products(x, dy, block, runs) if parallel else _kernel_gradient(inputs, outputs, runs),
        feed=_outer(lasts, d_left),
        decay=_decay_gradient(carried, d_left, runs),
        read=_outer(carried, firsts),
    )
    d_inward = _rows(_only_last(_product(d_left, jnp.swapaxes(coefficients.feed, 1, 2)), runs))
    dx = _convolved_back(dy, coefficients.kernel, _reach(x, block, runs)) + d_inward
    return dx, d_coefficients, d_start, None


moving_average.defvjp(_forward, _backward)


# Inside a block ------------------------------------------------------------------------------


def _reach(x: Array, block: int, runs: Runs | None) -> Int[Array, "batch time"]:
    return jnp.arange(x.shape[1])[None] % block if runs is None else runs.reach


def _convolved(x: Array, kernel: Array, reach: Array) -> Array:
    """Sum over s of kernel[s] x[t - s], as far as each position reaches."""
    block, length = kernel.shape[0], x.shape[1]
    before = jnp.pad(x, ((0, 0), (block - 1, 0), (0, 0)))
    y = x * kernel[0]
    for s in range(1, block):
        y += jnp.where((reach >= s)[..., None], before[:, block - 1 - s : block - 1 - s + length], 0.0) * kernel[s]
    return y


def _convolved_back(dy: Array, kernel: Array, reach: Array) -> Array:
    """The transpose: sum over s of kernel[s] dy[t + s], as far as those positions reach back."""
    block, length = kernel.shape[0], dy.shape[1]
    after = jnp.pad(dy, ((0, 0), (0, block), (0, 0)))
    reach = jnp.pad(reach, ((0, 0), (0, block)))
    dx = dy * kernel[0]
    for s in range(1, block):
        dx += jnp.where((reach[:, s : s + length] >= s)[..., None], after[:, s : s + length], 0.0) * kernel[s]
    return dx


def _kernel_gradient(inputs: Array, outputs: Array, runs: Runs | None) -> Float[Array, "block dim"]:
    """Sum over positions of dy[t] x[t - s] inside the same block and document, `[C, D]`.

    All pairs of positions are one matrix product. To separate documents, a loop runs over the block's first,
    second, … document. Blocks of usual text have at most two; the loop has as many rounds as needed.
    """
    if runs is None:
        pairs = _outer(inputs, outputs)
    else:

        def one_more(carry: tuple[Array, Array]) -> tuple[Array, Array]:
            rank, total = carry
            here = (runs.rank == rank)[None]
            return rank + 1, total + _outer(jnp.where(here, inputs, 0.0), jnp.where(here, outputs, 0.0))

        dim, block = inputs.shape[0], inputs.shape[-1]
        first = (jnp.zeros((), jnp.int32), jnp.zeros((dim, block, block), jnp.float32))
        most = runs.last.max()
        _, pairs = jax.lax.while_loop(lambda carry: carry[0] <= most, one_more, first)
    return jnp.stack([jnp.trace(pairs, s, axis1=1, axis2=2) for s in range(pairs.shape[-1])])


def _shifted_products(x: Array, dy: Array, block: int, runs: Runs | None) -> Float[Array, "block dim"]:
    """The same as `_kernel_gradient`, a sum for each s, without a loop whose end depends on the documents."""
    reach, length = _reach(x, block, runs)[..., None], x.shape[1]
    before = jnp.pad(x, ((0, 0), (block - 1, 0), (0, 0)))
    shifted = (before[:, block - 1 - s : block - 1 - s + length] for s in range(block))
    return jnp.stack([(jnp.where(reach >= s, some, 0.0) * dy).sum((0, 1)) for s, some in enumerate(shifted)])


# Between blocks ------------------------------------------------------------------------------


def _blocks(x: Float[Array, "batch time dim"], block: int) -> Float[Array, "dim batch blocks block"]:
    batch, length, dim = x.shape
    return jnp.transpose(x.reshape(batch, length // block, block, dim), (3, 0, 1, 2))


def _rows(values: Float[Array, "dim batch blocks block"]) -> Float[Array, "batch time dim"]:
    dim, batch, blocks, block = values.shape
    return jnp.transpose(values, (1, 2, 3, 0)).reshape(batch, blocks * block, dim)


def _only_first(values: Array, runs: Runs | None) -> Array:
    """Zero but where the document is the one that was going on before the block."""
    return values if runs is None else jnp.where((runs.rank == 0)[None], values, 0.0)


def _only_last(values: Array, runs: Runs | None) -> Array:
    """Zero but where the document is the block's last."""
    return values if runs is None else jnp.where((runs.rank == runs.last[..., None])[None], values, 0.0)


def _product(values: Float[Array, "dim batch blocks m"], by: Float[Array, "dim m k"]) -> Array:
    """A matrix product for each channel, `[D, B, n, k]`."""
    dim, batch, blocks, m = values.shape
    products = jnp.matmul(values.reshape(dim, batch * blocks, m), by, precision=FULL)
    return products.reshape(dim, batch, blocks, -1)


def _outer(a: Float[Array, "dim batch blocks m"], b: Float[Array, "dim batch blocks k"]) -> Float[Array, "dim m k"]:
    """Sum over blocks of all products, for each channel."""
    a, b = (one.reshape(one.shape[0], -1, one.shape[-1]) for one in (a, b))
    return jnp.matmul(jnp.swapaxes(a, 1, 2), b, precision=FULL)


def _block_by_block(values: Array, runs: Runs | None) -> tuple[Array, Bool[Array, "blocks batch"] | None]:
    """What a scan over blocks reads: values, the block first, and whether a document goes on through each.

    A scan writes into memory of its own. A loop that replaced each value by a state would hold less, but the compiler
    copies all of them in every turn of it.
    """
    return jnp.moveaxis(values, 2, 0), None if runs is None else (runs.last == 0).T


def _carried(inputs: Array, coefficients: Coefficients, start: Array, runs: Runs | None, parallel: bool) -> Array:
    """States before each block, `[D, B, n, 2 N]`."""
    left = _product(_only_last(inputs, runs), coefficients.feed)
    if parallel:
        return states_between_blocks(left, coefficients.decay, start, None if runs is None else runs.last)[0]

    def step(state: Array, block: tuple[Array, Array | None]) -> tuple[Array, Array]:
        here, goes_on = block
        return here + if_it_goes_on(turned(state, *coefficients.decay), goes_on), state

    _, states = jax.lax.scan(step, start, _block_by_block(left, runs))
    return jnp.moveaxis(states, 0, 2)


def _carried_back(d_carried: Array, decay: Array, runs: Runs | None, parallel: bool) -> tuple[Array, Array]:
    """Gradients of what each block leaves behind, `[D, B, n, 2 N]`, and of the start."""
    zero = jnp.zeros_like(d_carried[:, :, 0])
    if parallel:
        return states_between_blocks(
            d_carried,
            decay * jnp.array([1.0, -1.0])[:, None, None],
            zero,
            None if runs is None else runs.last,
            reverse=True,
        )

    def step(d_state: Array, block: tuple[Array, Array | None]) -> tuple[Array, Array]:
        here, goes_on = block
        return here + if_it_goes_on(turned(d_state, decay[0], -decay[1]), goes_on), d_state

    d_start, d_left = jax.lax.scan(step, zero, _block_by_block(d_carried, runs), reverse=True)
    return jnp.moveaxis(d_left, 0, 2), d_start


def _decay_gradient(carried: Array, d_left: Array, runs: Runs | None) -> Float[Array, "2 dim ndim"]:
    if runs is not None:
        carried = jnp.where((runs.last == 0)[None, ..., None], carried, 0.0)
    h_real, h_imag = jnp.split(carried, 2, -1)
    d_real, d_imag = jnp.split(d_left, 2, -1)
    return jnp.stack([(d_real * h_real + d_imag * h_imag).sum((1, 2)), (d_imag * h_real - d_real * h_imag).sum((1, 2))])
