"""AdamW (Loshchilov and Hutter 2019)."""

from chomp.config.optim import OptimConfig
from chomp.optim.conditional import conditional_adam
from chomp.optim.groups import Embedding, Group
from chomp.parallel.mesh import Placement


def build(optim: OptimConfig, embedding: Embedding, placement: Placement) -> tuple[Group, ...]:
    """Build one group for all parameters."""
    adam = optim.adam
    direction = conditional_adam(adam.b1, adam.b2, adam.eps, nesterov=adam.nesterov)
    return (Group("adam", (direction,), optim.lr, optim.weight_decay),)
