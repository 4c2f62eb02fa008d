"""What training takes on a device, from shapes alone: nothing is computed, nothing is allocated."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from chomp.config import Config
from chomp.config.mesh import rows_at_once
from chomp.config.variants import POLICIES, Variant, as_written, vary
from chomp.model.base import ModelInputs
from chomp.model.build import ModelDef
from chomp.parallel.gather import shards, whole
from chomp.parallel.mesh import ONE_DEVICE, Placement, placement_of
from chomp.parallel.sums import cut_axes
from chomp.record.formatting import size
from chomp.step.objective import build_objective
from chomp.train.blueprint import Blueprint, build_blueprint

Kind: TypeAlias = tuple[tuple[int, ...], np.dtype]
"""Shape and dtype of an array."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on a device by part.

    `activations` are the values that the backward pass of one micro-batch keeps, as JAX's
    linearisation lists them, and what it makes for a moment (`passing_bytes`): the compiler fuses
    some away and adds scratch space, so XLA's own account of the compiled step is the better number
    where it exists.

    `gathered` is what devices that share parameters hold whole: for a moment one layer, its gradient, and the gradient
    of the embedding and the head; on CPUs also all other parameters that the backward pass reads (`recomputes`). 0
    where each device has a copy of all.
    """

    parameters: int
    optimizer: int
    gradients: int
    activations: int
    gathered: int = 0

    @property
    def state(self) -> int:
        """What does not depend on the batch."""
        return self.parameters + self.optimizer + self.gradients + self.gathered

    @property
    def total(self) -> int:
        return self.state + self.activations

    def as_compiled(self, total: int) -> float:
        """What the compiler makes of a byte of activations, by its account of the same step."""
        return max(0.1, (total - self.state) / max(1, self.activations))

    def scaled(self, factor: float) -> int:
        """The total with activations times `factor`, which is `as_compiled` of a similar step."""
        return self.state + round(self.activations * factor)

    def as_dict(self) -> dict[str, int]:
        """By part, with the total."""
        parts = asdict(self)
        if not self.gathered:
            del parts["gathered"]
        return {**parts, "total": self.total}


def estimate_memory(blueprint: Blueprint, placement: Placement | None = None) -> MemoryEstimate:
    """Add up what training keeps on each device.

    Args:
        placement: another mesh than the blueprint's, whose devices need not be here.
    """
    placement = placement or blueprint.placement
    config = _as_computed(blueprint.config, blueprint.platform)
    if config is not blueprint.config:
        blueprint = build_blueprint(config, blueprint.platform)
    return _with_passing(_lasting(blueprint, placement), blueprint, placement)


def recomputes(platform: str) -> bool:
    """Whether the backward pass computes again what it is told to, such as the parameters that a layer gathers.

    XLA's compiler for CPUs removes the boundary around it and merges the two computations (jax 0.10): what is computed
    once is kept, whatever the policy. It also exchanges bf16 as fp32.
    """
    return platform != "cpu"


def _as_computed(config: Config, platform: str) -> Config:
    """The same configuration whose policy is the one that has an effect."""
    return config if recomputes(platform) else _recomputing_nothing(config)


def _recomputing_nothing(config: Config) -> Config:
    written, plain = as_written(config), next(iter(POLICIES))
    if written.policy == plain or config.model.backend == "dummy":
        return config
    kept = vary(config, written.batch_size, plain, written.head_chunk)
    assert kept is not None, "a policy that recomputes nothing is always allowed"
    return kept.config


def _lasting(blueprint: Blueprint, placement: Placement) -> MemoryEstimate:
    """What the step keeps, without what passes."""
    model_def = blueprint.model_def
    params = model_def.abstract()
    if recomputes(blueprint.platform):
        activations, kept_whole = activation_bytes(model_def, blueprint.config, placement), 0
    else:
        activations, kept_whole = _bytes_without_boundaries(model_def, blueprint.config, placement)
    return MemoryEstimate(
        parameters=bytes_on_device(blueprint.state.params, placement),
        optimizer=bytes_on_device((blueprint.state.opt_state, blueprint.state.ema), placement),
        gradients=bytes_on_device(_in_fp32(params), placement),
        activations=activations,
        gathered=kept_whole + sum(_gathered_bytes(blueprint, placement)),
    )


def _with_passing(lasting: MemoryEstimate, blueprint: Blueprint, placement: Placement) -> MemoryEstimate:
    passing = passing_bytes(blueprint, placement)
    return replace(lasting, activations=lasting.activations + passing)


def predict(config: Config, platform: str, placement: Placement = ONE_DEVICE) -> tuple[int, MemoryEstimate]:
    """Trainable scalars and memory of a model however deep, in the time that two layers take.

    All layers of a model are alike, so every figure is linear in their number and those of one and two layers give it.
    Arguments and errors are those of `build_blueprint` and `estimate_memory`.
    """
    config = _as_computed(config, platform)
    one, two = (_of_layers(config, layers, platform) for layers in (1, 2))
    first, second = (_lasting(blueprint, placement) for blueprint in (one, two))
    more = config.model.num_layers - 1
    parts = {
        field.name: getattr(first, field.name) + more * (getattr(second, field.name) - getattr(first, field.name))
        for field in fields(MemoryEstimate)
    }
    counts = [blueprint.model_def.parameter_count for blueprint in (one, two)]
    return counts[0] + more * (counts[1] - counts[0]), _with_passing(MemoryEstimate(**parts), one, placement)


def predict_variant(variant: Variant, platform: str, placement: Placement = ONE_DEVICE) -> MemoryEstimate:
    """Memory of one way to compute a step."""
    return predict(variant.config, platform, placement)[1]


def passing_bytes(blueprint: Blueprint, placement: Placement) -> int:
    """What the backward pass of a micro-batch makes for a moment, beyond what it keeps and gathers, on a device.

    First the logits of a chunk of the head with their gradient; then, if its values were not kept, all values of the
    layer that is computed again. Parameters of a layer are gathered for the latter alone.
    """
    config = blueprint.config
    assert config.model.vocab_size is not None
    tokens = rows_at_once(config, placement.count) * config.train.seq_len
    head = 2 * 4 * min(config.model.loss_chunk_size or tokens, tokens) * config.model.vocab_size
    of_a_layer, _ = _gathered_bytes(blueprint, placement)
    layer, kept = 0, _recomputing_nothing(config)
    if kept is not config:
        one, two = (_of_layers(kept, layers, blueprint.platform) for layers in (1, 2))
        layer = activation_bytes(two.model_def, two.config, placement) - activation_bytes(
            one.model_def, one.config, placement
        )
    return max(layer, head - of_a_layer)


def _of_layers(config: Config, layers: int, platform: str) -> Blueprint:
    """The same model with so many layers."""
    shallow = config.model.model_copy(update={"num_layers": layers})
    return build_blueprint(config.model_copy(update={"model": shallow}), platform)


def least_fsdp(devices: int, limit: int, total: Callable[[Placement], int]) -> tuple[int, int] | None:
    """The least `parallel.fsdp` that divides so many devices and with which training fits each, and its bytes there.

    Args:
        limit: bytes of a device.
        total: bytes that training takes on each device of a mesh.
    """
    for fsdp in (count for count in range(1, devices + 1) if devices % count == 0):
        if (needed := total(placement_of(devices // fsdp, fsdp))) <= limit:
            return fsdp, needed
    return None


def fsdp_advice(config: Config, devices: int, least: tuple[int, int] | None) -> str:
    """What `least_fsdp` found, as the end of a sentence about a mesh of which each device holds too much."""
    if least is None:
        return f"even parallel.fsdp={devices} does not fit {devices} devices by estimate"
    fsdp, needed = least
    data = "" if config.parallel.data == -1 else "-o parallel.data=-1 "
    return (
        f"parallel.fsdp of at least {fsdp} fits by estimate "
        f"({data}-o parallel.fsdp={fsdp}, {size(needed)} on each device)"
    )


def activation_bytes(model_def: ModelDef, config: Config, placement: Placement = ONE_DEVICE) -> int:
    """Bytes of the residuals that one micro-batch's backward pass reads on a device.

    Parameters are not counted where they are read as they are stored; copies of them in another dtype are. What is a
    parameter shows by its shape and dtype alone, as residuals have no names.
    """
    rows = rows_at_once(config, placement.count)
    return _bytes(_residuals(model_def, config, rows, placement) - _kinds(_parts(model_def.abstract(), placement)))


def _bytes_without_boundaries(model_def: ModelDef, config: Config, placement: Placement) -> tuple[int, int]:
    """What a device keeps for the backward pass if it computes and gathers nothing again.

    Returns:
        Activations, and whole parameters of those that devices share, in fp32.
    """
    params = jax.tree_util.tree_leaves_with_path(model_def.abstract())
    cut = [(path, leaf) for path, leaf in params if placement.cut_axis(leaf.shape) >= 0]
    read = [jax.ShapeDtypeStruct(leaf.shape, model_def.gathered_dtype(path, leaf)) for path, leaf in cut]
    kept = _residuals(model_def, config, rows_at_once(config, placement.count), ONE_DEVICE)
    kept -= _kinds([leaf for _, leaf in params if placement.cut_axis(leaf.shape) < 0])
    copies = _turned(kept) & (_turned(_kinds([leaf for _, leaf in cut])) | _turned(_kinds(read)))
    return _bytes(kept) - _bytes(copies), sum(4 * count * math.prod(shape) for (shape, _), count in copies.items())


def _residuals(model_def: ModelDef, config: Config, rows: int, placement: Placement) -> Counter[Kind]:
    """What the backward pass of so many rows on one device of a mesh reads, by shape and dtype."""
    shape = (rows, config.train.seq_len)
    objective = build_objective(config.objective, model_def)
    whole_params = model_def.abstract()

    def residuals(params: Any, ids: Any, labels: Any, segments: Any) -> Any:
        inputs = ModelInputs(ids, labels, segments if config.data.isolate_documents else None)
        counts = objective.counts(jax.tree.map(lambda field: field[None], inputs))

        def loss(params: Any) -> Any:
            return objective.sums(whole(params, but=model_def.layer), inputs, counts, jax.random.key(0))[0]

        return jax.vjp(loss, params)[1]

    def of_parts(params: Any, *batch: Any) -> Any:
        axes = cut_axes(whole_params, placement)
        return residuals(shards(params, axes, placement.fsdp, model_def.gathered_dtype), *batch)

    row = jax.ShapeDtypeStruct(shape, jnp.int32)
    on_device: Callable[..., Any] = residuals
    if placement.fsdp > 1:
        everywhere = PartitionSpec()
        specs = jax.tree.map(lambda leaf: placement.spec(leaf.shape), whole_params)
        # Nothing is computed: the shapes that come out are those on one device.
        on_device = jax.shard_map(
            of_parts,
            mesh=placement_of(placement.data, placement.fsdp).mesh,
            in_specs=(specs, everywhere, everywhere, everywhere),
            out_specs=everywhere,
            check_vma=False,
        )
    return _kinds(jax.eval_shape(on_device, whole_params, row, row, row))


def bytes_on_device(tree: Any, placement: Placement = ONE_DEVICE) -> int:
    """Bytes of the arrays of a tree, given by their shapes, on each device of a mesh."""
    return sum(
        math.prod(leaf.shape) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(_parts(tree, placement))
        if hasattr(leaf, "dtype")
    )


def _parts(tree: Any, placement: Placement) -> Any:
    """The shapes on a device of arrays that are given by their whole shapes."""

    def part(leaf: Any) -> Any:
        axis = placement.cut_axis(leaf.shape)
        shape = [long // placement.fsdp if place == axis else long for place, long in enumerate(leaf.shape)]
        return jax.ShapeDtypeStruct(tuple(shape), leaf.dtype)

    return jax.tree.map(part, tree)


def _gathered_bytes(blueprint: Blueprint, placement: Placement) -> tuple[int, int]:
    """See `MemoryEstimate`, for a moment: of one layer, and of the rest.

    Embedding and head in the dtype of the products are among the activations, and so is each layer where none is
    gathered again.
    """
    if placement.fsdp == 1:
        return 0, 0
    model_def = blueprint.model_def
    params = model_def.abstract()
    layers = [
        node
        for node in jax.tree.leaves(params, is_leaf=lambda node: isinstance(node, model_def.layer))
        if isinstance(node, model_def.layer)
    ]
    again = recomputes(blueprint.platform)
    gathered = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jax.ShapeDtypeStruct(leaf.shape, model_def.gathered_dtype(path, leaf)), layers
    )
    by_layer = [
        again * bytes_on_device(_cut(one, placement)) + bytes_on_device(_in_fp32(_cut(layer, placement)))
        for one, layer in zip(gathered, layers, strict=True)
    ]
    of_layers = sum(bytes_on_device(_in_fp32(_cut(layer, placement))) for layer in layers)
    return max(by_layer, default=0), bytes_on_device(_in_fp32(_cut(params, placement))) - of_layers


def _cut(tree: Any, placement: Placement) -> list[Any]:
    """The arrays that devices of one copy share."""
    return [leaf for leaf in jax.tree.leaves(tree) if placement.cut_axis(leaf.shape) >= 0]


def _in_fp32(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float32), tree)


def _kinds(tree: Any) -> Counter[Kind]:
    """How many arrays there are of each shape and dtype."""
    return Counter((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype"))


def _turned(kinds: Counter[Kind]) -> Counter[Kind]:
    """The same counts where a matrix and its transpose are of one kind."""
    turned: Counter[Kind] = Counter()
    for (shape, dtype), count in kinds.items():
        turned[tuple(sorted(shape)), dtype] += count
    return turned


def _bytes(kinds: Counter[Kind]) -> int:
    return sum(count * math.prod(shape) * dtype.itemsize for (shape, dtype), count in kinds.items())
