"""What a compiled program makes a GPU do: launches, loops, waits for the host, products by dtype, bytes moved."""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chomp.device.cards import Card
from chomp.model.flops import mean_attention_span
from chomp.train.hlo import ELEMENTS, HIGHEST_PRECISION

# Instructions that run nothing on the device.
_FREE = frozenset(
    {
        "parameter",
        "constant",
        "tuple",
        "get-tuple-element",
        "bitcast",
        "after-all",
        "partition-id",
        "replica-id",
        "opt-barrier",
        "async-done",
        "copy-done",
        "all-gather-done",
        "all-reduce-done",
        "collective-permute-done",
    }
)
# What devices exchange, by kind; `-start` is the form that other work may overlap.
COLLECTIVES = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")  # fmt: skip
# A loop whose number of turns is not known is counted with this many.
UNKNOWN_TURNS = 3
# From the host to a kernel's start, outside CUDA graphs: about 2 µs on the machines that NVIDIA publishes figures of.
LAUNCH_SECONDS = 2.15e-6
# Names that `jax.named_scope` gives to the update rule.
OPTIMIZER_SCOPE = "optimizer"
_LAYER = re.compile(r"\d+")
# `jax.experimental.pallas.ops.gpu.attention` names its kernels so.
_FLASH_KERNEL = re.compile(r"\bmha_(forward|backward)\b")


@dataclass(frozen=True)
class Loop:
    """A loop that is not unrolled.

    Attributes:
        turns: None where the device decides, which makes the host wait for it in each turn.
        executions: of the whole loop in one step.
        name: JAX's name of the operation.
    """

    turns: int | None
    executions: int
    name: str


@dataclass(frozen=True)
class Traffic:
    """What one kind of collective costs a device in one step.

    Attributes:
        calls: collectives, some of which exchange several arrays.
        bytes: that the device sends, and as many that it receives, around a ring.
    """

    calls: int
    bytes: float


@dataclass(frozen=True)
class Exchange:
    """Collectives of one kind that are alike.

    Attributes:
        kind: one of `COLLECTIVES`.
        dtype: in which numbers are sent.
        times: each of them in one step; 1 outside all loops.
        calls, bytes: of all of them in one step, see `Traffic`. One that sends several dtypes is a call of its first.
    """

    kind: str
    dtype: str
    times: int
    calls: int
    bytes: float


@dataclass(frozen=True)
class Structure:
    """What one call of a compiled program does.

    Attributes:
        launches: kernels and library calls; those of a loop as often as it turns.
        loop_turns: turns of all loops, each started by the host.
        loops: see `Loop`; several alike are listed once each.
        products: FLOPs of matrix products by how they are computed: `bf16`, `tf32` (fp32 on tensor cores), `fp32`.
        optimizer_products: the share of `products` below the optimizer's scope, in the same form.
        attention_calls: of the attention kernels of cuDNN and Pallas.
        bytes: of operands and results of every launch; of a slice only its own. What the second-level cache keeps from
            one launch to the next is counted all the same.
        results: how often each array shape is the result of a launch, as `(dtype, dimensions)`.
        donated: inputs whose memory an output takes over.
        exchanges: what devices send each other, an entry for each kind, dtype and number of times; empty on one device.
    """

    launches: int
    loop_turns: int
    loops: tuple[Loop, ...]
    products: Mapping[str, float]
    optimizer_products: Mapping[str, float]
    attention_calls: int
    bytes: float
    results: Mapping[tuple[str, tuple[int, ...]], int]
    donated: int
    exchanges: tuple[Exchange, ...] = ()

    @property
    def collectives(self) -> dict[str, Traffic]:
        """The same by kind."""
        found: dict[str, Traffic] = {}
        for each in self.exchanges:
            before = found.get(each.kind, Traffic(0, 0.0))
            found[each.kind] = Traffic(before.calls + each.calls, before.bytes + each.bytes)
        return found

    @property
    def host_syncs(self) -> int:
        """Loops in which the host waits for the device to say whether to go on."""
        return sum(loop.executions for loop in self.loops if loop.turns is None)

    def share_outside_optimizer(self, *kinds: str) -> float:
        """Share of these kinds of products in all FLOPs of products that the optimizer does not compute."""
        outside = {kind: flops - self.optimizer_products.get(kind, 0.0) for kind, flops in self.products.items()}
        total = sum(outside.values())
        return sum(outside.get(kind, 0.0) for kind in kinds) / total if total else 0.0

    def bounds(self, card: Card) -> dict[str, float]:
        """Seconds that a card needs at its published rates for the products, for the bytes, and for the launches.

        Of several cards also for what they exchange.
        """
        rates = {"bf16": card.bf16_flops, "tf32": card.tf32_flops, "fp32": card.fp32_flops}
        found = {
            "products": sum(flops / rates[kind] for kind, flops in self.products.items()),
            "bytes": self.bytes / card.bandwidth,
            "launches": self.launches * LAUNCH_SECONDS,
        }
        if self.collectives:
            found["collectives"] = sum(traffic.bytes for traffic in self.collectives.values()) / card.link
        return found

    def mfu_bound(self, card: Card, model_flops: float) -> float:
        """Model FLOPs utilization that none of the bounds forbids.

        Args:
            model_flops: of a step, on each device.
        """
        return model_flops / card.bf16_flops / max(self.bounds(card).values())


