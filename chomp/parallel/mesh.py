"""Which device holds what: the mesh, where arrays lie on it, and which rows of a batch a device computes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding
from jaxtyping import PyTree

from chomp.config.schema import Config
from chomp.data.batch import Batch
from chomp.errors import ConfigError
from chomp.parallel.gather import AXIS

AXES = ("data", AXIS)
# Smaller arrays are on every device: to gather them would take longer than to read them.
LEAST_SHARDED = 4096


@dataclass(frozen=True)
class Placement:
    """Where the arrays of a run lie; on one device there is no mesh and all is as JAX places it.

    Attributes:
        mesh: axes `data` and `fsdp`; None on one device.
    """

    mesh: Mesh | None = None

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

    def put(self, value: Any) -> jax.Array:
        """A small value, equal in all processes, on every device."""
        array = np.asarray(value)
        return jax.make_array_from_callback(array.shape, self.sharding(), lambda index: array[index])

    def place(self, batch: Batch, accum: int) -> Any:
        """A host's batch `[accum, batch, seq]` as the step takes it; each process places the rows of its own devices.

        Args:
            accum: micro-batches of the step on this mesh.
        """
        if self.mesh is None:
            return batch
        shaped = jax.tree.map(lambda field: field.reshape(accum, -1, field.shape[-1]), batch)
        return jax.tree.map(lambda field: self._cut(field, self.rows()), shaped)

    def place_rows(self, rows: Batch) -> Any:
        """Rows `[rows, seq]` of an evaluation, as many as the devices can share, each on its device."""
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


def place_on(config: Config, devices: Sequence[jax.Device]) -> Placement:
    """The mesh of the `parallel` section over these devices.

    Raises:
        ConfigError: the axes do not multiply to the number of devices, the rows of a step cannot be shared out, or a
            setting is defined for one device alone.
    """
    data, fsdp = mesh_shape(config, len(devices))
    if data * fsdp == 1:
        return ONE_DEVICE
    if config.objective.token_filter_keep < 1:
        raise ConfigError(
            f"objective.token_filter_keep is {config.objective.token_filter_keep:g}, which ranks the tokens of a whole "
            f"micro-batch, and {data * fsdp} devices share one; set it to 1, or train on one device "
            "(-o parallel.data=1, --devices 0)"
        )
    return Placement(Mesh(np.asarray(devices[: data * fsdp]).reshape(data, fsdp), AXES))


def mesh_shape(config: Config, devices: int) -> tuple[int, int]:
    """The sizes of the axes `data` and `fsdp` on this many devices.

    Raises:
        ConfigError: they do not multiply to the number of devices.
    """
    data, fsdp = config.parallel.data, config.parallel.fsdp
    if data == -1 and devices % fsdp == 0:
        return devices // fsdp, fsdp
    if fsdp == -1 and devices % data == 0:
        return data, devices // data
    if data > 0 and fsdp > 0 and data * fsdp == devices:
        return data, fsdp
    fixed, name = (fsdp, "parallel.fsdp") if data == -1 else (data, "parallel.data")
    if -1 in (data, fsdp):
        fitting = [size for size in range(1, devices + 1) if devices % size == 0]
        raise ConfigError(
            f"{name} is {fixed}, which does not divide the {devices} devices of this run; it can be "
            f"{_listed(fitting)}, or choose devices with --devices"
        )
    raise ConfigError(
        f"parallel.data x parallel.fsdp = {data} x {fsdp} = {data * fsdp} devices, and this run has {devices}; set one "
        "of them to -1, or choose devices with --devices"
    )


def micro_batches(rows: int, devices: int, most: int) -> int:
    """Micro-batches in which each device computes its share of a step's rows, at most `most` rows at once.

    The least number that shares the rows out evenly; on one device it is `train.grad_accum`.

    Args:
        rows: `train.grad_accum * train.batch_size`.
        most: `train.batch_size`.

    Raises:
        ConfigError: the rows cannot be shared out; names the nearest numbers of devices and rows that can.
    """
    if rows % devices:
        fewer = next(count for count in range(devices - 1, 0, -1) if rows % count == 0)
        below, above = rows // devices * devices, -(-rows // devices) * devices
        counts = _listed([count for count in (below, above) if count])
        raise ConfigError(
            f"a step has {rows} rows (train.grad_accum x train.batch_size), which {devices} devices cannot share "
            f"evenly; {counts} rows fit, or {fewer} of the devices (--devices)"
        )
    share = rows // devices
    return next(count for count in range(1, share + 1) if share % count == 0 and share // count <= most)


def _listed(numbers: Sequence[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} or {last}" if first else last
