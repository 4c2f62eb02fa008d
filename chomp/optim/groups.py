"""What an update rule says about parameters: groups with a direction, a peak learning rate and a weight decay."""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import optax
from jaxtyping import PyTree

from chomp.config.optim import OptimConfig
from chomp.model.paths import dotted, named_leaves
from chomp.parallel.mesh import ONE_DEVICE, Placement


@dataclass(frozen=True)
class Parameter:
    """One array of a model: its dotted path and its axes."""

    path: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Scalars in it."""
        return math.prod(self.shape)

    @property
    def decays(self) -> bool:
        """Whether weight decay applies: to weights of linear layers and to embeddings.

        Norm scales, biases, affine vectors and the moving average's coefficients never decay, however many axes their
        arrays have.
        """
        return len(self.shape) == 2 and self.path.rpartition(".")[2] == "weight"

    def is_weight_of(self, layer: str) -> bool:
        """Whether it is the weight of a layer whose path ends with `layer`."""
        return f".{self.path}".endswith(f".{layer}.weight")


@dataclass(frozen=True)
class Embedding:
    """The token embedding: its dotted path, and whether it is also the output head."""

    path: str
    tied: bool


@dataclass(frozen=True)
class Group:
    """Parameters that share an update rule.

    Attributes:
        name: the key of its part of the optimizer's state; a checkpoint holds it.
        direction: gradients -> direction, one transformation after another. Those that have a state keep it in a
            refused step (`chomp.optim.conditional`).
        peak_lr: the highest learning rate.
        weight_decay: for those of its parameters that decay.
        takes: which parameters belong to it, of those that no group before it takes.
    """

    name: str
    direction: tuple[optax.GradientTransformation, ...]
    peak_lr: float
    weight_decay: float
    takes: Callable[[Parameter], bool] = lambda _: True


def build_groups(
    name: str, optim: OptimConfig, embedding: Embedding, placement: Placement = ONE_DEVICE
) -> tuple[Group, ...]:
    """Build the groups of the rule called `name`, the last of which takes all parameters that are left.

    The rule is the module `chomp.optim.NAME`; its `build(optim, embedding, placement)` reads its own section of
    `optim`.

    Args:
        placement: the mesh on which the step computes; a rule that reads more of an array than one number at a time
            says how devices share that work.
    """
    groups: tuple[Group, ...] = importlib.import_module(f"chomp.optim.{name}").build(optim, embedding, placement)
    return groups


def embedding_of(params: PyTree, path: str) -> Embedding:
    """Describe the embedding at `path` of a model whose parameters (or their shapes) are given."""
    return Embedding(path, tied=not any(parameter.is_weight_of("lm_head") for parameter in parameters_of(params)))


def parameters_of(params: PyTree) -> list[Parameter]:
    """List the parameters in the tree's order."""
    return [Parameter(path, tuple(leaf.shape)) for path, leaf in named_leaves(params)]


def by_parameter(value: Callable[[Parameter], object]) -> Callable[[PyTree], PyTree]:
    """Return params -> a tree of the same structure with `value(parameter)` for each parameter.

    Works on the partly masked trees that `optax.partition` hands to its members.
    """

    def build(params: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: value(Parameter(dotted(path), tuple(leaf.shape))), params
        )

    return build
