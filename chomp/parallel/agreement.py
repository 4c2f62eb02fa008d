"""What all processes do before the next step, decided from the wishes of all.

A wish is a set of bits. Before each step every process gives its wish to a tiny program, which takes the largest over
all devices bit by bit, and reads what the program made of the wishes before the step before. The host never waits for
it: that step is complete anyway when it is read. What a bit stands for in detail, the processes tell each other only
when the bit is set.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from chomp.parallel.mesh import AXES, Placement
from chomp.parallel.world import World


class Wish(enum.IntFlag):
    """What a process wants all processes to do before the next step."""

    NOTHING = 0
    STOP = 1
    """To stop and save: a signal came, or the time is over."""
    COMMANDS = 2
    """To obey commands that have come; the leader's alone."""
    SAVE = 4
    """To save, because the time for it has come; the leader's alone."""


ALL = Wish.STOP | Wish.COMMANDS | Wish.SAVE


class Agreement:
    """The wishes of all processes; one process alone does what it wishes itself, and computes nothing.

    Attributes:
        agreed: what all processes do now.
    """

    def __init__(self, world: World, placement: Placement):
        self._is_alone = world.is_alone
        self.agreed = ALL if world.is_alone else Wish.NOTHING
        self._asked: Any = None
        if world.is_alone:
            return
        assert placement.mesh is not None
        mesh = placement.mesh
        self._sharding = NamedSharding(mesh, PartitionSpec(AXES))
        self._shape = (placement.count, len(Wish))
        everywhere = NamedSharding(mesh, PartitionSpec())
        shape = jax.ShapeDtypeStruct(self._shape, np.int32, sharding=self._sharding)
        self._reduce = jax.jit(lambda bits: bits.max(axis=0), out_shardings=everywhere).lower(shape).compile()

    def read(self) -> Wish:
        """What all do before the next step, as asked before the last one; one process does all that it finds to do."""
        if not self._is_alone:
            self.agreed = _read(self._asked)
            self._asked = None
        return self.agreed

    def ask(self, wish: Callable[[], Wish]) -> None:
        """Ask what all do before the step after the next one.

        Args:
            wish: what this process wants; called in a run of several processes only.
        """
        if not self._is_alone:
            self._asked = self._ask(wish())

    def now(self, wish: Callable[[], Wish]) -> Wish:
        """What all do now; waits for all processes."""
        if self._is_alone:
            return self.agreed
        return _read(self._ask(wish()))

    def _ask(self, wish: Wish) -> Any:
        bits = np.array([[bool(wish & bit) for bit in Wish]], np.int32)
        given = jax.make_array_from_callback(self._shape, self._sharding, lambda index: bits)
        asked = self._reduce(given)
        asked.copy_to_host_async()
        return asked


def _read(asked: Any) -> Wish:
    if asked is None:
        return Wish.NOTHING
    bits = np.asarray(asked.addressable_data(0))
    return Wish(sum(bit for bit, is_set in zip(Wish, bits, strict=True) if is_set))
