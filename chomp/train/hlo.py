"""An optimized XLA program as data: those fields of `xla/service/hlo.proto` that chomp reads.

XLA serializes a program as a protocol buffer and does not publish Python classes for it. The table below names the
fields by their numbers, which XLA keeps; the protobuf library skips all others.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# Message -> field -> (number, type); `*` repeats, a capital letter begins another message.
# Enums are read as integers, which is how they are written.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "HloModuleProto": {
        "name": (1, "string"),
        "entry_computation_id": (6, "int64"),
        "computations": (3, "*HloComputationProto"),
        "input_output_alias": (8, "HloInputOutputAliasProto"),
    },
    "HloComputationProto": {
        "name": (1, "string"),
        "instructions": (2, "*HloInstructionProto"),
        "id": (5, "int64"),
        "root_id": (6, "int64"),
    },
    "HloInstructionProto": {
        "name": (1, "string"),
        "opcode": (2, "string"),
        "shape": (3, "ShapeProto"),
        "metadata": (7, "OpMetadata"),
        "parameter_number": (9, "int64"),
        "custom_call_target": (28, "string"),
        "dot_dimension_numbers": (30, "DotDimensionNumbers"),
        "id": (35, "int64"),
        "operand_ids": (36, "*int64"),
        "called_computation_ids": (38, "*int64"),
        "backend_config": (43, "bytes"),
        "precision_config": (51, "PrecisionConfig"),
        "collective_device_list": (87, "CollectiveDeviceListProto"),
    },
    # The groups in which devices exchange: listed, or in short how many there are of how many devices.
    "CollectiveDeviceListProto": {
        "replica_groups": (1, "*ReplicaGroup"),
        "iota_replica_group_list": (2, "IotaReplicaGroupListProto"),
    },
    "ReplicaGroup": {"replica_ids": (1, "*int64")},
    "IotaReplicaGroupListProto": {"num_devices_per_group": (2, "int64")},
    "ShapeProto": {
        "element_type": (2, "int32"),
        "dimensions": (3, "*int64"),
        "tuple_shapes": (4, "*ShapeProto"),
    },
    "OpMetadata": {"op_name": (2, "string")},
    "DotDimensionNumbers": {
        "lhs_contracting_dimensions": (1, "*int64"),
        "rhs_contracting_dimensions": (2, "*int64"),
        "lhs_batch_dimensions": (3, "*int64"),
        "rhs_batch_dimensions": (4, "*int64"),
    },
    "PrecisionConfig": {"operand_precision": (1, "*int32"), "algorithm": (3, "int32")},
    "HloInputOutputAliasProto": {"entries": (1, "*AliasEntryProto")},
    "AliasEntryProto": {"output_shape_index": (1, "*int64"), "parameter_number": (2, "int64")},
}

# `xla.PrimitiveType` -> name and bytes of an element.
ELEMENTS: dict[int, tuple[str, float]] = {
    1: ("bool", 1), 2: ("int8", 1), 3: ("int16", 2), 4: ("int32", 4), 5: ("int64", 8), 6: ("uint8", 1),
    7: ("uint16", 2), 8: ("uint32", 4), 9: ("uint64", 8), 10: ("float16", 2), 11: ("float32", 4), 12: ("float64", 8),
    15: ("complex64", 8), 16: ("bfloat16", 2), 18: ("complex128", 16), 19: ("float8_e5m2", 1), 20: ("float8_e4m3fn", 1),
    21: ("int4", 0.5), 22: ("uint4", 0.5),
}  # fmt: skip
# `xla.PrecisionConfig.Precision`.
HIGHEST_PRECISION = 2


def read_module(serialized: bytes) -> Any:
    """Parse an `HloModuleProto`, as `HloModule.as_serialized_hlo_module_proto` writes it."""
    message = _module_class()()
    message.ParseFromString(serialized)
    return message


@cache
def _module_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="hlo_subset.proto", package="xla", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            one = message.field.add(name=field, number=number)
            one.label = kinds.LABEL_REPEATED if kind.startswith("*") else kinds.LABEL_OPTIONAL
            kind = kind.removeprefix("*")
            if kind in _MESSAGES:
                one.type, one.type_name = kinds.TYPE_MESSAGE, f".xla.{kind}"
            else:
                one.type = getattr(kinds, f"TYPE_{kind.upper()}")
    # A pool of its own: a library that is loaded beside this may bring the whole of XLA's messages.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("xla.HloModuleProto"))