def read_structure(module: Any) -> Structure:
    """Walk through a program (`chomp.train.hlo.read_module`) as it runs."""
    return _Walk(module).structure()


class _Walk:
    def __init__(self, module: Any) -> None:
        self._module = module
        self._computations = {one.id: one for one in module.computations}
        self._loops: Counter[tuple[int | None, int, str]] = Counter()
        self._products: dict[str, float] = defaultdict(float)
        self._optimizer_products: dict[str, float] = defaultdict(float)
        self._results: Counter[tuple[str, tuple[int, ...]]] = Counter()
        self._exchanges: dict[tuple[str, str, int], Traffic] = {}
        self._launches = self._turns = self._attention = 0
        self._bytes = 0.0

    def structure(self) -> Structure:
        self._follow(self._module.entry_computation_id, 1)
        loops = tuple(
            Loop(turns, executions, name)
            for (turns, executions, name), sites in self._loops.items()
            for _ in range(sites)
        )
        return Structure(
            launches=self._launches,
            loop_turns=self._turns,
            loops=loops,
            products=dict(self._products),
            optimizer_products=dict(self._optimizer_products),
            attention_calls=self._attention,
            bytes=self._bytes,
            results=dict(self._results),
            donated=len(self._module.input_output_alias.entries),
            exchanges=tuple(
                Exchange(*key, traffic.calls, traffic.bytes) for key, traffic in sorted(self._exchanges.items())
            ),
        )

    def _follow(self, computation_id: int, times: int) -> None:
        computation = self._computations[computation_id]
        shapes = {one.id: one.shape for one in computation.instructions}
        for one in computation.instructions:
            if one.opcode in _FREE:
                continue
            if one.opcode == "while":
                self._loop(one, times)
            elif one.opcode in ("call", "conditional", "async-start"):
                for called in one.called_computation_ids:
                    self._follow(called, times)
            elif (kind := one.opcode.removesuffix("-start")) in COLLECTIVES:
                self._exchange(kind, one, shapes, times)
            else:
                self._launch(one, shapes, times)

    def _loop(self, one: Any, times: int) -> None:
        count = _config(one).get("known_trip_count", {}).get("n")
        turns = int(count) if count is not None else None
        self._loops[turns, times, _LAYER.sub("#", one.metadata.op_name)] += 1
        body, condition = one.called_computation_ids
        repeated = times * (UNKNOWN_TURNS if turns is None else turns)
        self._turns += repeated
        self._follow(body, repeated)
        if turns is None:
            self._follow(condition, repeated)

    def _launch(self, one: Any, shapes: Mapping[int, Any], times: int) -> None:
        self._launches += times
        self._bytes += times * self._moved(one, shapes)
        for dtype, dims in _arrays(one.shape):
            self._results[dtype, dims] += times
        if count := _attention_products(one):
            self._attention += times
            self._count_attention(one, count, shapes[one.operand_ids[0]], times)
        for dot, operands in self._dots(one, shapes):
            self._count_product(dot, operands, times)

    def _exchange(self, kind: str, one: Any, shapes: Mapping[int, Any], times: int) -> None:
        """A ring passes on all parts but the own; an all-reduce is a reduce-scatter and an all-gather."""
        devices = _group_size(one)
        share = (devices - 1) / devices
        # Of each byte of the operands: how many are sent, and how many result.
        sent, results = {
            "all-gather": (devices - 1, devices),
            "reduce-scatter": (share, 1 / devices),
            "all-reduce": (2 * share, 1),
            "all-to-all": (share, 1),
            "collective-permute": (1, 1),
        }[kind]
        self._launches += times
        calls = times
        for operand in one.operand_ids:
            self._bytes += times * _bytes(shapes[operand]) * (1 + results)
            for dtype, _ in _arrays(shapes[operand]):
                before = self._exchanges.get((kind, dtype, times), Traffic(0, 0.0))
                moved = before.bytes + times * sent * _bytes(shapes[operand])
                self._exchanges[kind, dtype, times] = Traffic(before.calls + calls, moved)
                calls = 0

    def _dots(self, one: Any, shapes: Mapping[int, Any]) -> Iterator[tuple[Any, list[Any]]]:
        """Matrix products of a launch, each with the shapes of its operands."""
        if one.opcode == "dot" or "gemm" in one.custom_call_target or "matmul" in one.custom_call_target:
            yield one, [shapes[operand] for operand in one.operand_ids]
        for called in one.called_computation_ids if one.opcode in ("fusion", "call") else ():
            inner = self._computations[called]
            inner_shapes = {each.id: each.shape for each in inner.instructions}
            for each in inner.instructions:
                yield from self._dots(each, inner_shapes)

    def _count_product(self, dot: Any, operands: list[Any], times: int) -> None:
        if dot.opcode == "dot":
            contracted = dot.dot_dimension_numbers.lhs_contracting_dimensions
            precisions = list(dot.precision_config.operand_precision)
        else:
            gemm = _config(dot).get("gemm_backend_config", {})
            contracted = gemm.get("dot_dimension_numbers", {}).get("lhs_contracting_dimensions", [])
            precisions = [
                HIGHEST_PRECISION if one == "HIGHEST" else 0
                for one in gemm.get("precision_config", {}).get("operand_precision", [])
            ]
        lhs = next(iter(_arrays(operands[0])))
        result = next(iter(_arrays(dot.shape)))
        flops = 2.0 * math.prod(result[1]) * math.prod(lhs[1][int(axis)] for axis in contracted)
        kind = _product_kind(lhs[0], precisions)
        self._products[kind] += times * flops
        if f"/{OPTIMIZER_SCOPE}/" in dot.metadata.op_name:
            self._optimizer_products[kind] += times * flops

    def _count_attention(self, one: Any, count: int, query: Any, times: int) -> None:
        """A product has two operations for each query, each of its channels, and each key up to the query."""
        dtype, (batch, length, heads, width) = next(iter(_arrays(query)))
        window = _config(one).get("cudnn_fmha_backend_config", {}).get("sliding_window_length") or None
        span = mean_attention_span(length, length, window)
        self._products[_product_kind(dtype, [])] += times * count * 2.0 * batch * length * heads * width * span

    def _moved(self, one: Any, shapes: Mapping[int, Any]) -> float:
        """Bytes of operands and results; of a slice, and of what is written into a slice, only those."""
        if one.opcode in ("dynamic-slice", "slice", "gather"):
            return 2 * _bytes(one.shape)
        if one.opcode == "dynamic-update-slice":
            return 2 * _bytes(shapes[one.operand_ids[1]])
        if one.opcode != "fusion":
            return _bytes(one.shape) + sum(_bytes(shapes[operand]) for operand in one.operand_ids)
        inner = self._computations[one.called_computation_ids[0]]
        return self._read_by(inner) + self._written_by(inner)

    def _read_by(self, fused: Any) -> float:
        users: dict[int, list[Any]] = {}
        for each in fused.instructions:
            for place, operand in enumerate(each.operand_ids):
                users.setdefault(operand, []).append((each, place))
        total: float = 0.0
        for each in fused.instructions:
            if each.opcode != "parameter":
                continue
            uses = users.get(each.id, [])
            if uses and all(user.opcode in ("dynamic-slice", "slice", "gather") and not place for user, place in uses):
                total += sum(_bytes(user.shape) for user, _ in uses)
            elif not (uses and all(user.opcode == "dynamic-update-slice" and not place for user, place in uses)):
                total += _bytes(each.shape)
        return total

    def _written_by(self, fused: Any) -> float:
        known = {each.id: each for each in fused.instructions}
        root = known[fused.root_id]
        results = [known[operand] for operand in root.operand_ids] if root.opcode == "tuple" else [root]
        total: float = 0.0
        for result in results:
            while result.opcode == "bitcast":
                result = known[result.operand_ids[0]]
            if result.opcode == "dynamic-update-slice":
                result = known[result.operand_ids[1]]
            total += _bytes(result.shape)
        return total


