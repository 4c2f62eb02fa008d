"""The figures of a configuration, computed without training it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from chomp.analysis.aot import has_compiler
from chomp.analysis.card_report import CardReport, report_for
from chomp.analysis.readiness import Readiness, check_start
from chomp.checkpoint.restore import continued
from chomp.config import Config
from chomp.config.derive import Derived
from chomp.data.evaluation_sets import open_sets
from chomp.data.pipeline import build_data
from chomp.data.tokenizers import Tokenizer, build_tokenizer, load_tokenizer
from chomp.device.cards import HOW_TO_INSTALL, Card
from chomp.errors import ChompError, ConfigError
from chomp.model.device import chosen_devices
from chomp.model.flops import peak_flops
from chomp.model.selfcheck import PathCheck, check_path
from chomp.optim.schedule import make_schedule
from chomp.parallel.mesh import ONE_DEVICE, Placement, place_on, plan_mesh
from chomp.record.formatting import size
from chomp.record.manifest import CheckpointInfo
from chomp.train.blueprint import Blueprint, build_blueprint
from chomp.train.compilation import CompiledStep, CompileWatch, compile_step
from chomp.train.evaluations import training_text
from chomp.train.footprint import MemoryEstimate, bytes_on_device, estimate_memory, fsdp_advice, least_fsdp

MOST_COMPARED = 64 << 20
"""Bytes of training text with which evaluation sets are compared before a run; more takes longer than a few seconds."""


@dataclass(frozen=True)
class Inspection:
    """All figures of a configuration; `schedule` holds (step, learning rate) pairs.

    Of a run that goes on from a checkpoint, `continues_from` is its step, `schedule` is the one that is kept from there
    on, and `notes` are sentences on what becomes of it.

    `flops_per_token` are the model's; `recomputed_flops_per_token` come on top with `model.remat`.

    `compiled_memory` is XLA's own account of the compiled step, in bytes, and `path_check` says how far chomp's own way
    through a layer is from the library's; both are None unless the program was compiled.

    `start` says whether a run would start here, and what it needs.
    """

    parameters: int
    breakdown: dict[str, int]
    tokens_per_step: int
    total_tokens: int
    tokens_per_parameter: float
    flops_per_token: float
    recomputed_flops_per_token: float
    total_flops: float
    peak_flops: float | None
    memory: MemoryEstimate
    device: dict[str, Any]
    schedule: list[tuple[int, float]]
    optimizer: str
    compile_seconds: float | None
    continues_from: int | None = None
    notes: tuple[str, ...] = ()
    compiled_memory: dict[str, int] | None = None
    path_check: PathCheck | None = None
    card: CardReport | None = None
    card_estimate: dict[str, Any] | None = None
    start: Readiness | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, with all that is known of the memory in one place."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["path_check"] = asdict(self.path_check) if self.path_check else None
        values["start"] = self.start.as_dict() if self.start else None
        values["card"] = self.card.as_dict() if self.card else None
        values["memory"] = {**self.memory.as_dict(), "compiled": values.pop("compiled_memory")}
        return values


def inspect(
    config: Config,
    *,
    compile_program: bool = False,
    origin: CheckpointInfo | None = None,
    card: Card | None = None,
    devices: Sequence[str] = (),
    count: int | None = None,
    run_dir: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Inspection:
    """Build everything but the data and look at it.

    Args:
        compile_program: also compile the step ahead of time, read XLA's memory account, and try the path of the
            moving average against the library's.
        origin: the checkpoint from which a run with this configuration goes on.
        card: also compile the step for this card, if the CUDA wheels are installed.
        devices: those of this machine that the run would compute on, as `chosen_devices` takes them.
        count: so many devices instead, which need not be here.
        run_dir: where the run will be written, as for `check_start`.
        say: told before each compilation for a card.

    Raises:
        ChompError: the configuration cannot be built.
    """
    device, placement, problems = _mesh(config, devices, card, count)
    # cuDNN's attention cannot even be traced where its wheel is missing.
    compiles = card is not None and has_compiler()
    platform = "gpu" if compiles else device.platform
    blueprint = build_blueprint(config, platform, _tokenizer(config, origin), placement)
    config, derived, model_def = blueprint.config, blueprint.derived, blueprint.model_def
    flops = blueprint.flops_per_token
    kept, notes = _continued(origin, config, derived)
    compiled = _compile(blueprint) if compile_program and isinstance(placement.mesh, Mesh | None) else None
    memory = estimate_memory(blueprint)
    notes += _notes(blueprint, memory, compiled, card, _device(device)["memory_limit"])
    return Inspection(
        parameters=model_def.parameter_count,
        breakdown=model_def.parameter_breakdown(),
        tokens_per_step=derived.tokens_per_step,
        total_tokens=derived.total_tokens,
        tokens_per_parameter=derived.total_tokens / model_def.parameter_count,
        flops_per_token=flops,
        recomputed_flops_per_token=model_def.recomputed_flops_per_token(config.train.seq_len),
        total_flops=flops * derived.total_tokens,
        peak_flops=_peak_flops(device, config, placement),
        memory=memory,
        device=_device(device),
        schedule=schedule_points(config, kept, origin.step if origin is not None else None),
        optimizer=blueprint.optimizer.describe(),
        compile_seconds=round(compiled.seconds, 3) if compiled else None,
        continues_from=origin.step if origin is not None else None,
        notes=notes,
        compiled_memory=compiled.memory if compiled else None,
        path_check=_check_path(config) if compile_program else None,
        card=report_for(card, blueprint, say, placement.count) if card is not None and compiles else None,
        card_estimate=_by_shapes(memory, card) if card is not None and not compiles else None,
        start=_start(blueprint, device if card is None else None, run_dir, origin, problems, is_here=count is None),
    )


def _mesh(
    config: Config, devices: Sequence[str], card: Card | None, count: int | None
) -> tuple[jax.Device, Placement, tuple[ChompError, ...]]:
    """The first device of this machine, the mesh, and why it is not possible; it is then that of one device.

    Raises:
        ConfigError: there is no such mesh of cards.
        DeviceError: there is no such device.
    """
    here = chosen_devices(devices)
    if card is not None:
        return here[0], plan_mesh(config, count or 1), ()
    try:
        return here[0], place_on(config, here) if count is None else plan_mesh(config, count), ()
    except ConfigError as error:
        return here[0], ONE_DEVICE, (error,)


def _notes(
    blueprint: Blueprint, memory: MemoryEstimate, compiled: CompiledStep | None, card: Card | None, limit: int | None
) -> tuple[str, ...]:
    """Of the compiled program, and what to change if each device of a mesh would hold too much.

    Args:
        limit: bytes of this machine's device.
    """
    notes = compiled.notes if compiled else ()
    if card is not None:
        limit = card.pool_bytes
        notes += () if has_compiler() else (f"not compiled for {card.name}: {HOW_TO_INSTALL}",)
    placement, config = blueprint.placement, blueprint.config
    total = compiled.memory.get("total") if compiled else None
    factor = memory.as_compiled(total) if total is not None else 1.0
    needed = memory.scaled(factor)
    if placement.count == 1 or limit is None or needed <= limit:
        return notes
    least = least_fsdp(placement.count, limit, lambda mesh: estimate_memory(blueprint, mesh).scaled(factor))
    advice = fsdp_advice(config, placement.count, least)
    return (*notes, f"training takes {size(needed)} on each device, and each has {size(limit)}: {advice}")


def _continued(origin: CheckpointInfo | None, config: Config, derived: Derived) -> tuple[Derived, tuple[str, ...]]:
    return (derived, ()) if origin is None else continued(origin.meta["identity"], config, derived, origin.step)


def _peak_flops(device: jax.Device, config: Config, placement: Placement) -> float | None:
    """Of all devices together."""
    peak = peak_flops(device.device_kind, config.model.compute_dtype)
    return None if peak is None else peak * placement.count


def _check_path(config: Config) -> PathCheck | None:
    return check_path(config.model, config.train.seq_len, isolate=config.data.isolate_documents)


def _start(
    blueprint: Blueprint,
    device: jax.Device | None,
    run_dir: Path | None,
    origin: CheckpointInfo | None,
    problems: tuple[ChompError, ...],
    *,
    is_here: bool,
) -> Readiness:
    assert blueprint.tokenizer is not None
    found = check_start(
        blueprint.config,
        blueprint.derived,
        blueprint.tokenizer,
        bytes_on_device(blueprint.state),
        device=device.device_kind if device is not None else None,
        is_here=is_here,
        mesh=(blueprint.placement.data, blueprint.placement.fsdp),
        run_dir=run_dir,
        step=origin.step if origin is not None else 0,
    )
    weights = _weights_problems(blueprint) if origin is None else ()
    if not (found.problems or problems or weights) and _has_comparable_text(blueprint.config, found):
        problems = _overlaps(blueprint, origin)
    return found.after((*problems, *weights))


def _has_comparable_text(config: Config, found: Readiness) -> bool:
    """Whether named text can be compared with the training text while a user waits, and without the network."""
    sizes = [one.text.bytes for one in found.sources] or [found.text.bytes if found.text is not None else None]
    known = [one for one in sizes if one is not None]
    named = config.evaluation.sets or config.data.eval_files or config.data.eval_text
    return bool(named) and len(known) == len(sizes) and sum(known) <= MOST_COMPARED


def _overlaps(blueprint: Blueprint, origin: CheckpointInfo | None) -> tuple[ChompError, ...]:
    """Why the evaluation sets, or the text, cannot be used, as the engine finds out at its start."""
    config, tokenizer = blueprint.config, blueprint.tokenizer
    assert tokenizer is not None
    compared = {str(origin.meta.get("apart"))} if origin is not None else ()
    try:
        with contextlib.closing(build_data(config, blueprint.derived, tokenizer)) as data:
            open_sets(config, data.text_plan, training_text(config, tokenizer, data, compared))
    except ChompError as error:
        return (error,)
    return ()


def _weights_problems(blueprint: Blueprint) -> tuple[ChompError, ...]:
    """Why a new run could not start from the weights of `model.init_from`."""
    try:
        _ = blueprint.weights
    except ChompError as error:
        return (error,)
    return ()


def _tokenizer(config: Config, origin: CheckpointInfo | None) -> Tokenizer:
    """The configured tokenizer; as in a resume, the snapshot of the run that goes on if that is the same one."""
    if origin is not None:
        saved = origin.meta["identity"].get("data", {}).get("tokenizer")
        snapshot = origin.path.parent.parent / "tokenizer"
        if saved == config.data.tokenizer.model_dump() and snapshot.is_dir():
            return load_tokenizer(snapshot)
    return build_tokenizer(config.data.tokenizer)


def _by_shapes(memory: MemoryEstimate, card: Card) -> dict[str, Any]:
    """The estimate beside the memory of a card for which the step could not be compiled."""
    return {
        "name": card.name,
        "memory_bytes": card.memory_bytes,
        "pool_bytes": card.pool_bytes,
        "estimated": memory.total,
        "fits": memory.total <= card.pool_bytes,
    }


def _compile(blueprint: Blueprint) -> CompiledStep:
    watch = CompileWatch()
    try:
        step, mixture = blueprint.train_step(), blueprint.derived.mixture
        placement = blueprint.placement
        return compile_step(step, blueprint.state, blueprint.batch_shape, watch, placement=placement, mixture=mixture)
    finally:
        watch.close()


def schedule_points(
    config: Config, derived: Derived, origin: int | None = None, count: int = 33
) -> list[tuple[int, float]]:
    """The learning rate at about `count` steps spread over the run, its first, last and peak ones included.

    Args:
        origin: the step of the checkpoint it goes on from, which is included too.
    """
    steps, rate = config.train.steps, make_schedule(config.optim, derived, config.optim.lr)
    chosen = {1 + round(i * (steps - 1) / max(1, count - 1)) for i in range(count)}
    chosen |= {step for step in (config.optim.warmup_steps + 1, origin or 1, (origin or 0) + 1) if step <= steps}
    return [(step, float(rate(step - 1))) for step in sorted(chosen)]


def _device(device: jax.Device) -> dict[str, Any]:
    stats = device.memory_stats() or {}
    return {"platform": device.platform, "name": device.device_kind, "memory_limit": stats.get("bytes_limit")}
