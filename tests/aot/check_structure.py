"""The compiled step fits a GPU: no waits for the host, no loops over blocks, bf16 products, a donated state.

`make gpu-check` installs the CUDA wheels beside chomp and runs this; neither a driver nor a GPU is needed.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import numpy as np
import pytest
from jax.experimental import topologies
from jax.tree_util import tree_leaves_with_path

from benchmarks.gpu_structure import configuration
from chomp.analysis.aot import CardProgram, compile_for
from chomp.device.cards import CARDS
from chomp.model.flash_attention import flash_attention
from chomp.train.blueprint import build_blueprint
from chomp.train.footprint import bytes_on_device, estimate_memory

# A length that no other dimension of the models has.
LENGTH, ROWS, MICRO, CHUNK, LAYERS = 1536, 2, 2, 1024, 2
SMALL = (
    f"model.num_layers={LAYERS}", f"train.seq_len={LENGTH}", f"train.batch_size={ROWS}", f"train.grad_accum={MICRO}",
    f"model.loss_chunk_size={CHUNK}",
)  # fmt: skip
MEGALODON = ("model.chunk_size=512",)
# Each step's launches for two layers and two micro-batches, a tenth above what is measured.
MOST_LAUNCHES = {"parallel": 1_370, "kernel": 1_140, "llama": 820, "flash": 820}


@cache
def compiled(preset: str, card: str, *overrides: str) -> tuple[CardProgram, int]:
    """The program, and how many arrays its state has."""
    blueprint = build_blueprint(configuration(preset, (*SMALL, *overrides)), "gpu")
    return compile_for(CARDS[card], blueprint), len(jax.tree.leaves(blueprint.state))


CASES = {
    "parallel": ("megalodon-200m", "h200", *MEGALODON),
    "kernel": ("megalodon-200m", "h200", *MEGALODON, "model.cema=kernel"),
    "llama": ("nano-125m", "h200"),
    "flash": ("nano-125m", "h200", "model.attention=flash"),
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


@each_case
def test_only_cudnn_s_attention_has_arrays_of_the_length_squared(case: str) -> None:
    """Scores, masks and their gradients are those of chunks, or of blocks inside a kernel; cuDNN takes a mask."""
    program, _ = compiled(*CASES[case])
    squares = sum(times for (_, shape), times in program.structure.results.items() if shape[-2:] == (LENGTH, LENGTH))
    # A mask for each micro-batch and, in jax 0.10, its gradient for each layer.
    assert squares <= (MICRO * (1 + LAYERS) if case == "llama" else 0)


def test_attention_s_products_are_counted() -> None:
    """Seven of cuDNN for a layer and micro-batch, nine of the Pallas kernel."""
    structures = [compiled(*CASES[case])[0].structure for case in ("llama", "flash")]
    assert [one.attention_calls for one in structures] == [2 * LAYERS * MICRO] * 2
    product = 2 * 768 * ROWS * LENGTH * (LENGTH + 1) / 2
    less, more = (one.products["bf16"] for one in structures)
    assert more - less == pytest.approx(2 * LAYERS * MICRO * product, rel=1e-9)
    assert less > 7 * LAYERS * MICRO * product


@each_case
def test_launches_stay_few(case: str) -> None:
    program, _ = compiled(*CASES[case])
    assert program.structure.launches <= MOST_LAUNCHES[case]


@pytest.mark.parametrize("card", ["a100", "rtx4090", "rtx5090"])
@pytest.mark.parametrize("case", ["kernel", "flash"])
def test_the_kernels_compile_for_every_generation(case: str, card: str) -> None:
    """Compute capabilities 8.0, 8.9 and 12.0; 9.0 is compiled above."""
    preset, _, *overrides = CASES[case]
    program, _ = compiled(preset, card, *overrides, "model.num_layers=1")
    assert program.structure.host_syncs == 0
    assert program.memory["total"] < program.card.pool_bytes


@pytest.mark.parametrize("card", ["a100", "rtx4090", "rtx5090", "h200"])
@pytest.mark.parametrize(("dtype", "width"), [("bfloat16", 128), ("float32", 64), ("float32", 128), ("bfloat16", 16)])
def test_flash_attention_fits_every_card(card: str, dtype: str, width: int) -> None:
    """The widest heads of each choice of blocks, and the narrowest of all; 64 in bf16 is compiled above."""
    topology = topologies.get_topology_desc(
        platform="cuda", target_config=CARDS[card].target_config(), topology="1x1x1"
    )
    place = jax.sharding.SingleDeviceSharding(topology.devices[0])
    rows = jax.ShapeDtypeStruct((1, LENGTH, 2, width), dtype, sharding=place)
    runs = jax.ShapeDtypeStruct((1, LENGTH), "int32", sharding=place)

    def total(query: Any, key: Any, value: Any, runs: Any) -> Any:
        return flash_attention(query, key, value, runs, interpret=False).astype("float32").sum()

    program = jax.jit(jax.grad(total, (0, 1, 2))).lower(rows, rows, rows, runs).compile()
    assert program.as_text().count("mha_backward") >= 1


MESH = ("model.num_layers=2", "train.seq_len=512", "train.batch_size=2", "train.grad_accum=16", "optim.name=adamw")


@pytest.mark.parametrize(("preset", "extra"), [("nano-125m", ()), ("megalodon-200m", ("model.chunk_size=512",))])
def test_eight_cards_share_a_step(preset: str, extra: tuple[str, ...]) -> None:
    """Parameters are gathered for each layer and again for its backward pass; gradients lie where their parts do."""
    config = configuration(preset, (*MESH, *extra, "parallel.fsdp=8"))
    program = compile_for(CARDS["h100"], build_blueprint(config, "gpu"), 8)
    placement, state, blueprint = program.blueprint.placement, program.blueprint.state, program.blueprint
    assert placement.shape == {"data": 1, "fsdp": 8}
    assert blueprint.batch_shape == (2, 16, 512)
    ids = 3 * 4 * 2 * 2 * 512
    assert 0 <= program.memory["argument"] - bytes_on_device(state, placement) - ids <= ids
    params = [(path, leaf) for path, leaf in tree_leaves_with_path(state.params) if placement.cut_axis(leaf.shape) >= 0]
    own = 7 / 8
    traffic = program.structure.collectives
    summed = blueprint.accum * own * sum(4 * leaf.size for _, leaf in params)
    assert traffic["reduce-scatter"].bytes == pytest.approx(summed, rel=0.01)
    dtype_of = blueprint.model_def.gathered_dtype
    gathered = blueprint.accum * own * sum(leaf.size * np.dtype(dtype_of(path, leaf)).itemsize for path, leaf in params)
    exchanges = program.structure.exchanges
    assert {each.times for each in exchanges if each.kind != "all-reduce"} == {blueprint.accum}
    assert {each.dtype for each in exchanges if each.kind == "reduce-scatter"} == {"float32"}
    in_bf16 = sum(each.bytes for each in exchanges if (each.kind, each.dtype) == ("all-gather", "bfloat16"))
    assert in_bf16 > 0.98 * traffic["all-gather"].bytes
    # Layers twice, embedding and head once.
    assert gathered < traffic["all-gather"].bytes < 2 * gathered
    assert set(traffic) <= {"all-gather", "reduce-scatter", "all-reduce"}
    assert traffic["all-reduce"].bytes < 0.01 * gathered


@pytest.mark.parametrize("cards", [1, 8])
@pytest.mark.parametrize("remat", ["none", "attention", "dots", "full"])
@pytest.mark.parametrize(("preset", "extra"), [("nano-125m", ()), ("megalodon-200m", ("model.chunk_size=512",))])
def test_the_estimate_is_hardly_too_low(preset: str, extra: tuple[str, ...], remat: str, cards: int) -> None:
    rows = ("train.seq_len=2048", "train.batch_size=2", "train.grad_accum=16", "optim.name=adamw")
    config = configuration(
        preset, (*rows, *extra, "model.num_layers=3", f"model.remat={remat}", f"parallel.fsdp={cards}")
    )
    program = compile_for(CARDS["h100"], build_blueprint(config, "gpu"), cards)
    assert 0.65 < program.memory["total"] / estimate_memory(program.blueprint).total < 1.05


@pytest.mark.parametrize(
    ("preset", "extra"), [("nano-125m", "model.attention=flash"), ("megalodon-200m", "model.chunk_size=512")]
)
def test_attention_is_computed_again(preset: str, extra: str) -> None:
    """Also where a layer, which gathers its parameters again, has a policy of its own."""
    rows = ("train.seq_len=2048", "train.batch_size=2", "train.grad_accum=16", "model.num_layers=1", "parallel.fsdp=8")
    temp = []
    for remat in ("none", "attention"):
        config = configuration(preset, (*rows, extra, f"model.remat={remat}"))
        temp.append(compile_for(CARDS["h100"], build_blueprint(config, "gpu"), 8).memory["temp"])
    assert temp[1] < temp[0]


@pytest.mark.parametrize("cards", [8, 64])
def test_no_card_keeps_the_gradients_of_many_layers(cards: int) -> None:
    """Whole gradients of a layer are 268 MB; 64 cards have 4 MB of them each."""
    wide = ("model.model_dim=2048", "model.num_heads=16", "model.num_kv_heads=16", "model.ffn_hidden_dim=8192")
    few = ("model.vocab_size=2048", "model.attention=flash", "model.remat=full", "optim.name=adamw")
    # With much fewer tokens XLA gathers parameters of the forward pass long before they are read.
    rows = ("train.seq_len=4096", "train.batch_size=2", f"train.grad_accum={4 * cards}", f"parallel.fsdp={cards}")
    temp = []
    for layers in (4, 10):
        config = configuration("nano-125m", (*wide, *few, *rows, f"model.num_layers={layers}"))
        temp.append(compile_for(CARDS["h100"], build_blueprint(config, "gpu"), cards).memory["temp"])
    layer, states = 4 * (4 * 2048**2 + 3 * 2048 * 8192), 2 * 2 * 4096 * 2048
    # A card has its part of the sums, and of those of the newest micro-batch.
    assert (temp[1] - temp[0]) / 6 < states + layer * (2 / cards + 1 / 16)


def test_eight_copies_are_summed_once_a_step() -> None:
    config = configuration("nano-125m", MESH)
    program = compile_for(CARDS["h100"], build_blueprint(config, "gpu"), 8)
    gradients = 4 * program.blueprint.model_def.parameter_count
    (kind, traffic), *others = program.structure.collectives.items()
    assert (kind, others) == ("all-reduce", [])
    assert traffic.bytes == pytest.approx(2 * 7 / 8 * gradients, rel=0.01)
