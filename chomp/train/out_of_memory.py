"""Turns a failed allocation into one sentence: what was requested, what is free, and what would fit."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import jax

from chomp.config.mesh import rows_at_once
from chomp.config.variants import Variant, as_written, batch_sizes, head_chunks, policies, vary
from chomp.errors import DeviceError
from chomp.record.formatting import size
from chomp.train.blueprint import Blueprint
from chomp.train.footprint import fsdp_advice, least_fsdp, predict_variant
from chomp.train.free_memory import FreeMemory, free_memory

log = logging.getLogger("chomp.memory")

# Texts of failed allocations by XLA, CUDA and its libraries. XLA also calls a kernel that needs more of the fast memory
# inside a multiprocessor than there is exhausted, which no other batch mends.
_MARKS = re.compile(
    r"RESOURCE_EXHAUSTED|out of memory|bad_alloc|CUDA_ERROR_OUT_OF_MEMORY|CU(BLAS|DNN)_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
_OTHER = re.compile(r"shared memory", re.IGNORECASE)
_REQUESTED = re.compile(r"allocat\w*\D{0,40}?([\d.]+) ?(bytes|B|KiB|MiB|GiB|TiB)\b")
_UNITS = {"bytes": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
# Estimates miss scratch space and fragmentation.
ROOM = 0.95


class OutOfMemoryError(DeviceError):
    """An allocation failed; `fits` are ways to compute the same step that would fit."""

    def __init__(self, sentence: str, fits: tuple[Variant, ...] = ()):
        super().__init__(sentence)
        self.fits = fits


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on the device or on the host."""
    # A constant that cannot be made is a ValueError.
    if isinstance(error, jax.errors.JaxRuntimeError) or (
        isinstance(error, ValueError) and str(error).startswith("RESOURCE_EXHAUSTED")
    ):
        text = str(error)
        return bool(_MARKS.search(text)) and not _OTHER.search(text)
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)


def requested_bytes(error: BaseException) -> int | None:
    """The size of the allocation that failed, where the message has it."""
    found = _REQUESTED.search(str(error))
    return round(float(found[1].rstrip(".")) * _UNITS[found[2]]) if found else None


def out_of_memory(
    error: BaseException,
    when: str = "",
    blueprint: Blueprint | None = None,
    compiled: Mapping[str, int] | None = None,
) -> OutOfMemoryError:
    """The sentence about an error of which `is_out_of_memory` is true.

    Args:
        when: what the engine did, as in `in step 3`.
        blueprint: what was trained; without it there is no advice.
        compiled: XLA's account of its step, which corrects the estimates.
    """
    log.error("out of memory %s", when, exc_info=error)
    memory = free_memory(host=not isinstance(error, jax.errors.JaxRuntimeError))
    requested = requested_bytes(error)
    asked = f"{size(requested)} were requested and " if requested is not None else ""
    said = f"out of memory{f' {when}' if when else ''}: {asked}{memory.sentence}"
    if blueprint is None:
        return OutOfMemoryError(said)
    try:
        fits, shared = _what_fits(blueprint, compiled or {}, memory)
    except (MemoryError, jax.errors.JaxRuntimeError) as second:
        # The estimate itself needs some memory.
        log.error("no estimate of what would fit", exc_info=second)
        return OutOfMemoryError(said)
    return OutOfMemoryError(f"{said}; {_advice(fits, shared)}", tuple(variant for variant, _ in fits))


