"""What is read from a compiled program: loops, waits, products by dtype, bytes, donation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from chomp.analysis.structure import LAUNCH_SECONDS, Structure, read_structure
from chomp.device.cards import CARDS
from chomp.train.hlo import read_module

HIGHEST = jax.lax.Precision.HIGHEST


def structure_of(function: Any, *shapes: tuple[int, ...], donate: tuple[int, ...] = ()) -> Structure:
    """As XLA compiles it for this machine's CPU, with loops and products as a GPU's program has them."""
    given = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    program = jax.jit(function, donate_argnums=donate).lower(*given).compile()
    (module,) = program.runtime_executable().hlo_modules()
    return read_structure(read_module(module.as_serialized_hlo_module_proto()))


def test_a_product_counts_two_operations_for_each_of_its_terms_and_turns() -> None:
    def steps(a: Any, b: Any) -> Any:
        return jax.lax.scan(lambda x, _: (jnp.tanh(jnp.matmul(x, b, precision=HIGHEST)), None), a, None, length=5)[0]

    found = structure_of(steps, (300, 200), (200, 200))
    assert found.products == {"fp32": pytest.approx(5 * 2 * 300 * 200 * 200)}
    assert [loop.turns for loop in found.loops] == [5]
    assert (found.loop_turns, found.host_syncs) == (5, 0)
    assert found.launches >= 5 * 2
    assert found.bytes >= 5 * 4 * (300 * 200 * 2 + 200 * 200)


def test_products_of_rounded_inputs_are_told_from_exact_ones_and_the_optimizer_s_from_others() -> None:
    def both(a: Any, b: Any) -> Any:
        with jax.named_scope("optimizer"):
            exact = jnp.matmul(a, b, precision=HIGHEST)
        return exact, jnp.matmul(b, b)

    found = structure_of(both, (64, 256), (256, 256))
    assert found.products == {"fp32": 2 * 64 * 256 * 256, "tf32": 2 * 256**3}
    assert found.optimizer_products == {"fp32": 2 * 64 * 256 * 256}
    assert found.share_outside_optimizer("tf32") == 1.0
    assert found.share_outside_optimizer("fp32", "bf16") == 0.0


def test_a_loop_that_the_device_ends_makes_the_host_wait() -> None:
    found = structure_of(lambda x: jax.lax.while_loop(lambda x: x.sum() < 1e3, lambda x: x * 1.5 + 1, x), (8,))
    assert [loop.turns for loop in found.loops] == [None]
    assert found.host_syncs == 1


def test_donated_inputs_are_counted() -> None:
    assert structure_of(lambda x, y: (x + 1, y * 2), (16,), (4,)).donated == 0
    assert structure_of(lambda x, y: (x + 1, y * 2), (16,), (4,), donate=(0, 1)).donated == 2


def test_a_slice_counts_its_own_bytes() -> None:
    """A scan over rows reads each once, not the whole array in every turn."""

    def rows(a: Any) -> Any:
        return jax.lax.scan(lambda total, row: (jnp.sin(total) + row, None), jnp.zeros(1000), a)[0]

    found = structure_of(rows, (100, 1000))
    assert 100 * 4 * 1000 <= found.bytes < 20 * 100 * 4 * 1000


def test_bounds_are_the_card_s_rates() -> None:
    found = Structure(1000, 0, (), {"bf16": 1e15, "tf32": 1e14}, {}, 0, 1e12, {}, 0)
    card = CARDS["h200"]
    bounds = found.bounds(card)
    assert bounds["products"] == pytest.approx(1e15 / card.bf16_flops + 2e14 / card.bf16_flops)
    assert bounds["bytes"] == pytest.approx(1e12 / 4.8e12)
    assert bounds["launches"] == pytest.approx(1000 * LAUNCH_SECONDS)
