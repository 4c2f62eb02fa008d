"""One try of `chomp fit`, in a process of its own: an allocation that fails, or a compiler that aborts, ends only that.

The process reads one JSON object from its standard input and writes JSON objects, one a line, as it learns: see `main`.
It ends when its standard input closes.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from chomp.config import Config
from chomp.config.variants import as_written, batch_sizes, head_chunks, policies, vary
from chomp.data.batch import Batch, BatchShape, LabelRules, finish_batch
from chomp.data.tokenizers import build_tokenizer
from chomp.errors import ChompError
from chomp.model.device import chosen_devices
from chomp.model.flops import peak_flops
from chomp.parallel.mesh import place_on
from chomp.record.formatting import one_line, size
from chomp.train.blueprint import Blueprint, build_blueprint
from chomp.train.compilation import CompileWatch, compile_step, use_compilation_cache
from chomp.train.footprint import MemoryEstimate, predict_variant
from chomp.train.free_memory import free_memory
from chomp.train.out_of_memory import is_out_of_memory, requested_bytes
from chomp.train.session import require_device

SERIES = 4
MOST_STEPS = 1000
DOCUMENTS_PER_ROW = 4

Tell = Callable[[Mapping[str, Any]], None]


def main() -> None:
    """Try the configuration on standard input.

    The request has `config`, whether its model is `resolved`, whether `others` are to be estimated, `seconds` to
    measure, `memory_limit` in bytes or null, `factor`, the memory of compiled activations by estimated ones, and maybe
    `devices`, as `chosen_devices` takes them. The answers, in this order: `device`, `model` (the resolved section),
    `estimates` of other ways, `estimate`, `compiled`, `measured`; `failed` at the first thing that does not fit,
    `refused` for the sentence of a `ChompError`.
    """
    # What libraries print goes to the error output.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_with_parent, daemon=True).start()

    def tell(answer: Mapping[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        _attempt(request, tell)
    except ChompError as error:
        tell({"refused": str(error), "exit_code": error.exit_code})
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        requested = requested_bytes(error)
        tell({"failed": f"out of memory{f' ({size(requested)} requested)' if requested else ''}"})


def _leave_with_parent() -> None:
    # Unbuffered: at the end of the process no lock of `sys.stdin` is held.
    while os.read(0, 4096):
        pass
    os._exit(1)


def _attempt(request: Mapping[str, Any], tell: Tell) -> None:
    use_compilation_cache()
    config = Config.model_validate(request["config"])
    device = require_device(config)
    limit = request["memory_limit"] or free_memory().usable
    peak = peak_flops(device.device_kind, config.model.compute_dtype)
    placement = place_on(config, chosen_devices(request.get("devices", ())))
    facts = {"platform": device.platform, "name": device.device_kind, "count": placement.count, "memory": limit}
    tell({"device": {**facts, "peak_flops": peak * placement.count if peak else None}})
    tokenizer = None if request["resolved"] else build_tokenizer(config.data.tokenizer)
    blueprint = build_blueprint(config, device.platform, tokenizer, placement)
    tell({"model": blueprint.config.model.model_dump()})
    if request["others"]:
        tell({"estimates": _estimates(blueprint, device.platform)})
    estimate = predict_variant(as_written(blueprint.config), device.platform, placement)
    tell({"estimate": _parts(estimate)})
    if _is_beyond(estimate.scaled(request["factor"]), limit, "by estimate", tell):
        return
    watch = CompileWatch()
    step, mixture = blueprint.train_step(), blueprint.derived.mixture
    program = compile_step(step, blueprint.state, blueprint.batch_shape, watch, placement=placement, mixture=mixture)
    tell({"compiled": {"seconds": program.seconds, "memory": program.memory}})
    if not _is_beyond(program.memory.get("total", 0), limit, "as compiled", tell):
        tell({"measured": _measure(blueprint, program.step, request["seconds"])})


def _estimates(blueprint: Blueprint, platform: str) -> list[dict[str, Any]]:
    """Memory of the largest micro-batch with each policy and chunk of the head."""
    config, placement = blueprint.config, blueprint.placement
    # A device has no more rows than its share of a step.
    rows = next(size for size in batch_sizes(config) if size * placement.count <= blueprint.rows)
    ways = [(policy, chunk) for policy in policies(config) for chunk in head_chunks(config, rows)]
    found = [vary(config, rows, *way) for way in ways]
    return [
        {
            "policy": way.policy,
            "head_chunk": way.head_chunk,
            "rows": rows,
            **_parts(predict_variant(way, platform, placement)),
        }
        for way in found
        if way is not None
    ]


def _parts(estimate: MemoryEstimate) -> dict[str, int]:
    return {"state": estimate.state, "activations": estimate.activations}


def _is_beyond(needed: int, limit: int | None, how: str, tell: Tell) -> bool:
    if limit is None or needed <= limit:
        return False
    tell({"failed": f"needs {size(needed)} of {size(limit)} {how}", "needs": needed})
    return True


def _measure(blueprint: Blueprint, step: Callable[..., Any], seconds: float) -> dict[str, Any]:
    """The fastest of a few series of steps that fill `seconds` together; other programs slow some of them down.

    Each series has at least one step. One or two steps warm up.
    """
    state = blueprint.drawn_state()
    batch = blueprint.placement.place(
        synthetic_batch(blueprint.config, BatchShape(*blueprint.batch_shape)), blueprint.accum
    )
    state, metrics, once = _run(step, state, batch, 1)
    if once < seconds:
        # The first call also loads the program onto the device.
        state, metrics, once = _run(step, state, batch, 1)
    count = max(1, min(MOST_STEPS, int(seconds / once / SERIES)))
    times: list[float] = []
    while not times or (len(times) < SERIES and sum(times) < seconds):
        state, metrics, passed = _run(step, state, batch, count)
        times.append(passed)
    passed = min(times) / count
    peaks = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in jax.local_devices()]
    return {
        "steps": count * len(times),
        "seconds_per_step": passed,
        "tokens_per_second": blueprint.derived.tokens_per_step / passed,
        "flops_per_token": blueprint.flops_per_token,
        "peak_bytes": max((peak for peak in peaks if peak is not None), default=None),
        "loss": float(metrics.loss),
    }


def _run(step: Callable[..., Any], state: Any, batch: Batch, count: int) -> tuple[Any, Any, float]:
    started = time.perf_counter()
    metrics = None
    for _ in range(count):
        before, (state, metrics) = metrics, step(state, batch)
        # As in training, the host is one step ahead: several devices of a CPU wait for each other for ever beyond that.
        jax.block_until_ready(before)
    jax.block_until_ready((state, metrics))
    return state, metrics, time.perf_counter() - started


def synthetic_batch(config: Config, shape: BatchShape) -> Batch:
    """Rows full of random ids, in documents of a quarter of a row."""
    assert config.model.vocab_size is not None
    random = np.random.default_rng(config.train.seed)
    ids = random.integers(0, config.model.vocab_size, (shape.rows, shape.seq), np.int32)
    starts = np.arange(0, ids.size, max(1, shape.seq // DOCUMENTS_PER_ROW))
    filled = np.full(shape.rows, shape.seq)
    data = config.data
    rules = LabelRules(0, None, mask_boundary=data.mask_boundary_loss, isolate=data.isolate_documents)
    batch = finish_batch(ids, starts, filled, shape, rules)
    sources = len(data.mixture.sources)
    if not sources:
        return batch
    return batch._replace(source_ids=(np.arange(shape.rows, dtype=np.int32) % sources).reshape(*shape[:2], 1))


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        print(one_line(f"{type(error).__name__}: {error}"), file=sys.stderr)
        raise SystemExit(1) from error
