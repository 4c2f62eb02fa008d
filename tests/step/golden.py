"""A hundred steps of a small Megalodon on a fixed stream of ids.

`python -m tests.step.golden` prints every loss exactly, as hexadecimal floats;
with `--write` it also rewrites `golden_losses.json`, for a change that is meant to change numbers.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np

from chomp.config.schema import Config
from chomp.data.batch import Batch
from tests.model.tiny import parts, tiny_config
from tests.step.running import Run, started

STEPS, ROWS, SEQ, VOCAB = 100, 4, 32, 128
REFERENCE = Path(__file__).with_name("golden_losses.json")
KEPT_STEPS = (1, 2, 5, 10, 25, 50, 75, 100)


def golden_config(cema: str = "auto") -> Config:
    """The CPU preset: 1 layer, 49,056 parameters, AdamW, documents isolated."""
    return tiny_config(
        "megalodon",
        model={
            "vocab_size": VOCAB, "model_dim": 64, "z_dim": 32, "value_dim": 64, "ffn_hidden_dim": 96,
            "cema_ndim": 4, "chunk_size": 16, "norm_num_groups": 8, "cema": cema,
        },
        train={"steps": STEPS, "batch_size": ROWS, "seq_len": SEQ},
        optim={"lr": 3e-3, "warmup_steps": 10},
    )  # fmt: skip


def golden_batch(step: int) -> Batch:
    """Two documents a row, each counting upwards by a stride of its own: something to learn from 100 steps."""
    rng = np.random.default_rng(1000 + step)
    starts, strides = rng.integers(3, VOCAB, (ROWS, 2)), rng.integers(1, 4, (ROWS, 2))
    positions = np.arange(SEQ)
    second = positions >= rng.integers(8, SEQ - 8, (ROWS, 1))
    start, stride = (np.where(second, pair[:, 1:], pair[:, :1]) for pair in (starts, strides))
    ids = (3 + (start + stride * positions) % (VOCAB - 3)).astype(np.int32)
    segments = np.where(second, 2, 1).astype(np.int32)
    return Batch(*(field[None] for field in (ids, ids, np.ones_like(ids, bool), segments)))


def compiled(cema: str = "auto") -> Run:
    """The step and a fresh state."""
    return started(golden_config(cema), golden_batch(0))


def losses(run: Run, steps: int = STEPS) -> list[float]:
    """The loss of each step."""
    step, state = run
    values = []
    for number in range(steps):
        state, metrics = step(state, golden_batch(number))
        values.append(float(metrics.loss))
    return values


def main() -> None:
    """Print the losses; with `--write`, keep a few as the reference."""
    values = losses(compiled())
    print(json.dumps([value.hex() for value in values]))
    if "--write" in sys.argv:
        kept = {str(step): round(values[step - 1], 6) for step in KEPT_STEPS}
        count = parts(golden_config())[0].parameter_count
        reference = {"jax": jax.__version__, "parameters": count, "relative_tolerance": 1e-3, "losses": kept}
        REFERENCE.write_text(json.dumps(reference, indent=2) + "\n")


if __name__ == "__main__":
    main()
