"""The compiled step fits a GPU: no waits for the host, no loops over blocks, bf16 products, a donated state.

`make gpu-check` installs the CUDA wheels beside chomp and runs this; neither a driver nor a GPU is needed.
"""

from __future__ import annotations

from functools import cache

import pytest

from benchmarks.gpu_structure import configuration
from chomp.analysis.aot import CardProgram, compile_for
from chomp.device.cards import CARDS
from chomp.train.blueprint import build_blueprint

# A length that no other dimension of the models has.
LENGTH, ROWS, MICRO, CHUNK = 1536, 2, 2, 1024
SMALL = (
    "model.num_layers=2", f"train.seq_len={LENGTH}", f"train.batch_size={ROWS}", f"train.grad_accum={MICRO}",
    f"model.loss_chunk_size={CHUNK}",
)  # fmt: skip
MEGALODON = ("model.chunk_size=512",)
# Each step's launches for two layers and two micro-batches, a tenth above what is measured.
MOST_LAUNCHES = {"parallel": 1_800, "kernel": 1_630, "llama": 820}


@cache
def compiled(preset: str, card: str, *overrides: str) -> tuple[CardProgram, int]:
    """The program, and how many arrays its state has."""
    import jax

    blueprint = build_blueprint(configuration(preset, (*SMALL, *overrides)), "gpu")
    return compile_for(CARDS[card], blueprint), len(jax.tree.leaves(blueprint.state))


CASES = {
    "parallel": ("megalodon-200m", "h200", *MEGALODON),
    "kernel": ("megalodon-200m", "h200", *MEGALODON, "model.cema=kernel"),
    "llama": ("nano-125m", "h200"),
}
each_case = pytest.mark.parametrize("case", CASES)


@each_case
def test_no_loop_waits_for_the_host_or_goes_over_blocks(case: str) -> None:
    program, _ = compiled(*CASES[case])
    assert program.structure.host_syncs == 0
    head_chunks = -(-ROWS * (LENGTH - 1) // CHUNK)
    loops = {loop.turns for loop in program.structure.loops}
    assert loops <= {MICRO, head_chunks}, program.structure.loops


@each_case
def test_products_outside_the_optimizer_are_bf16(case: str) -> None:
    program, _ = compiled(*CASES[case])
    assert sum(program.structure.products.values()) > 0
    assert program.structure.share_outside_optimizer("tf32", "fp32") <= 0.10


@each_case
def test_the_whole_state_is_donated(case: str) -> None:
    program, arrays = compiled(*CASES[case])
    assert program.structure.donated >= arrays
    assert program.memory["alias"] > 0.9 * program.memory["output"]


@pytest.mark.parametrize("case", ["parallel", "kernel"])
def test_no_array_has_the_length_squared(case: str) -> None:
    """Scores, masks and their gradients are those of chunks."""
    program, _ = compiled(*CASES[case])
    assert not [shape for _, shape in program.structure.results if shape[-2:] == (LENGTH, LENGTH)]


@each_case
def test_launches_stay_few(case: str) -> None:
    program, _ = compiled(*CASES[case])
    assert program.structure.launches <= MOST_LAUNCHES[case]


@pytest.mark.parametrize("card", ["a100", "rtx4090", "rtx5090"])
def test_the_kernels_compile_for_every_generation(card: str) -> None:
    """Compute capabilities 8.0, 8.9 and 12.0; 9.0 is compiled above."""
    program, _ = compiled(*("megalodon-200m", card), *MEGALODON, "model.cema=kernel", "model.num_layers=1")
    assert program.structure.host_syncs == 0
    assert program.memory["total"] < program.card.pool_bytes