@contextmanager
def explained(when: str, blueprint: Blueprint) -> Iterator[None]:
    """Raise `OutOfMemoryError` in place of a failed allocation."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(error, when, blueprint) from error


def during(
    error: Exception, phase: str, step: int, blueprint: Blueprint, compiled: Mapping[str, int] | None
) -> Exception:
    """`error`; for a failed allocation in a phase of training, the sentence about it.

    Args:
        step: the last completed one.
    """
    if isinstance(error, OutOfMemoryError) or not is_out_of_memory(error):
        return error
    match phase:
        case "compile":
            return out_of_memory(error, "while the step was compiled", blueprint, compiled)
        case "train":
            return out_of_memory(error, f"in step {step + 1}", blueprint, compiled)
        case _:
            when, advice = _BETWEEN_STEPS.get(phase, ("after step {step}", "free some memory"))
            plain = out_of_memory(error, when.format(step=step))
            return OutOfMemoryError(f"{plain}; {advice}")


_BETWEEN_STEPS = {
    "eval": (
        "in the evaluation at step {step}",
        "a smaller train.batch_size or model.loss_chunk_size needs less, and train.eval_every: 0 none",
    ),
    "sample": (
        "while sampling at step {step}",
        "a smaller train.generate_max_tokens or train.generate_input_len needs less, and train.generate_every: 0 none",
    ),
    "save": ("while step {step} was saved", "free some memory of the host"),
}


def _advice(fits: list[tuple[Variant, int]], shared: str | None) -> str:
    """What would fit, and what is said of the mesh."""
    if not fits and shared is not None:
        return shared
    if not fits:
        return (
            "by the estimate no micro-batch, recomputation or head chunk with the same tokens per step fits: "
            "shorten train.seq_len or choose a smaller model"
        )
    listed = ", ".join(f"{variant.options} ({size(total)})" for variant, total in fits)
    said = f"with the same tokens per step these would fit by estimate: {listed}"
    return said if shared is None else f"{said}; {shared}"


def _what_fits(
    blueprint: Blueprint, compiled: Mapping[str, int], memory: FreeMemory
) -> tuple[list[tuple[Variant, int]], str | None]:
    """The mildest change of each kind that fits with its memory; if no single one does, of all together.

    On several devices also a sentence about the mesh.
    """
    config, platform, placement = blueprint.config, jax.default_backend(), blueprint.placement
    now = as_written(config)
    written = predict_variant(now, platform, placement)
    factor = written.as_compiled(compiled["total"]) if "total" in compiled else 1.0
    # What failed needs more than there is, whatever the figures say.
    most = ROOM * written.scaled(factor)
    if memory.usable is not None:
        most = min(most, ROOM * memory.usable)
    chunks = [chunk for chunk in head_chunks(config, now.batch_size) if _is_less(chunk, now.head_chunk)]
    # XLA's compiler for CPUs undoes recomputation.
    stronger = [] if platform == "cpu" else policies(config)[policies(config).index(now.policy) + 1 :]
    # Devices that have fewer rows each compute no more at once.
    smaller = [number for number in batch_sizes(config) if number < rows_at_once(config, placement.count)]
    kinds = [
        [(number, now.policy, now.head_chunk) for number in smaller],
        [(now.batch_size, policy, now.head_chunk) for policy in stronger],
        [(now.batch_size, now.policy, chunk) for chunk in chunks],
    ]

    def mildest(ways: list[tuple[int, str, int | None]]) -> list[tuple[Variant, int]]:
        for batch_size, policy, chunk in ways:
            variant = vary(config, batch_size, policy, chunk)
            total = predict_variant(variant, platform, placement).scaled(factor) if variant is not None else None
            if variant is not None and total is not None and total <= most:
                return [(variant, total)]
        return []

    single = [found for ways in kinds for found in mildest(ways)]
    strongest, smallest = [now.policy, *stronger][-1], [now.head_chunk, *chunks][-1]
    fits = single or mildest([(number, strongest, smallest) for number in (now.batch_size, *smaller)])
    if placement.fsdp == placement.count:
        return fits, None
    least = least_fsdp(placement.count, round(most), lambda mesh: predict_variant(now, platform, mesh).scaled(factor))
    return fits, fsdp_advice(config, placement.count, least)


def _is_less(chunk: int | None, than: int | None) -> bool:
    return chunk is not None and (than is None or chunk < than)
