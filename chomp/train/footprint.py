"""What training takes on a device, from shapes alone: nothing is computed, nothing is allocated."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chomp.config import Config
from chomp.config.variants import POLICIES, Variant, vary
from chomp.model.base import ModelInputs
from chomp.model.build import ModelDef
from chomp.step.objective import build_objective
from chomp.train.blueprint import Blueprint, build_blueprint
from chomp.train.compilation import abstract_batch


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on the device by part.

    `activations` are the values that the backward pass of one micro-batch keeps, as JAX's
    linearisation lists them: the compiler fuses some away and adds scratch space, so XLA's own
    account of the compiled step is the better number where it exists.
    """

    parameters: int
    optimizer: int
    gradients: int
    activations: int

    @property
    def state(self) -> int:
        """What does not depend on the batch."""
        return self.parameters + self.optimizer + self.gradients

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
        return {**asdict(self), "total": self.total}


def estimate_memory(blueprint: Blueprint) -> MemoryEstimate:
    """Add up what training keeps on the device."""
    return MemoryEstimate(
        parameters=_bytes(blueprint.state.params),
        optimizer=_bytes(blueprint.state.opt_state),
        gradients=4 * blueprint.model_def.parameter_count,
        activations=activation_bytes(blueprint.model_def, blueprint.config),
    )


def predict(config: Config, platform: str) -> tuple[int, MemoryEstimate]:
    """Trainable scalars and memory of a model however deep, in the time that two layers take.

    All layers of a model are alike, so every figure is linear in their number and those of one and two layers give it.
    Arguments and errors are those of `build_blueprint`.
    """
    figures = []
    for layers in (1, 2):
        shallow = config.model.model_copy(update={"num_layers": layers})
        blueprint = build_blueprint(config.model_copy(update={"model": shallow}), platform)
        figures.append((blueprint.model_def.parameter_count, estimate_memory(blueprint)))
    (count_one, one), (count_two, two) = figures
    more = config.model.num_layers - 1
    parts = {
        field.name: getattr(one, field.name) + more * (getattr(two, field.name) - getattr(one, field.name))
        for field in fields(MemoryEstimate)
    }
    return count_one + more * (count_two - count_one), MemoryEstimate(**parts)


def predict_variant(variant: Variant, platform: str) -> MemoryEstimate:
    """Memory of one way to compute a step, with what its backward pass makes for a moment.

    That is the layer that is recomputed, and the logits of a chunk of the head with their gradient.
    """
    estimate, config = predict(variant.config, platform)[1], variant.config
    assert config.model.vocab_size is not None
    tokens = variant.batch_size * config.train.seq_len
    passing = 2 * 4 * min(variant.head_chunk or tokens, tokens) * config.model.vocab_size
    if variant.policy != (plain := next(iter(POLICIES))):
        unchanged = vary(config, variant.batch_size, plain, variant.head_chunk)
        assert unchanged is not None, "a policy that recomputes nothing is always allowed"
        passing += _layer_bytes(unchanged.config, platform)
    return replace(estimate, activations=estimate.activations + passing)


def _layer_bytes(config: Config, platform: str) -> int:
    """Activations of one layer."""
    models = (config.model.model_copy(update={"num_layers": layers}) for layers in (1, 2))
    one, two = (predict(config.model_copy(update={"model": model}), platform)[1] for model in models)
    return two.activations - one.activations


def activation_bytes(model_def: ModelDef, config: Config) -> int:
    """Bytes of the residuals that one micro-batch's backward pass reads.

    Parameters are not counted where they are read as they are stored; copies of them in another dtype are. What is a
    parameter shows by its shape and dtype alone, as residuals have no names.
    """
    ids = abstract_batch((1, config.train.batch_size, config.train.seq_len)).input_ids
    objective = build_objective(config.objective, model_def)

    def residuals(params: Any, ids: Any, labels: Any, segments: Any) -> Any:
        inputs = ModelInputs(ids, labels, segments if config.data.isolate_documents else None)
        counts = objective.counts(jax.tree.map(lambda field: field[None], inputs))

        def loss(params: Any) -> Any:
            return objective.sums(params, inputs, counts, jax.random.key(0))[0]

        return jax.vjp(loss, params)[1]

    row = jax.ShapeDtypeStruct(ids.shape[1:], jnp.int32)
    kept = _kinds(jax.eval_shape(residuals, model_def.abstract(), row, row, row)) - _kinds(model_def.abstract())
    return sum(count * math.prod(shape) * dtype.itemsize for (shape, dtype), count in kept.items())


def _kinds(tree: Any) -> Counter[tuple[tuple[int, ...], np.dtype]]:
    """How many arrays there are of each shape and dtype."""
    return Counter((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype"))


def _bytes(tree: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype"))
