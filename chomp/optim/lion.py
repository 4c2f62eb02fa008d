"""Lion (Chen et al. 2023, arXiv 2302.06675)."""

import optax

from chomp.config.optim import OptimConfig
from chomp.optim.conditional import conditional
from chomp.optim.groups import Embedding, Group
from chomp.parallel.mesh import Placement


def build(optim: OptimConfig, embedding: Embedding, placement: Placement) -> tuple[Group, ...]:
    """Build one group for all parameters."""
    direction = conditional(optax.scale_by_lion(b1=optim.lion.b1, b2=optim.lion.b2))
    return (Group("lion", (direction,), optim.lr, optim.weight_decay),)
