"""How a number of devices would share the work of a configuration: the mesh, and the rows of a step."""

from __future__ import annotations

import math
from collections.abc import Sequence

from chomp.config.rules.arithmetic import grad_accum
from chomp.config.schema import Config
from chomp.errors import ConfigError


def mesh_for(config: Config, devices: int) -> tuple[int, int]:
    """The sizes of the axes `data` and `fsdp` of the mesh of a configuration over so many devices.

    Raises:
        ConfigError: the axes do not multiply to the number of devices, the rows of a step cannot be shared out, or a
            setting is defined for one device alone.
    """
    shape = mesh_shape(config, devices)
    if config.objective.token_filter_keep < 1 and devices > 1:
        raise ConfigError(
            f"objective.token_filter_keep is {config.objective.token_filter_keep:g}, which ranks the tokens of a whole "
            f"micro-batch, and {devices} devices share one; set it to 1, or train on one device (--devices 0)"
        )
    micro_batches(config, devices)
    return shape


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
            f"{name} is {fixed}, which does not divide the {devices} device{'s' * (devices != 1)} of this run; it can "
            f"be {_listed(fitting)}, or choose devices with --devices"
        )
    raise ConfigError(
        f"parallel.data x parallel.fsdp = {data} x {fsdp} = {data * fsdp} devices, and this run has {devices}; set one "
        "of them to -1, or choose devices with --devices"
    )


def micro_batches(config: Config, devices: int) -> int:
    """Micro-batches in which each device computes its share of a step's rows, at most `train.batch_size` rows at once.

    The least number that shares the rows out evenly; on one device it is `train.grad_accum`.

    Raises:
        ConfigError: the rows cannot be shared out; names the options with which they can.
    """
    most, accum = config.train.batch_size, grad_accum(config)
    rows = most * accum
    if rows % devices:
        raise ConfigError(_not_shared(config, devices))
    share = rows // devices
    return next(count for count in range(1, share + 1) if share % count == 0 and share // count <= most)


def rows_at_once(config: Config, devices: int) -> int:
    """Rows of a micro-batch that each device computes."""
    return config.train.batch_size * grad_accum(config) // devices // micro_batches(config, devices)


def _not_shared(config: Config, devices: int) -> str:
    train, accum = config.train, grad_accum(config)
    rows = train.batch_size * accum
    fewer = next(count for count in range(devices - 1, 0, -1) if rows % count == 0)
    unit = devices // math.gcd(devices, train.batch_size)
    near = [count for count in (accum // unit * unit, -(-accum // unit) * unit) if count]
    written = "train.batch_tokens" if train.batch_tokens is not None else "train.grad_accum"
    each = train.batch_size * train.seq_len if train.batch_tokens is not None else 1
    options = _listed([f"-o {written}={count * each} ({count * train.batch_size} rows)" for count in near])
    return (
        f"a step has {rows} rows (train.batch_size {train.batch_size} x {accum}), which {devices} devices cannot share "
        f"evenly: use {fewer} of them with --devices {','.join(map(str, range(fewer)))}, or {options}"
    )


def _listed(choices: Sequence[object]) -> str:
    *first, last = map(str, choices)
    return f"{', '.join(first)} or {last}" if first else last
