"""Which device holds what: the mesh, where arrays lie on it, and which rows of a batch a device computes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding
from jaxtyping import PyTree

from chomp.config.mesh import mesh_for
from chomp.config.schema import Config
from chomp.data.batch import Batch
from chomp.parallel.gather import AXIS

AXES = ("data", AXIS)
# Smaller arrays are on every device: to gather them would take longer than to read them.
LEAST_SHARDED = 4096


@dataclass(frozen=True)
class Placement:
    """Where the arrays of a run lie; on one device there is no mesh and all is as JAX places it.

    Attributes:
        mesh: axes `data` and `fsdp`; None on one device. Of devices that are not here it is abstract, and sizes alone
            are known.
    """

    mesh: Mesh | AbstractMesh | None = None

    @property
    def data(self) -> int:
        """Copies of the parameters."""
        return self.mesh.shape["data"] if self.mesh is not None else 1

    @property
    def fsdp(self) -> int:
        """Devices that share a copy."""
        return self.mesh.shape[AXIS] if self.mesh is not None else 1

    @property
    def count(self) -> int:
        """Devices."""
        return self.data * self.fsdp

    @property
    def shape(self) -> dict[str, int]:
        """The axes with their sizes."""
        return {"data": self.data, AXIS: self.fsdp}

    def devices(self) -> list[jax.Device]:
        """All of them, those of other processes included."""
        return list(self.mesh.devices.flat) if self.mesh is not None else jax.devices()[:1]

    def cut_axis(self, shape: Sequence[int]) -> int:
        """The axis of an array that devices of one copy share, or -1 for an array that each of them holds.

        It is the longest that divides, a function of the shape alone: an optimizer's moments lie where their parameters
        do, and what is restored lies where it was.
        """
        if self.fsdp == 1 or math.prod(shape) < LEAST_SHARDED:
            return -1
        fitting = [axis for axis, size in enumerate(shape) if size % self.fsdp == 0]
        return max(fitting, key=lambda axis: shape[axis], default=-1)

    def spec(self, shape: Sequence[int]) -> PartitionSpec:
        """How an array of the train state is cut."""
        axis = self.cut_axis(shape)
        return PartitionSpec() if axis < 0 else PartitionSpec(*[None] * axis, AXIS)

    def shardings(self, tree: PyTree) -> PyTree:
        """Where the arrays of a tree, given by their shapes, lie."""
        return jax.tree.map(lambda leaf: self.sharding(leaf.shape), tree)

    def sharding(self, shape: Sequence[int] = ()) -> Sharding:
        """Where an array of this shape lies; scalars are everywhere."""
        if self.mesh is None:
            return SingleDeviceSharding(jax.devices()[0])
        return NamedSharding(self.mesh, self.spec(shape))

    def abstract(self, tree: PyTree) -> PyTree:
        """The shapes of a tree with where each array lies, as compilers and readers of checkpoints take them."""
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self.sharding(leaf.shape)), tree
        )

    def rows(self) -> PartitionSpec:
        """How a batch `[accum, rows, seq]` is cut: each device has its own rows of each micro-batch."""
        return PartitionSpec(None, AXES)

    def abstract_rows(self, batch: PyTree) -> PyTree:
        """The shapes of such a batch with where its rows lie."""
        assert self.mesh is not None
        sharding = NamedSharding(self.mesh, self.rows())
        return jax.tree.map(lambda field: jax.ShapeDtypeStruct(field.shape, field.dtype, sharding=sharding), batch)

    def place(self, batch: Batch, accum: int) -> Any:
        """A host's batch `[accum, batch, seq]` as the step takes it; each process places the rows of its own devices.

        Args:
            accum: micro-batches of the step on this mesh.
        """
        if self.mesh is None:
            return batch
        shaped = jax.tree.map(lambda field: field.reshape(accum, -1, field.shape[-1]), batch)
        return jax.tree.map(lambda field: self._cut(field, self.rows()), shaped)

    def place_rows(self, rows: PyTree) -> Any:
        """Arrays `[rows, ...]` of an evaluation, as many as the devices can share, each row on its device."""
        return rows if self.mesh is None else jax.tree.map(lambda field: self._cut(field, PartitionSpec(AXES)), rows)

    def _cut(self, array: np.ndarray, spec: PartitionSpec) -> jax.Array:
        assert self.mesh is not None
        return jax.make_array_from_callback(array.shape, NamedSharding(self.mesh, spec), lambda index: array[index])

    def gathered(self, params: PyTree, dtype_of: Callable[[Any, Any], Any]) -> PyTree:
        """Parameters whole on the first device of each process, in the dtypes in which they are read, for sampling.

        All processes call it.

        Args:
            dtype_of: (path, leaf) -> dtype.
        """
        if self.mesh is None:
            return params
        everywhere = jax.tree.map(lambda _: self.sharding(), params)
        whole = jax.jit(
            lambda params: jax.tree_util.tree_map_with_path(
                lambda path, leaf: leaf.astype(dtype_of(path, leaf)), params
            ),
            out_shardings=everywhere,
        )(params)
        return jax.tree.map(lambda leaf: leaf.addressable_shards[0].data, whole)


ONE_DEVICE = Placement()


def placement_of(data: int, fsdp: int) -> Placement:
    """A mesh of this shape whose devices need not be here: for what arrays of it take on a device."""
    return Placement(AbstractMesh((data, fsdp), AXES)) if data * fsdp > 1 else ONE_DEVICE


def plan_mesh(config: Config, devices: int) -> Placement:
    """The mesh of the `parallel` section over so many devices, which need not be here; errors are `mesh_for`'s."""
    return placement_of(*mesh_for(config, devices))


def place_on(config: Config, devices: Sequence[jax.Device]) -> Placement:
    """The mesh of the `parallel` section over these devices; errors are `mesh_for`'s."""
    planned = plan_mesh(config, len(devices))
    if planned.mesh is None:
        return ONE_DEVICE
    return Placement(Mesh(np.asarray(devices).reshape(planned.data, planned.fsdp), AXES))
