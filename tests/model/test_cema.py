"""The moving average in blocks is the library's, and the recurrence in float64, wherever documents begin."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from megalodon_jax.layers.complex_ema import ComplexEMA

from chomp.model.build import build_model
from chomp.model.cema import BlockwiseEMA
from chomp.model.cema_kernel import KernelEMA
from chomp.model.megalodon import computed_by_documents
from chomp.model.paths import named_leaves
from chomp.model.swap_layers import swap_layer
from tests.model.tiny import model_config

ROWS, DIM, NDIM = 2, 3, 4
NAMES = ("alpha", "delta", "theta", "gamma_real", "gamma_imag", "omega")
# Of the largest number compared. An angle's rounding, 6e-8, grows with the distance it is carried, here up to 70
# positions, and its gradient by the same factor again; the library's own error is as large (8e-6 at slow decay).
OUTPUT_ERROR, GRADIENT_ERROR = 2e-6, 2e-5
# Logits of the two factors of 1 - |q|: |q| is 0, tiny, usual, just below 1, and 1.
DECAYS = {"none left": 40.0, "little left": 4.0, "usual": 0.0, "hardly any lost": -6.0, "none lost": -40.0}

Arrays = dict[str, Any]

FORMS: dict[str, tuple[type[BlockwiseEMA], Arrays]] = {
    "blockwise": (BlockwiseEMA, {}),
    "parallel": (BlockwiseEMA, {"parallel": True}),
    "kernel": (KernelEMA, {"interpret": True}),
    "kernel of several chunks": (KernelEMA, {"interpret": True, "chunk": 32}),
}
# One chunk alone is among the forms that hypothesis draws.
every_form = pytest.mark.parametrize("form", [form for form in FORMS if form != "kernel"])


def module(logit: float = 0.0, form: str = "blockwise", **settings: Any) -> BlockwiseEMA:
    """A module with complex outputs whose decay factors lie around a logit."""
    kind, own = FORMS[form]
    rng = np.random.default_rng(3)
    made = ComplexEMA(DIM, NDIM, key=jax.random.key(1))
    made = eqx.tree_at(lambda m: m.gamma_imag, made, jnp.asarray(rng.normal(size=(DIM, NDIM)), jnp.float32))
    made = eqx.tree_at(lambda m: (m.alpha, m.delta), made, replace_fn=lambda value: value + logit)
    return swap_layer(made, kind, **own, **settings)


def library(ema: BlockwiseEMA) -> ComplexEMA:
    made = ComplexEMA(DIM, NDIM, key=jax.random.key(0))
    return eqx.tree_at(lambda m: [getattr(m, n) for n in NAMES], made, [getattr(ema, n) for n in NAMES])


def inputs(length: int, dtype: Any = jnp.float32) -> tuple[jax.Array, jax.Array]:
    """Inputs, and weights that make one number of the outputs."""
    rng = np.random.default_rng(length)
    x, weights = rng.normal(size=(2, ROWS, DIM, length))
    return jnp.asarray(x, dtype), jnp.asarray(weights, jnp.float32)


def recurrence(values: Arrays, x: Any, segment_ids: Any) -> Any:
    """The formulas of `chomp.model.cema`, one position after another, in the precision of its arguments."""
    alpha, delta, theta = (jax.nn.sigmoid(values[name][..., 0]) for name in ("alpha", "delta", "theta"))
    angle = theta * (2 * math.pi / NDIM) * np.arange(1, NDIM + 1)
    q = (1 - alpha * delta) * jnp.exp(1j * angle)
    gamma = (values["gamma_real"] + 1j * values["gamma_imag"]) / math.sqrt(NDIM)
    x = jnp.where(segment_ids[:, None] > 0, x, 0)
    begins = jnp.diff(segment_ids, axis=1, prepend=-1) != 0

    def step(h: Any, now: tuple[Any, Any]) -> tuple[Any, Any]:
        x_now, begin = now
        h = q * jnp.where(begin[:, None, None], 0, h) + alpha * x_now[..., None]
        return h, (h * gamma).real.sum(-1)

    start = jnp.zeros((ROWS, DIM, NDIM), q.dtype)
    _, y = jax.lax.scan(step, start, (jnp.moveaxis(x, -1, 0), begins.T))
    return jnp.moveaxis(y, 0, -1) + values["omega"][:, None] * x


@jax.jit
def recurrence_and_gradients(values: Arrays, weights: Any, segment_ids: Any) -> Any:
    def total(given: Arrays) -> tuple[Any, Any]:
        y = recurrence(given, given["x"], segment_ids)
        return (y * weights).sum(), y

    return jax.value_and_grad(total, has_aux=True)(values)


def in_float64(ema: BlockwiseEMA, x: jax.Array, weights: jax.Array, segment_ids: np.ndarray) -> tuple[Any, Arrays]:
    """Outputs and gradients of the recurrence in float64, by name; `x` is that of the inputs."""
    with jax.enable_x64(True):
        values = {name: jnp.asarray(np.asarray(getattr(ema, name)), jnp.float64) for name in NAMES}
        values["x"] = jnp.asarray(np.asarray(x, np.float64))
        wanted = jnp.asarray(np.asarray(weights), jnp.float64)
        (_, y), gradients = recurrence_and_gradients(values, wanted, jnp.asarray(segment_ids))
        return np.asarray(y), {name: np.asarray(value) for name, value in gradients.items()}


@eqx.filter_jit
def outputs_and_gradients(ema: ComplexEMA, x: jax.Array, weights: jax.Array, segment_ids: Any) -> Any:
    def total(given: tuple[ComplexEMA, jax.Array]) -> tuple[jax.Array, jax.Array]:
        module, x = given
        y, _ = module(x, segment_ids=segment_ids)
        return (y.astype(jnp.float32) * weights).sum(), y

    (_, y), (d_ema, d_x) = eqx.filter_value_and_grad(total, has_aux=True)((ema, x))
    return y, {**{name: getattr(d_ema, name) for name in NAMES}, "x": d_x}


def assert_close(ours: Any, theirs: Any, tolerance: float, what: str) -> None:
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert np.isfinite(ours).all(), what
    error = np.abs(ours - theirs).max(initial=0.0)
    assert error <= tolerance * max(1.0, float(np.abs(theirs).max(initial=0.0))), (what, error)


def assert_same(ema: BlockwiseEMA, segment_ids: np.ndarray) -> None:
    """Outputs and all gradients are those of float64, and no further from the library's."""
    x, weights = inputs(segment_ids.shape[1])
    y, gradients = outputs_and_gradients(ema, x, weights, jnp.asarray(segment_ids))
    exact_y, exact = in_float64(ema, x, weights, segment_ids)
    assert_close(y, exact_y, OUTPUT_ERROR, "y")
    for name, gradient in gradients.items():
        assert_close(gradient, exact[name], GRADIENT_ERROR, name)


