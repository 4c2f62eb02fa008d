"""What a configuration amounts to, found out without training it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import jax

from chomp.config import Config
from chomp.config.derive import Derived
from chomp.data.tokenizers import build_tokenizer
from chomp.model.flops import peak_flops
from chomp.model.resolve import resolve_model
from chomp.model.selfcheck import PathCheck, check_path
from chomp.optim.build import Optimizer
from chomp.run.compilation import CompileWatch, compile_step
from chomp.run.footprint import Blueprint, MemoryEstimate, build_blueprint, estimate_memory
from chomp.step.train_step import make_train_step


@dataclass(frozen=True)
class Inspection:
    """All figures of a configuration; `schedule` holds (step, learning rate) pairs.

    `compiled_memory` is XLA's own account of the compiled step, in bytes, and `path_check` says how far chomp's own way
    through a layer is from the library's, where they were asked for.
    """

    parameters: int
    breakdown: dict[str, int]
    tokens_per_step: int
    total_tokens: int
    tokens_per_parameter: float
    flops_per_token: float
    total_flops: float
    peak_flops: float | None
    memory: MemoryEstimate
    device: dict[str, Any]
    schedule: list[tuple[int, float]]
    optimizer: str
    compile_seconds: float | None
    compiled_memory: dict[str, int] | None = None
    path_check: PathCheck | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, with all that is known of the memory in one place."""
        values = asdict(self)
        values["memory"] = {**self.memory.as_dict(), "compiled": values.pop("compiled_memory")}
        return values


def inspect(config: Config, *, compile_program: bool = False) -> Inspection:
    """Build everything but the data and look at it.

    Args:
        compile_program: also compile the step ahead of time, read XLA's memory account, and try the path of the
            moving average against the library's.

    Raises:
        ChompError: the configuration cannot be built.
    """
    tokenizer = build_tokenizer(config.data.tokenizer)
    model_config = resolve_model(
        config.model, tokenizer, auto_set_special_tokens=config.data.tokenizer.auto_set_special_tokens
    )
    config = config.model_copy(update={"model": model_config})
    device = jax.devices()[0]
    blueprint = build_blueprint(config, device.platform)
    derived, model_def = blueprint.derived, blueprint.model_def
    flops = model_def.flops_per_token(config.train.seq_len)
    compiled = _compile(blueprint) if compile_program else None
    return Inspection(
        parameters=model_def.parameter_count,
        breakdown=model_def.parameter_breakdown(),
        tokens_per_step=derived.tokens_per_step,
        total_tokens=derived.total_tokens,
        tokens_per_parameter=derived.total_tokens / model_def.parameter_count,
        flops_per_token=flops,
        total_flops=flops * derived.total_tokens,
        peak_flops=peak_flops(device.device_kind, model_config.compute_dtype),
        memory=estimate_memory(blueprint),
        device=_device(device),
        schedule=schedule_points(config, derived, blueprint.optimizer),
        optimizer=blueprint.optimizer.describe(),
        compile_seconds=round(compiled.seconds, 3) if compiled else None,
        compiled_memory=compiled.memory if compiled else None,
        path_check=check_path(model_config, config.train.seq_len, isolate=config.data.isolate_documents)
        if compile_program
        else None,
    )


def _compile(blueprint: Blueprint) -> Any:
    config, derived = blueprint.config, blueprint.derived
    watch = CompileWatch()
    try:
        shape = (derived.grad_accum, config.train.batch_size, config.train.seq_len)
        step = make_train_step(blueprint.model_def, blueprint.optimizer, config, derived)
        return compile_step(step, blueprint.state, shape, watch)
    finally:
        watch.close()


def schedule_points(config: Config, derived: Derived, optimizer: Optimizer, count: int = 33) -> list[tuple[int, float]]:
    """The learning rate at about `count` steps spread over the run, first and last included."""
    steps = config.train.steps
    chosen = sorted({1 + round(i * (steps - 1) / max(1, count - 1)) for i in range(count)})
    return [(step, float(optimizer.lr(step - 1)["lr"])) for step in chosen]


def _device(device: jax.Device) -> dict[str, Any]:
    stats = device.memory_stats() or {}
    return {"platform": device.platform, "name": device.device_kind, "memory_limit": stats.get("bytes_limit")}
