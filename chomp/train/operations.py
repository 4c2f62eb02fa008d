"""The costliest operations in a trace of JAX's profiler, named after the compiled step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jax.profiler import ProfileData, ProfileEvent

from chomp.errors import ChompError
from chomp.train.hlo import ELEMENTS, read_module

COSTLIEST = 10
# The statistics of an event by which XLA names the operation of a program that it belongs to.
INSTRUCTION, MODULE = "hlo_op", "hlo_module"
# What a fusion or a loop is named after where it holds one.
PRODUCTS = ("dot", "convolution", "custom-call")
_NUMBER = re.compile(r"(\.\d+)+$")

Names = Mapping[tuple[str, str], str]
"""(module, instruction) -> what it computes."""


@dataclass(frozen=True)
class TraceReport:
    """What devices did during a trace.

    Attributes:
        bytes: of all files of the trace.
        busy_seconds: of all operations on all devices; None where the trace has none.
        operations: the costliest, see `chomp.record.events.Profiled`.
    """

    bytes: int
    busy_seconds: float | None
    operations: list[dict[str, Any]]


def read_trace(folder: Path, names: Names) -> TraceReport:
    """Read the newest trace below `folder`.

    Raises:
        ChompError: there is none.
    """
    traces = sorted(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)
    if not traces:
        raise ChompError("the profiler wrote no trace")
    written = sum(path.stat().st_size for path in traces[-1].parent.iterdir())
    found = costliest(ProfileData.from_file(str(traces[-1])), names)
    return TraceReport(written, *found)


def costliest(trace: ProfileData, names: Names) -> tuple[float | None, list[dict[str, Any]]]:
    """The seconds of all operations, and those that take the most time themselves, without what they call.

    Operations of equal names (the same product in each layer) count together.
    """
    spent: dict[str, dict[tuple[str, str], float]] = {}
    calls: dict[str, int] = {}
    for operation, nanoseconds in _own_times(trace):
        name = names.get(operation) or _NUMBER.sub("", operation[1])
        members = spent.setdefault(name, {})
        members[operation] = members.get(operation, 0.0) + nanoseconds
        calls[name] = calls.get(name, 0) + 1
    if not spent:
        return None, []
    totals = {name: sum(members.values()) for name, members in spent.items()}
    chosen = sorted(totals, key=lambda name: -totals[name])[:COSTLIEST]
    return sum(totals.values()) / 1e9, [
        {
            "name": name,
            "instruction": max(spent[name], key=lambda one: spent[name][one])[1],
            "calls": calls[name],
            "seconds": round(totals[name] / 1e9, 9),
        }
        for name in chosen
    ]


def _own_times(trace: ProfileData) -> Iterator[tuple[tuple[str, str], float]]:
    """Each operation with its nanoseconds beyond those of operations inside of it.

    On a CPU operations are among other events of the host's threads. A GPU has a line for each stream, a TPU one for
    all operations.
    """
    for plane in trace.planes:
        is_device = plane.name.startswith("/device:")
        lines = list(plane.lines)
        if is_device:
            ordered = [line for line in lines if line.name == "XLA Ops"]
            lines = ordered or [line for line in lines if line.name.startswith("Stream ")]
        elif plane.name != "/host:CPU":
            continue
        for line in lines:
            yield from _without_inner(_operations(line.events, is_device=is_device))


def _operations(events: Iterable[ProfileEvent], *, is_device: bool) -> list[tuple[float, float, tuple[str, str]]]:
    """Beginning, end, and module with instruction of each operation; a kernel that has none has its own name."""
    found = []
    for event in events:
        said = {name: value for name, value in event.stats if name in (INSTRUCTION, MODULE)}
        if INSTRUCTION in said or is_device:
            operation = (str(said.get(MODULE, "")), str(said.get(INSTRUCTION) or event.name))
            found.append((event.start_ns, event.start_ns + event.duration_ns, operation))
    return found


def _without_inner(
    operations: list[tuple[float, float, tuple[str, str]]],
) -> Iterator[tuple[tuple[str, str], float]]:
    """Each operation of one thread or stream, with its time without those inside of it."""
    # Ends of the operations that are open, with what is left of their time.
    opened: list[tuple[float, tuple[str, str], float]] = []
    for begin, end, operation in sorted(operations, key=lambda one: (one[0], -one[1])):
        while opened and opened[-1][0] <= begin:
            yield opened.pop()[1:]
        if opened:
            outer_end, outer, left = opened[-1]
            opened[-1] = (outer_end, outer, left - (min(end, outer_end) - begin))
        opened.append((end, operation, end - begin))
    yield from (one[1:] for one in opened)


def names_of(program: Any) -> Names:
    """What each instruction of a `jax.stages.Compiled` computes: JAX's name, shape, and part of the step."""
    names: dict[tuple[str, str], str] = {}
    for one in program.runtime_executable().hlo_modules():
        module = read_module(one.as_serialized_hlo_module_proto())
        products = {computation.id: _product(computation) for computation in module.computations}
        for computation in module.computations:
            for instruction in computation.instructions:
                inner = [products.get(called) for called in instruction.called_computation_ids]
                is_fusion = instruction.opcode == "fusion" or instruction.opcode == "call"
                named = next((each for each in inner if each is not None), instruction) if is_fusion else instruction
                names[module.name, instruction.name] = _name(named, instruction)
    return names


def _product(computation: Any) -> Any:
    return next((one for one in computation.instructions if one.opcode in PRODUCTS), None)


def _name(named: Any, instruction: Any) -> str:
    """`dot_general f32[64,128] backward`; by XLA's own word where JAX has none, as for copies."""
    scopes = named.metadata.op_name
    primitive = scopes.rpartition("/")[2] if scopes else _NUMBER.sub("", instruction.name)
    words = [primitive, _shape(instruction.shape), _part_of_step(scopes)]
    return " ".join(word for word in words if word)


def _part_of_step(scopes: str) -> str:
    if "/optimizer/" in scopes:
        return "optimizer"
    if "transpose(" in scopes:
        return "backward"
    return "forward" if "jvp(" in scopes else ""


def _shape(shape: Any) -> str:
    """`bf16[8,128]`, of several results the first."""
    while shape.tuple_shapes:
        shape = shape.tuple_shapes[0]
    if shape.element_type not in ELEMENTS:
        return ""
    return f"{ELEMENTS[shape.element_type][0]}[{','.join(map(str, shape.dimensions))}]"
