"""How a configuration would train on a card that is not in this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from chomp.analysis.aot import CardProgram, compile_for
from chomp.config.mesh import micro_batches
from chomp.device.cards import Card
from chomp.errors import DeviceError
from chomp.train.blueprint import Blueprint, build_blueprint


@dataclass(frozen=True)
class Split:
    """A micro-batch that was compiled.

    Attributes:
        batch_size: sequences in it, on each card.
        grad_accum: so many of them are a step; their product is the configuration's.
        memory: bytes of the compiled step, None where XLA could not compile it.
    """

    batch_size: int
    grad_accum: int
    memory: int | None


@dataclass(frozen=True)
class CardReport:
    """The compiled step, and what it means.

    Attributes:
        fits: whether the step's memory is within the pool that JAX takes by default.
        tried: splits of the same rows per step into micro-batches, the configuration's first.
        largest: the largest micro-batch of them that fits.
    """

    program: CardProgram
    fits: bool
    tried: tuple[Split, ...]
    largest: Split | None
    seconds: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        program, structure = self.program, self.program.structure
        placement = program.blueprint.placement
        return {
            "name": program.card.name,
            "device_kind": program.card.device_kind,
            "count": placement.count,
            "mesh": placement.shape,
            "memory_bytes": program.card.memory_bytes,
            "pool_bytes": program.card.pool_bytes,
            "compiled": program.memory,
            "compile_seconds": round(program.seconds, 1),
            "flags": program.flags,
            "launches": structure.launches,
            "host_syncs": structure.host_syncs,
            "products": dict(structure.products),
            "moved_bytes": structure.bytes,
            "collectives": {kind: asdict(traffic) for kind, traffic in structure.collectives.items()},
            "seconds": self.seconds,
            "mfu_bound": program.mfu_bound,
            "fits": self.fits,
            "tried": [asdict(split) for split in self.tried],
            "largest": asdict(self.largest) if self.largest else None,
        }


def report_for(
    card: Card, blueprint: Blueprint, say: Callable[[str], None] = lambda text: None, count: int = 1
) -> CardReport:
    """Compile the step for a card, then look for the largest micro-batch that fits.

    Args:
        blueprint: built for the platform `gpu`.
        say: told before each compilation, which may take minutes.
        count: cards in one machine, on which the mesh of the configuration lies.

    Raises:
        ConfigError: so many devices do not fit the mesh or the rows of a step.
        DeviceError: the CUDA wheels are missing, or XLA cannot compile the step for this card.
    """

    config, rows = blueprint.config, blueprint.rows
    accum = micro_batches(config, count)
    share = rows // count
    first = share // accum

    def compiled(some: Blueprint) -> CardProgram:
        size = min(some.config.train.batch_size, share)
        cards = f"{count} x {card.name}" if count > 1 else card.name
        say(f"compiling for {cards}: micro-batches of {size}, {share // size} of them …")
        return compile_for(card, some, count)

    def total(batch_size: int) -> int | None:
        split = {"batch_size": batch_size, "grad_accum": rows // batch_size}
        changed = config.model_copy(update={"train": config.train.model_copy(update=split)})
        try:
            return compiled(build_blueprint(changed, "gpu")).memory["total"]
        except DeviceError:
            return None

    program = compiled(blueprint)
    tried = {first: program.memory["total"], **search(first, share, program.memory["total"], card.pool_bytes, total)}
    splits = tuple(Split(size, rows // size, memory) for size, memory in tried.items())
    fitting = [split for split in splits if split.memory is not None and split.memory <= card.pool_bytes]
    return CardReport(
        program,
        program.memory["total"] <= card.pool_bytes,
        splits,
        max(fitting, key=lambda split: split.batch_size, default=None),
        program.structure.bounds(card),
    )


def search(first: int, rows: int, memory: int, limit: int, total: Callable[[int], int | None]) -> dict[int, int | None]:
    """Memory of further micro-batches, tried from where a line through the first two meets the limit."""
    tried: dict[int, int | None] = {}
    sizes = [size for size in range(1, rows + 1) if rows % size == 0]
    second = next((size for size in sizes if (size > first) == (memory <= limit) and size != first), None)
    if second is None:
        return tried
    if memory > limit:
        second = max(size for size in sizes if size < first)
    found = tried[second] = total(second)
    if found is None:
        return tried
    slope = (found - memory) / (second - first)
    known = {first: memory, second: found}
    fits = [size for size in sizes if memory + slope * (size - first) <= limit]
    for size in reversed(fits or sizes[:1]):
        used = known[size] if size in known else tried.setdefault(size, total(size))
        if used is not None and used <= limit:
            break
    return tried
