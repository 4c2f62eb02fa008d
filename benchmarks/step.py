"""The compiled step alone: time to compile, time per step, tokens per second, temporary memory.

Four variants in one process, documents isolated or not by AdamW or Muon, so that their ratios are comparable:

    python benchmarks/step.py
    python benchmarks/step.py --dim 256 --layers 4 --seq 512 --rows 4 --accum 2 --repeats 22

Steps of the variants take turns, so that a slow moment of the machine falls on all of them.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("EQX_ON_ERROR", "off")

import jax
import numpy as np

from chomp.config.derive import derive
from chomp.config.schema import Config
from chomp.data.batch import Batch
from chomp.model.build import build_model
from chomp.optim.build import build_optimizer
from chomp.step.state import TrainState, abstract_state, init_state
from chomp.step.train_step import compile_train_step, make_train_step

VOCAB = 384
DOCUMENT_TOKENS = 150


@dataclass
class Variant:
    """One way to run the step, with what was measured of it."""

    name: str
    step: Callable[[TrainState, Batch], Any]
    state: TrainState
    compile_seconds: float
    temp_bytes: int
    seconds: list[float] = field(default_factory=list)

    def once(self, batch: Batch) -> None:
        """Run one step to its end and note its time."""
        start = time.perf_counter()
        self.state, metrics = self.step(self.state, batch)
        jax.block_until_ready((self.state, metrics))
        self.seconds.append(time.perf_counter() - start)

    @property
    def median(self) -> float:
        """Median seconds per step, the first two left out."""
        return statistics.median(self.seconds[2:])


def make_batch(shape: tuple[int, int, int]) -> Batch:
    """Random ids in documents of equal length, no padding."""
    ids = np.random.default_rng(0).integers(3, VOCAB, shape).astype(np.int32)
    segments = np.broadcast_to(np.arange(shape[-1]) // DOCUMENT_TOKENS + 1, shape).astype(np.int32)
    return Batch(ids, ids, np.ones(shape, bool), segments)


def make_config(options: argparse.Namespace, isolate: bool, optimizer: str) -> Config:
    """A Megalodon of the asked width, with the defaults of everything else."""
    dim = options.dim
    return Config.model_validate({
        "model": {
            "vocab_size": VOCAB, "model_dim": dim, "num_layers": options.layers, "num_heads": 2, "z_dim": dim // 2,
            "value_dim": 2 * dim, "ffn_hidden_dim": 2 * dim, "cema_ndim": 16, "chunk_size": options.chunk,
            "norm_num_groups": 8, "compute_dtype": options.dtype, "cema": options.cema,
        },
        "data": {"isolate_documents": isolate},
        "train": {"seq_len": options.seq, "batch_size": options.rows, "grad_accum": options.accum},
        "optim": {"name": optimizer},
    })  # fmt: skip


def build(options: argparse.Namespace, isolate: bool, optimizer_name: str) -> Variant:
    """Compile one variant."""
    config = make_config(options, isolate, optimizer_name)
    derived = derive(config)
    model_def = build_model(config.model, backend=jax.default_backend())
    optimizer = build_optimizer(config.optim, derived, model_def.abstract(), embedding_path=model_def.embedding_path)
    batch = make_batch((options.accum, options.rows, options.seq))
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), batch)
    step = make_train_step(model_def, optimizer, config, derived)
    start = time.perf_counter()
    compiled = compile_train_step(step, abstract_state(model_def, optimizer), shapes)
    seconds = time.perf_counter() - start
    state = init_state(model_def, optimizer, 0)
    name = f"{'isolated' if isolate else 'plain'} {optimizer_name}"
    return Variant(name, compiled, state, seconds, compiled.memory_analysis().temp_size_in_bytes)


def report(variants: list[Variant], tokens: int) -> None:
    """Print medians, and each variant's share of the first."""
    base = variants[0]
    print(f"{'variant':<16} {'compile s':>9} {'step ms':>9} {'x':>6} {'tokens/s':>10} {'temp MB':>8} {'x':>6}")
    for variant in variants:
        print(
            f"{variant.name:<16} {variant.compile_seconds:>9.1f} {1e3 * variant.median:>9.1f} "
            f"{variant.median / base.median:>6.2f} {tokens / variant.median:>10,.0f} "
            f"{variant.temp_bytes / 1e6:>8.1f} {variant.temp_bytes / base.temp_bytes:>6.2f}"
        )


def main() -> None:
    """Read the shape from the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, default in (("dim", 64), ("layers", 2), ("seq", 256), ("rows", 4), ("accum", 1), ("chunk", 128)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--repeats", type=int, default=12, help="steps per variant, two of them warm-up")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--cema", choices=("auto", "associative", "sequential"), default="auto")
    options = parser.parse_args()
    batch = make_batch((options.accum, options.rows, options.seq))
    variants = [build(options, isolate, name) for isolate in (False, True) for name in ("adamw", "muon")]
    for _ in range(options.repeats):
        for variant in variants:
            variant.once(batch)
    print(
        f"jax {jax.__version__}, {jax.devices()[0].device_kind}, dim {options.dim}, {options.layers} layers, "
        f"batch {options.accum} x {options.rows} x {options.seq}, {options.dtype}, {options.repeats} steps"
    )
    report(variants, batch.input_ids.size)


if __name__ == "__main__":
    main()
