"""The compiled step alone, every way to compute the moving average: time, tokens per second, memory, compilation.

All ways run in one process and take turns, so that a slow moment of the machine falls on all of them; the first,
the library's own on continuous rows, is what the others are held against.

    python -m benchmarks.step [--shape quickstart|100m] [--repeats N]

`benchmarks/gpu.sh` measures a whole preset on a GPU.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("EQX_ON_ERROR", "off")

import jax
import numpy as np

from chomp.config import Config, derive, load_config
from chomp.data.batch import Batch
from chomp.model.flops import peak_flops
from chomp.record.formatting import size
from chomp.step.state import TrainState, init_state
from chomp.step.train_step import compile_train_step
from chomp.train.blueprint import build_blueprint

# A sixth of the large shape, of its layers as of its vocabulary, so that a repeat takes seconds on two cores.
SHAPES: dict[str, tuple[str, tuple[str, ...], int]] = {
    "quickstart": ("configs/quickstart.yaml", ("model.vocab_size=384", "optim.name=adamw"), 150),
    "100m": (
        "configs/megalodon_100m_zyda2.yaml",
        (
            "model.vocab_size=8384",
            "model.num_layers=2",
            "model.compute_dtype=float32",
            "train.batch_size=1",
            "train.grad_accum=1",
            "optim.name=adamw",
        ),
        600,
    ),
}
WAYS = (
    ("continuous", "fft"),
    ("continuous", "blockwise"),
    ("isolated", "blockwise"),
    ("isolated", "sequential"),
    ("isolated", "associative"),
)


@dataclass
class Variant:
    """One way to run the step, with what was measured of it."""

    name: str
    step: Callable[[TrainState, Batch], Any]
    state: TrainState
    compile_seconds: float
    temp_bytes: int
    flops_per_token: float
    seconds: list[float] = field(default_factory=list)

    def once(self, batch: Batch) -> None:
        """Run one step to its end and note its time."""
        start = time.perf_counter()
        self.state, metrics = self.step(self.state, batch)
        jax.block_until_ready((self.state, metrics))
        self.seconds.append(time.perf_counter() - start)

    @property
    def median(self) -> float:
        """Median seconds per step, the first left out."""
        return statistics.median(self.seconds[1:])


def make_batch(config: Config, mean_tokens: int) -> Batch:
    """Random ids in documents of geometrically distributed length, no padding."""
    train, vocab = config.train, config.model.vocab_size
    assert train.batch_size is not None
    assert vocab is not None
    shape = (derive(config).grad_accum, train.batch_size, train.seq_len)
    rng = np.random.default_rng(0)
    ids = rng.integers(3, vocab, shape).astype(np.int32)
    begins = rng.random(shape) < 1 / mean_tokens
    return Batch(ids, ids, np.ones(shape, bool), (np.cumsum(begins, -1) + 1).astype(np.int32))


def build(shape: str, isolation: str, cema: str) -> tuple[Variant, Batch]:
    """Compile one variant."""
    path, overrides, mean_tokens = SHAPES[shape]
    isolate = isolation == "isolated"
    overrides += (f"model.cema={cema}", f"data.isolate_documents={str(isolate).lower()}", "train.allow_cpu=true")
    config = load_config(Path(path), overrides).config
    blueprint = build_blueprint(config, jax.default_backend())
    model_def = blueprint.model_def
    batch = make_batch(config, mean_tokens)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), batch)
    step = blueprint.train_step()
    start = time.perf_counter()
    compiled = compile_train_step(step, blueprint.state, shapes)
    seconds = time.perf_counter() - start
    state = init_state(model_def, blueprint.optimizer, 0)
    memory = compiled.memory_analysis()
    assert memory is not None
    temp = memory.temp_size_in_bytes
    flops = model_def.flops_per_token(config.train.seq_len)
    return Variant(f"{isolation} {cema}", compiled, state, seconds, temp, flops), batch


def report(variants: list[Variant], tokens: int) -> None:
    """Print medians, and each variant's share of the first; MFU where the device's bf16 peak is known."""
    base, peak = variants[0], peak_flops(jax.devices()[0].device_kind, "bfloat16")
    head = f"{'way':<24} {'step ms':>9} {'x':>6} {'tokens/s':>10} {'MFU':>6} {'temp':>8} {'x':>6}"
    print(f"{head} {'compile s':>9} {'x':>6}")
    for one in variants:
        mfu = f"{one.flops_per_token * tokens / one.median / peak:.1%}" if peak else "–"
        print(
            f"{one.name:<24} {1e3 * one.median:>9.1f} {one.median / base.median:>6.2f} {tokens / one.median:>10,.0f} "
            f"{mfu:>6} {size(one.temp_bytes):>8} {one.temp_bytes / base.temp_bytes:>6.2f} "
            f"{one.compile_seconds:>9.1f} {one.compile_seconds / base.compile_seconds:>6.2f}"
        )


def main() -> None:
    """Measure the asked shapes, print a table of each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shape", choices=tuple(SHAPES), action="append", help=f"default: {' and '.join(SHAPES)}")
    parser.add_argument("--repeats", type=int, default=9, help="steps of each way, one of them warm-up")
    options = parser.parse_args()
    # Compilation is measured: nothing may come from a cache, nor pay for what the first one finds cold.
    jax.config.update("jax_enable_compilation_cache", False)
    for shape in options.shape or SHAPES:
        build(shape, *WAYS[0])
        made = [build(shape, *way) for way in WAYS]
        variants, batch = [variant for variant, _ in made], made[0][1]
        for _ in range(options.repeats):
            for variant in variants:
                variant.once(batch)
        accum, rows, seq = batch.input_ids.shape
        print(
            f"\n{shape}: {accum} x {rows} x {seq} tokens, jax {jax.__version__}, {jax.devices()[0].device_kind}, "
            f"medians of {options.repeats - 1}"
        )
        report(variants, batch.input_ids.size)


if __name__ == "__main__":
    main()