def _attention_products(one: Any) -> int:
    """How many matrix products a call of causal attention does, 0 for another: the Pallas kernel does two twice."""
    target = one.custom_call_target
    if target.startswith("__cudnn$fmha"):
        return 5 if target.endswith("Backward") else 2
    kernel = _FLASH_KERNEL.search(one.metadata.op_name) if "triton" in target else None
    return {"forward": 2, "backward": 7}[kernel[1]] if kernel else 0


def _group_size(one: Any) -> int:
    """How many devices a collective exchanges with each other."""
    groups = one.collective_device_list
    if groups.replica_groups:
        return len(groups.replica_groups[0].replica_ids)
    return max(1, groups.iota_replica_group_list.num_devices_per_group)


def _product_kind(dtype: str, precisions: list[int]) -> str:
    if dtype in ("bfloat16", "float16") or dtype.startswith("float8"):
        return "bf16"
    return "fp32" if HIGHEST_PRECISION in precisions or dtype != "float32" else "tf32"


def _config(instruction: Any) -> dict[str, Any]:
    """The instruction's `backend_config`, which XLA writes as JSON; empty for kernels with a format of their own."""
    try:
        found = json.loads(instruction.backend_config or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _arrays(shape: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    if shape.tuple_shapes:
        for one in shape.tuple_shapes:
            yield from _arrays(one)
    elif shape.element_type in ELEMENTS:
        yield ELEMENTS[shape.element_type][0], tuple(shape.dimensions)


_SIZES = dict(ELEMENTS.values())


def _bytes(shape: Any) -> float:
    return sum(_SIZES[dtype] * math.prod(dims) for dtype, dims in _arrays(shape))
