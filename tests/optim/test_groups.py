from typing import Any

import jax
import pytest

from chomp.config.schema import Config
from chomp.optim.build import Optimizer
from chomp.optim.groups import Embedding, Parameter
from chomp.optim.muon import axes_of
from tests.model.tiny import parts, tiny_config

LAYER = "model.layers.0"
PROJECTIONS = {
    *(f"{LAYER}.attn.{name}.weight" for name in ("wz", "wv", "wr", "wh1", "wh2")),
    *(f"{LAYER}.ffn.{name}.weight" for name in ("fc1", "fc2", "fc3")),
    "lm_head.weight",
}
EMBEDDING = "model.embed.weight"
MATRICES = PROJECTIONS | {EMBEDDING}
OTHER_2D = {
    f"{LAYER}.attn.gamma", f"{LAYER}.attn.beta", f"{LAYER}.attn.cema.gamma_real", f"{LAYER}.attn.cema.gamma_imag",
}  # fmt: skip


def optimizer(backend: str = "megalodon", *, model: dict[str, Any] | None = None, **muon: Any) -> Optimizer:
    return parts(optimizer_config(backend, model=model, **muon))[1]


def optimizer_config(backend: str = "megalodon", *, model: dict[str, Any] | None = None, **muon: Any) -> Config:
    full = {"swiglu": True, "rescale_nffn": True, **(model or {})} if backend == "megalodon" else model
    optim = {"name": "muon", "lr": 1e-3, "weight_decay": 0.1, "muon": muon}
    return tiny_config(backend, model=full, optim=optim)


def muon_paths(made: Optimizer) -> set[str]:
    return {given.path for given in made.assigned if given.group == "muon"}


@pytest.mark.parametrize("backend", ["megalodon", "llama", "dummy"])
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_every_parameter_is_in_exactly_one_group(backend: str, name: str) -> None:
    config = tiny_config(backend, optim={"name": name})
    model_def, made, _ = parts(config)
    assert [given.shape for given in made.assigned] == [leaf.shape for leaf in jax.tree.leaves(model_def.abstract())]
    assert len({given.path for given in made.assigned}) == len(made.assigned)
    assert sum(row.parameters for row in made.rows) == model_def.parameter_count
    assert sum(row.tensors for row in made.rows) == len(made.assigned)
    if name == "adamw":
        assert muon_paths(made) == set()


def test_muon_takes_the_listed_projections() -> None:
    assert muon_paths(optimizer()) == PROJECTIONS


def test_muon_takes_all_projections_of_a_llama() -> None:
    layers = [*(f"attn.w{name}" for name in "qkvo"), *(f"ffn.{name}" for name in ("gate", "up", "down"))]
    expected = {f"blocks.{i}.{layer}.weight" for i in range(2) for layer in layers}
    assert muon_paths(optimizer("llama")) == expected | {"lm_head.weight"}


def test_all_2d_adds_every_other_array_of_two_axes() -> None:
    assert muon_paths(optimizer(allow_all_2d=True)) == PROJECTIONS | OTHER_2D | {EMBEDDING}


def test_a_tied_embedding_needs_its_own_leave() -> None:
    tied = {"share_emb": True}
    listed = PROJECTIONS - {"lm_head.weight"}
    assert muon_paths(optimizer(model=tied)) == listed
    assert muon_paths(optimizer(model=tied, allow_all_2d=True)) == listed | OTHER_2D
    assert muon_paths(optimizer(model=tied, allow_tied_embed=True)) == listed | {EMBEDDING}


def test_an_untied_embedding_is_not_a_tied_one() -> None:
    assert EMBEDDING not in muon_paths(optimizer(allow_tied_embed=True))


def test_dummy_s_head_is_muon_s() -> None:
    assert muon_paths(optimizer("dummy")) == {"lm_head.weight"}


def test_only_weights_with_two_axes_decay() -> None:
    made = optimizer(allow_all_2d=True)
    assert {given.path for given in made.assigned if given.decays} == MATRICES


def test_axes_follow_how_weights_are_stored() -> None:
    """Linear weights are [outputs, inputs]; an embedding is read by row, so its ids are the inputs."""
    by_path: dict[str, Parameter] = {given.path: given for given in optimizer().assigned}
    for path, outputs, inputs in ((f"{LAYER}.ffn.fc1.weight", 48, 32), (EMBEDDING, 32, 61)):
        axes, shape = axes_of(by_path[path], Embedding(EMBEDDING, tied=False)), by_path[path].shape
        assert (shape[axes.output_axis], shape[axes.reduction_axis]) == (outputs, inputs)


def test_the_table_is_printed_with_counts_rates_and_decay() -> None:
    assert optimizer("dummy", lr_scale=100.0).describe().splitlines() == [
        "group  tensors     parameters    peak lr    decay",
        "muon         1            976        0.1      0.1",
        "adam         1            976      0.001      0.1",
        "adam         1             61      0.001        0",
    ]