def documents(length: int, starts: Any) -> np.ndarray:
    return (np.cumsum(np.isin(np.arange(length), list(starts))) + 1).astype(np.int32)


ROWS_OF_DOCUMENTS: dict[str, Callable[[int], np.ndarray]] = {
    "one document": lambda n: documents(n, ()),
    "every position begins one": lambda n: documents(n, range(n)),
    "one across many blocks, then short ones": lambda n: documents(n, range(n - 5, n, 2)),
    "at every block's first position": lambda n: documents(n, range(0, n, 16)),
    "at every block's last position": lambda n: documents(n, range(15, n, 16)),
    "padding behind": lambda n: np.where(np.arange(n) < n - 7, documents(n, (20, 21)), 0),
    "all padding": lambda n: np.zeros(n, np.int32),
    "ids used again": lambda n: np.where((np.arange(n) // 9) % 2 == 0, 1, 2),
}


@every_form
@pytest.mark.parametrize("rows", ROWS_OF_DOCUMENTS)
def test_outputs_and_gradients_are_those_of_float64(rows: str, form: str) -> None:
    first = ROWS_OF_DOCUMENTS[rows](70)
    assert_same(module(form=form), np.stack([first, documents(70, (3, 33))]).astype(np.int32))


@every_form
@pytest.mark.parametrize("decay", DECAYS)
def test_extreme_decays_lose_nothing(decay: str, form: str) -> None:
    assert_same(module(DECAYS[decay], form), np.stack([documents(70, ()), documents(70, (3, 33))]))


@pytest.mark.compile
@settings(max_examples=6, deadline=None)
@given(
    data=st.data(),
    length=st.sampled_from([1, 17, 48]),
    block=st.sampled_from([4, 16]),
    form=st.sampled_from(list(FORMS)),
    decay=st.sampled_from(list(DECAYS.values())),
)
def test_any_boundaries_lengths_blocks_and_decays(
    data: st.DataObject, length: int, block: int, form: str, decay: float
) -> None:
    ids = st.lists(st.integers(0, 3), min_size=length, max_size=length)
    assert_same(module(decay, form, block=block), np.array([data.draw(ids), data.draw(ids)], np.int32))


@pytest.mark.parametrize("segmented", [False, True])
def test_the_library_says_the_same(segmented: bool) -> None:
    x, weights = inputs(70)
    segment_ids = jnp.asarray(np.stack([documents(70, (9, 40)), documents(70, (1, 64))])) if segmented else None
    ours = outputs_and_gradients(module(), x, weights, segment_ids)
    theirs = outputs_and_gradients(library(module()), x, weights, segment_ids)
    assert_close(ours[0], theirs[0], OUTPUT_ERROR, "y")
    for name in ours[1]:
        assert_close(ours[1][name], theirs[1][name], GRADIENT_ERROR, name)


@every_form
def test_bf16_inputs_give_bf16_outputs_of_fp32_sums(form: str) -> None:
    x, weights = inputs(70, jnp.bfloat16)
    weights = weights.astype(jnp.bfloat16).astype(jnp.float32)
    segment_ids = np.stack([documents(70, (9, 40)), documents(70, (1, 64))])
    y, gradients = outputs_and_gradients(module(form=form), x, weights, jnp.asarray(segment_ids))
    exact_y, exact = in_float64(module(), x, weights, segment_ids)
    assert y.dtype == gradients["x"].dtype == jnp.bfloat16
    assert_close(y, exact_y, 2**-8, "y")
    # What goes into the parameters' gradients is rounded nowhere.
    for name in NAMES:
        assert_close(gradients[name], exact[name], GRADIENT_ERROR, name)


@eqx.filter_jit
def outputs_and_state(ema: ComplexEMA, x: Any, state: Any, mask: Any) -> Any:
    return ema(x, state, return_state=True, mask=mask)


@eqx.filter_jit
def gradient_of_state(ema: ComplexEMA, x: Any, state: Any) -> Any:
    return jax.grad(lambda h: (ema(x, h)[0] ** 2).sum())(state)


@pytest.mark.parametrize("length", [1, 31, 32, 77])
def test_a_state_goes_in_and_comes_out(length: int) -> None:
    x, _ = inputs(length)
    rng = np.random.default_rng(0)
    state = jnp.asarray(rng.normal(size=(ROWS, DIM, NDIM)) + 1j * rng.normal(size=(ROWS, DIM, NDIM)), jnp.complex64)
    mask = jnp.asarray(rng.random((ROWS, length)) < 0.9)
    for given_state in (state, None):
        ours, theirs = (outputs_and_state(each, x, given_state, mask) for each in (module(), library(module())))
        assert_close(ours[0], theirs[0], OUTPUT_ERROR, "y")
        assert_close(np.abs(ours[1] - theirs[1]), 0.0, OUTPUT_ERROR, "state")
    ours, theirs = (gradient_of_state(each, x, state) for each in (module(), library(module())))
    assert_close(np.abs(ours - theirs), 0.0, GRADIENT_ERROR, "gradient of the state")


def test_a_state_and_documents_are_refused_as_in_the_library() -> None:
    x, _ = inputs(40)
    with pytest.raises(ValueError, match="segment_ids is not supported together"):
        module()(x, jnp.zeros((ROWS, DIM, NDIM), jnp.complex64), segment_ids=jnp.ones((ROWS, 40), jnp.int32))


@every_form
def test_no_position_sees_what_comes_later_or_another_document(form: str) -> None:
    """Not even as a NaN."""
    x, _ = inputs(70)
    segment_ids = jnp.asarray(np.stack([documents(70, (20, 45))] * ROWS))
    clean, _ = module(form=form)(x, segment_ids=segment_ids)
    spoiled, _ = module(form=form)(x.at[:, :, 30].set(jnp.nan), segment_ids=segment_ids)
    untouched = np.r_[0:30, 45:70]
    np.testing.assert_array_equal(np.asarray(clean)[..., untouched], np.asarray(spoiled)[..., untouched])
    assert np.isnan(np.asarray(spoiled)[..., 30:45]).all()


def test_parameters_keep_their_names_and_the_model_its_function() -> None:
    config = model_config(cema="blockwise", num_layers=2)
    ours = build_model(config)
    params = ours.init(jax.random.key(0))
    theirs = build_model(config.model_copy(update={"cema": "fft"}))
    assert [path for path, _ in named_leaves(params)] == [path for path, _ in named_leaves(theirs.abstract())]
    assert not any(isinstance(part, BlockwiseEMA) for part in _averages(params))
    network = computed_by_documents(params)
    assert [type(part) for part in _averages(network)] == [BlockwiseEMA] * 2
    assert [path for path, _ in named_leaves(network)] == [path for path, _ in named_leaves(params)]
    ids = jnp.asarray(np.random.default_rng(0).integers(3, 61, (2, 40)), jnp.int32)
    first, second = (eqx.filter_jit(one.combine(params).logits)(ids) for one in (ours, theirs))
    assert_close(first, second, 1e-5, "logits")


def _averages(tree: Any) -> list[ComplexEMA]:
    leaves = jax.tree.leaves(tree, is_leaf=lambda part: isinstance(part, ComplexEMA))
    return [leaf for leaf in leaves if isinstance(leaf, ComplexEMA)]
