"""What one step does: its shapes, its memory, its trace, its numbers."""

import jax
import numpy as np
import pytest

from chomp.model.loss import loss_mask
from chomp.step.state import abstract_state, init_state
from chomp.step.train_step import compile_train_step, make_train_step
from tests.model.tiny import loss_sum, packed_batch, parts, shapes_of, tiny_config
from tests.step.running import copied, dummy_run, same, started


def test_abstract_state_is_the_shape_of_a_fresh_one() -> None:
    model_def, optimizer, _ = parts(tiny_config("dummy", optim={"name": "muon"}))
    abstract, state = abstract_state(model_def, optimizer), init_state(model_def, optimizer, 0)
    assert jax.tree.structure(abstract) == jax.tree.structure(state)
    for shape, leaf in zip(jax.tree.leaves(abstract), jax.tree.leaves(state), strict=True):
        assert (shape.shape, shape.dtype) == (leaf.shape, leaf.dtype)


def test_the_seed_decides_parameters_and_dropout() -> None:
    model_def, optimizer, _ = parts(tiny_config("dummy"))
    first, again, other = (init_state(model_def, optimizer, seed) for seed in (0, 0, 1))
    assert same(first, again)
    assert not same(first.params, other.params)
    assert not same(first.rng, other.rng)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_the_whole_state_is_donated(name: str) -> None:
    """Every byte of the state is reused for the next one, but for scalars that XLA may keep apart."""
    config = tiny_config("dummy", optim={"name": name})
    model_def, optimizer, _ = parts(config)
    abstract = abstract_state(model_def, optimizer)
    step = make_train_step(model_def, optimizer, config)
    compiled = compile_train_step(step, abstract, shapes_of(packed_batch(0)))
    state_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(abstract))
    scalar_bytes = sum(leaf.dtype.itemsize for leaf in jax.tree.leaves(abstract) if leaf.size <= 3)
    assert compiled.memory_analysis().alias_size_in_bytes >= state_bytes - scalar_bytes
    state = init_state(model_def, optimizer, 0)
    old = state.params.embed.weight
    compiled(state, packed_batch(0))
    assert old.is_deleted()


def test_a_second_trace_is_an_error() -> None:
    config = tiny_config("dummy")
    model_def, optimizer, _ = parts(config)
    step = make_train_step(model_def, optimizer, config)
    abstract = abstract_state(model_def, optimizer)
    compile_train_step(step, abstract, shapes_of(packed_batch(0)))
    with pytest.raises(RuntimeError, match="traced"):
        compile_train_step(step, abstract, shapes_of(packed_batch(0, seq=32)))


def test_another_shape_is_an_error_not_a_compilation() -> None:
    step, state = dummy_run()
    with pytest.raises(TypeError, match="compiled"):
        step(state, packed_batch(0, seq=32))


def test_the_state_survives_a_trip_through_the_host() -> None:
    """Bits are all there is: a step from a copied state gives the same state and metrics."""
    step, state = dummy_run(optim={"name": "muon"}, model={"dropout": 0.2})
    for seed in range(3):
        state, _ = step(state, packed_batch(seed))
    saved = jax.tree.map(np.asarray, copied(state))
    first = step(state, packed_batch(3))
    second = step(jax.tree.map(jax.numpy.asarray, saved), packed_batch(3))
    assert same(first, second)


def test_loss_is_the_mean_over_the_batch_s_loss_tokens() -> None:
    config = tiny_config("dummy", train={"grad_accum": 3})
    batch = packed_batch(4, accum=3)
    step, state = started(config, batch)
    model_def, _, _ = parts(config)
    model = model_def.combine(copied(state).params)
    sums = [loss_sum(model, batch.input_ids[i], batch.labels[i], batch.segment_ids[i]) for i in range(3)]
    _, metrics = step(state, batch)
    tokens = sum(int(count) for _, count in sums)
    assert int(metrics.tokens) == tokens == loss_mask(batch.labels, batch.segment_ids).sum()
    assert float(metrics.loss) == pytest.approx(sum(float(total) for total, _ in sums) / tokens, rel=1e-6)


def test_isolation_off_ignores_segments() -> None:
    step, state = dummy_run(data={"isolate_documents": False})
    batch = packed_batch(0)
    _, metrics = step(state, batch)
    assert int(metrics.tokens) == loss_mask(batch.labels, None, isolate=False).sum()
    assert int(metrics.tokens) > loss_mask(batch.labels, batch.segment_ids).sum()


@pytest.mark.parametrize(("limit", "clipped"), [(1e-3, True), (0, False), (1e6, False)])
def test_clipping_scales_the_update_and_reports_the_norm_before(limit: float, clipped: bool) -> None:
    """With a huge epsilon Adam is linear in the gradient, so updates show the factor."""
    adam = {"eps": 1e6, "b1": 0.0, "b2": 0.0}
    base = {"warmup_steps": 0, "weight_decay": 0.0, "lr": 1e6, "adam": adam}
    free, state = dummy_run(optim={**base, "grad_clip_norm": 0})
    step, _ = dummy_run(optim={**base, "grad_clip_norm": limit})
    before = np.asarray(state.params.lm_head.bias)
    second = copied(state)
    free_state, free_metrics = free(state, packed_batch(0))
    state, metrics = step(second, packed_batch(0))
    assert float(metrics.grad_norm) == pytest.approx(float(free_metrics.grad_norm), rel=1e-6)
    factor = limit / float(metrics.grad_norm) if clipped else 1.0
    moved = np.asarray(state.params.lm_head.bias) - before
    freely = np.asarray(free_state.params.lm_head.bias) - before
    np.testing.assert_allclose(moved, factor * freely, rtol=1e-2, atol=1e-6 if not clipped else 2e-8)


def test_dropout_changes_with_step_and_micro_batch_and_repeats() -> None:
    """Two equal micro-batches are dropped differently, and so is the same batch a step later."""
    optim = {"lr": 1e-30, "weight_decay": 0.0}
    config = tiny_config("dummy", model={"dropout": 0.5}, optim=optim, train={"grad_accum": 2})
    one = packed_batch(0)
    doubled = jax.tree.map(lambda field: np.concatenate([field, field]), one)
    step, state = started(config, doubled)
    again = copied(state)
    state, first = step(state, doubled)
    _, later = step(state, doubled)
    _, repeated = step(again, doubled)
    single, single_state = started(tiny_config("dummy", model={"dropout": 0.5}, optim=optim), one)
    _, alone = single(single_state, one)
    assert float(first.loss) == float(repeated.loss)
    assert float(first.loss) != float(later.loss)
    assert float(first.loss) != float(alone.loss)


def test_rates_of_both_groups_are_reported() -> None:
    step, state = dummy_run(optim={"name": "muon", "lr": 1e-3, "warmup_steps": 4, "muon": {"lr_scale": 10.0}})
    _, metrics = step(state, packed_batch(0))
    assert float(metrics.lr) == pytest.approx(2.5e-4)
    assert float(metrics.group_lrs["lr_muon"]) == pytest.approx(2.5e-3)
