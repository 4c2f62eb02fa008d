"""Megalodon's moving average as Pallas kernels for GPUs (Triton lowering): each state stays in registers.

The recurrence of Ma et al. 2024 (Megalodon, arXiv 2404.08801, equation 2) over a row, for each channel and N complex
states, with `keep` 0 where a document begins:

    h[t] = keep[t] q h[t - 1] + p x[t]        y[t] = Re(γ h[t]) summed over states + ω x[t]

A row is cut into chunks that are computed side by side: first each chunk's last state from zero, then the states with
which chunks begin, then each chunk from there. The backward pass does the same from the right for the gradients λ of
the states, and computes a chunk's states again, a few steps at a time:

    λ[t] = conj(γ) dy[t] + keep[t + 1] conj(q) λ[t + 1]
    dx = Re(p λ) + ω dy    dp = Re(λ) x    dq = λ conj(keep h[t - 1])    dγ = dy conj(h)

What is read and written is x and y in their own dtype, once or twice each; all sums are fp32.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Complex, Float, Int
from megalodon_jax.layers.segments import SegmentMetadata

from chomp.model.cema import BlockwiseEMA

CHUNK = 128
"""Positions of a chunk: a row of 2,048 is 16 chunks, which with 16 channels each fill the largest GPUs."""
UNROLLED = 16
"""Steps between two states that the backward pass stores; their states are held in registers."""
CHANNELS = 16
"""Channels of one program: 32 bytes of bf16, which is what a GPU reads at once."""
WARPS = 4

# Rows of the coefficients.
P, Q_REAL, Q_IMAG, GAMMA_REAL, GAMMA_IMAG = range(5)


class KernelEMA(BlockwiseEMA):
    """The library's `ComplexEMA`, its parameters and its meaning, computed by the kernels of this module.

    Left to `BlockwiseEMA`: a state that comes in. Left to the library: what `BlockwiseEMA` leaves to it.
    """

    interpret: bool = eqx.field(static=True, default=False)
    chunk: int = eqx.field(static=True, default=CHUNK)

    def averaged(
        self,
        x: Float[Array, "batch seq dim"],
        h_init: Complex[Array, "batch dim ndim"] | None,
        documents: SegmentMetadata | None,
    ) -> Float[Array, "batch seq dim"]:
        """See `BlockwiseEMA.averaged`."""
        if h_init is not None:
            return super().averaged(x, h_init, documents)
        keep = jnp.ones(x.shape[:2], bool) if documents is None else ~documents.boundaries
        alpha, magnitude, angle, gamma_real, gamma_imag = self.recurrence()
        real, imag = magnitude * jnp.cos(angle), magnitude * jnp.sin(angle)
        numbers = jnp.stack([alpha, real, imag, gamma_real, gamma_imag])
        omega = self.omega.astype(jnp.float32)
        return moving_average_kernel(x, keep.astype(jnp.int32), numbers, omega, self.chunk, self.interpret)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def moving_average_kernel(
    x: Float[Array, "batch time dim"],
    keep: Int[Array, "batch time"],
    coefficients: Float[Array, "5 dim states"],
    omega: Float[Array, " dim"],
    chunk: int,
    interpret: bool,
) -> Float[Array, "batch time dim"]:
    """Return y of the module's recurrence in the dtype of `x`.

    Args:
        x: zero where nothing is to be taken in.
        keep: 0 where a document, or padding, begins, else 1.
        coefficients: p, real and imaginary parts of q and of γ, fp32.
        omega: the skip's weight of each channel, fp32.
        chunk: positions that are computed one after another, a multiple of `UNROLLED`.
        interpret: run the kernels' steps as usual operations, on a device that has no kernels.
    """
    return _forward(x, keep, coefficients, omega, chunk, interpret)[0]


def _forward(
    x: Array, keep: Array, coefficients: Array, omega: Array, chunk: int, interpret: bool
) -> tuple[Array, tuple[Array, Array, Array, Array, Array]]:
    shapes = _Shapes(x, coefficients, chunk)
    rows, kept, numbers = shapes.padded(x), shapes.padded(keep), shapes.padded_states(coefficients)
    (ends,) = shapes.call(_carry_forward, interpret, "cema_carry", "rows keep numbers", "states")(rows, kept, numbers)
    starts = shapes.joined(ends, kept, numbers, interpret, is_reverse=False)
    average = shapes.call(_average, interpret, "cema", "rows keep numbers states omega", "rows")
    (y,) = average(rows, kept, numbers, starts, omega)
    return y[:, : x.shape[1]], (x, keep, coefficients, omega, starts)


def _backward(
    chunk: int, interpret: bool, saved: tuple[Array, Array, Array, Array, Array], dy: Array
) -> tuple[Array, None, Array, Array]:
    x, keep, coefficients, omega, starts = saved
    shapes = _Shapes(x, coefficients, chunk)
    rows, kept, numbers = shapes.padded(x), shapes.padded(keep), shapes.padded_states(coefficients)
    slopes = shapes.padded(dy)
    carry = shapes.call(_carry_backward, interpret, "cema_carry_back", "rows keep numbers", "states")
    (ends,) = carry(slopes, kept, numbers)
    incoming = shapes.joined(ends, kept, numbers, interpret, is_reverse=True)
    inputs, outputs = "rows keep numbers states omega rows states", "rows d_numbers d_omega scratch"
    kernel = functools.partial(_gradients, barrier=not interpret)
    back = shapes.call(kernel, interpret, "cema_back", inputs, outputs)
    dx, d_numbers, d_omega, _ = back(rows, kept, numbers, starts, omega, slopes, incoming)
    d_coefficients = d_numbers.sum((0, 1))[..., : coefficients.shape[-1]]
    return dx[:, : x.shape[1]], None, d_coefficients, d_omega.sum((0, 1))


moving_average_kernel.defvjp(_forward, _backward)


class _Shapes:
    """How arrays are cut for the programs, whose grid is (batch, groups of channels, chunks)."""

    def __init__(self, x: Array, coefficients: Array, chunk: int) -> None:
        self.batch, length, self.dim = x.shape
        self.dtype = x.dtype
        self.block = math.gcd(self.dim, CHANNELS)
        self.chunk = min(chunk, -(-length // UNROLLED) * UNROLLED)
        self.length = -(-length // self.chunk) * self.chunk
        self.chunks = self.length // self.chunk
        self.width = pl.next_power_of_2(coefficients.shape[-1])

    def padded(self, rows: Array) -> Array:
        """Whole chunks; what is added keeps nothing and takes nothing in."""
        spare = self.length - rows.shape[1]
        return jnp.pad(rows, ((0, 0), (0, spare), *((0, 0),) * (rows.ndim - 2))) if spare else rows

    def padded_states(self, coefficients: Array) -> Array:
        """A power of two of states; those that are added are zero."""
        spare = self.width - coefficients.shape[-1]
        return jnp.pad(coefficients, ((0, 0), (0, 0), (0, spare))) if spare else coefficients

    def call(self, kernel: Any, interpret: bool, name: str, inputs: str, outputs: str) -> Any:
        """A `pallas_call` whose programs each see one chunk of a group of channels.

        Args:
            inputs, outputs: names of the kinds in `array`, in order.
        """
        results = [self.array(kind) for kind in outputs.split()]
        return pl.pallas_call(
            kernel,
            grid=(self.batch, self.dim // self.block, self.chunks),
            in_specs=[self.array(kind)[1] for kind in inputs.split()],
            out_specs=[spec for _, spec in results],
            out_shape=[shape for shape, _ in results],
            compiler_params=plgpu.CompilerParams(num_warps=WARPS, num_stages=1),
            interpret=interpret,
            name=name,
        )

    def array(self, kind: str) -> tuple[jax.ShapeDtypeStruct, pl.BlockSpec]:
        """The shape of an array, and what a program sees of it."""
        lead, size, width = (self.batch, self.chunks), self.block, self.width
        blocks = self.chunk // UNROLLED
        shape, block, place = {
            "rows": ((self.batch, self.length, self.dim), (None, self.chunk, size), lambda b, d, c: (b, c, d)),
            "keep": ((self.batch, self.length), (None, self.chunk), lambda b, d, c: (b, c)),
            "numbers": ((5, self.dim, width), (5, size, width), lambda b, d, c: (0, d, 0)),
            "omega": ((self.dim,), (size,), lambda b, d, c: (d,)),
            # Of each chunk: real and imaginary parts; gradients of the numbers; a number of each channel.
            "states": ((*lead, 2, self.dim, width), (None, None, 2, size, width), lambda b, d, c: (b, c, 0, d, 0)),
            "d_numbers": ((*lead, 5, self.dim, width), (None, None, 5, size, width), lambda b, d, c: (b, c, 0, d, 0)),
            "d_omega": ((*lead, self.dim), (None, None, size), lambda b, d, c: (b, c, d)),
            # States before every `UNROLLED` steps of a chunk.
            "scratch": (
                (*lead, blocks, 2, self.dim, width), (None, None, blocks, 2, size, width),
                lambda b, d, c: (b, c, 0, 0, d, 0),
            ),
        }[kind]  # fmt: skip
        return jax.ShapeDtypeStruct(shape, self.dtype if kind == "rows" else jnp.float32), pl.BlockSpec(block, place)

    def joined(self, ends: Array, keep: Array, numbers: Array, interpret: bool, *, is_reverse: bool) -> Array:
        """From what each chunk leaves behind, were nothing carried into it: what is carried into each chunk."""
        goes_on = keep.reshape(self.batch, self.chunks, self.chunk).min(-1)
        kernel = functools.partial(_join, chunks=self.chunks, chunk=self.chunk, is_reverse=is_reverse)
        whole = (None, self.chunks, 2, self.block, self.width)
        return pl.pallas_call(
            kernel,
            grid=(self.batch, self.dim // self.block),
            in_specs=[
                pl.BlockSpec(whole, lambda b, d: (b, 0, 0, d, 0)),
                pl.BlockSpec((None, self.chunks), lambda b, d: (b, 0)),
                pl.BlockSpec((5, self.block, self.width), lambda b, d: (0, d, 0)),
            ],
            out_specs=pl.BlockSpec(whole, lambda b, d: (b, 0, 0, d, 0)),
            out_shape=self.array("states")[0],
            compiler_params=plgpu.CompilerParams(num_warps=WARPS, num_stages=1),
            interpret=interpret,
            name="cema_join_back" if is_reverse else "cema_join",
        )(ends, goes_on, numbers)


# Steps of the recurrences --------------------------------------------------------------------


def _times(real: Array, imag: Array, by_real: Array, by_imag: Array) -> tuple[Array, Array]:
    return real * by_real - imag * by_imag, real * by_imag + imag * by_real


def _kept(keep: Array, real: Array, imag: Array) -> tuple[Array, Array]:
    """Zero where a document begins, even of a NaN."""
    return jnp.where(keep > 0, real, 0.0), jnp.where(keep > 0, imag, 0.0)


def _step(state: tuple[Array, Array], x: Array, keep: Array, numbers: Any) -> tuple[Array, Array]:
    """One state on; `x` is `[channels, 1]`."""
    real, imag = _kept(keep, *_times(*state, numbers[Q_REAL], numbers[Q_IMAG]))
    return real + numbers[P] * x, imag


def _step_back(
    incoming: tuple[Array, Array], slope: Array, keep: Array, numbers: Any
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """λ of a position, and what it hands to the one before; `slope` is dy, `[channels, 1]`."""
    real, imag = incoming[0] + numbers[GAMMA_REAL] * slope, incoming[1] - numbers[GAMMA_IMAG] * slope
    return (real, imag), _kept(keep, *_times(real, imag, numbers[Q_REAL], -numbers[Q_IMAG]))


def _loaded(numbers_ref: Any) -> list[Array]:
    return [numbers_ref[place] for place in range(5)]


def _column(ref: Any, place: Any) -> Array:
    return ref[place].astype(jnp.float32)[:, None]


# Kernels -------------------------------------------------------------------------------------


def _carry_forward(x_ref: Any, keep_ref: Any, numbers_ref: Any, ends_ref: Any) -> None:
    numbers = _loaded(numbers_ref)
    zero = jnp.zeros(numbers[P].shape, jnp.float32)

    def steps(block: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        for one in range(UNROLLED):
            at = block * UNROLLED + one
            state = _step(state, _column(x_ref, at), keep_ref[at], numbers)
        return state

    ends_ref[0], ends_ref[1] = jax.lax.fori_loop(0, x_ref.shape[0] // UNROLLED, steps, (zero, zero))


def _carry_backward(slopes_ref: Any, keep_ref: Any, numbers_ref: Any, ends_ref: Any) -> None:
    numbers = _loaded(numbers_ref)
    zero, length = jnp.zeros(numbers[P].shape, jnp.float32), slopes_ref.shape[0]

    def steps(block: Array, incoming: tuple[Array, Array]) -> tuple[Array, Array]:
        for one in range(UNROLLED):
            at = length - 1 - (block * UNROLLED + one)
            _, incoming = _step_back(incoming, _column(slopes_ref, at), keep_ref[at], numbers)
        return incoming

    ends_ref[0], ends_ref[1] = jax.lax.fori_loop(0, length // UNROLLED, steps, (zero, zero))


def _join(
    ends_ref: Any, goes_on_ref: Any, numbers_ref: Any, starts_ref: Any, *, chunks: int, chunk: int, is_reverse: bool
) -> None:
    real, imag = numbers_ref[Q_REAL], numbers_ref[Q_IMAG]
    if is_reverse:
        imag = -imag
    # q to the power of the chunk's length, by squaring.
    power = (jnp.ones(real.shape, jnp.float32), jnp.zeros(real.shape, jnp.float32))
    square = (real, imag)
    for bit in range(chunk.bit_length()):
        if chunk >> bit & 1:
            power = _times(*power, *square)
        square = _times(*square, *square)
    zero = jnp.zeros(real.shape, jnp.float32)

    def one(number: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        at = chunks - 1 - number if is_reverse else number
        starts_ref[at, 0], starts_ref[at, 1] = state
        real, imag = _kept(goes_on_ref[at], *_times(*state, *power))
        return real + ends_ref[at, 0], imag + ends_ref[at, 1]

    jax.lax.fori_loop(0, chunks, one, (zero, zero))


def _average(x_ref: Any, keep_ref: Any, numbers_ref: Any, starts_ref: Any, omega_ref: Any, y_ref: Any) -> None:
    numbers, omega = _loaded(numbers_ref), omega_ref[...]

    def steps(block: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        for one in range(UNROLLED):
            at = block * UNROLLED + one
            x = _column(x_ref, at)
            state = _step(state, x, keep_ref[at], numbers)
            found = (numbers[GAMMA_REAL] * state[0] - numbers[GAMMA_IMAG] * state[1]).sum(1)
            y_ref[at] = (found + omega * x[:, 0]).astype(y_ref.dtype)
        return state

    jax.lax.fori_loop(0, x_ref.shape[0] // UNROLLED, steps, (starts_ref[0], starts_ref[1]))


def _gradients(
    x_ref: Any, keep_ref: Any, numbers_ref: Any, starts_ref: Any, omega_ref: Any, slopes_ref: Any, incoming_ref: Any,
    dx_ref: Any, d_numbers_ref: Any, d_omega_ref: Any, scratch_ref: Any, *, barrier: bool,
) -> None:  # fmt: skip
    numbers, omega = _loaded(numbers_ref), omega_ref[...]
    blocks = x_ref.shape[0] // UNROLLED

    def store(block: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        scratch_ref[block, 0], scratch_ref[block, 1] = state
        for one in range(UNROLLED):
            at = block * UNROLLED + one
            state = _step(state, _column(x_ref, at), keep_ref[at], numbers)
        return state

    jax.lax.fori_loop(0, blocks, store, (starts_ref[0], starts_ref[1]))
    if barrier:
        plgpu.debug_barrier()
    zero = jnp.zeros(numbers[P].shape, jnp.float32)

    def steps(number: Array, carry: Any) -> Any:
        incoming, sums, d_omega = carry
        block = blocks - 1 - number
        states = [(scratch_ref[block, 0], scratch_ref[block, 1])]
        inputs, keeps = [], []
        for one in range(UNROLLED):
            at = block * UNROLLED + one
            inputs.append(_column(x_ref, at))
            keeps.append(keep_ref[at])
            states.append(_step(states[-1], inputs[-1], keeps[-1], numbers))
        for one in reversed(range(UNROLLED)):
            at = block * UNROLLED + one
            slope = _column(slopes_ref, at)
            slopes, incoming = _step_back(incoming, slope, keeps[one], numbers)
            dx_ref[at] = ((numbers[P] * slopes[0]).sum(1) + omega * slope[:, 0]).astype(dx_ref.dtype)
            before, after = _kept(keeps[one], *states[one]), states[one + 1]
            sums = (
                sums[0] + slopes[0] * inputs[one],
                sums[1] + slopes[0] * before[0] + slopes[1] * before[1],
                sums[2] - slopes[0] * before[1] + slopes[1] * before[0],
                sums[3] + slope * after[0],
                sums[4] - slope * after[1],
            )
            d_omega = d_omega + (slope * inputs[one])[:, 0]
        return incoming, sums, d_omega

    begin = ((incoming_ref[0], incoming_ref[1]), (zero,) * 5, jnp.zeros(omega.shape, jnp.float32))
    _, sums, d_omega = jax.lax.fori_loop(0, blocks, steps, begin)
    for place, value in enumerate(sums):
        d_numbers_ref[place] = value
    d_omega_ref[...] = d_omega
