"""Tiny Shakespeare by nanoGPT's laptop recipe: the held-out loss of a Llama and a Megalodon, over several seeds.

The budget is that of nanoGPT's README for a laptop: 4 layers, 4 heads, 128 wide, context 64, batch 12, 2,000 steps, no
dropout, the last tenth held out; it names a loss of 1.88 nats per character. nanoGPT scores 20 batches of random
windows. Here each run is scored twice: on that many random windows, and by one pass over all of the held-out text in
rows that do not overlap. Both score each place of a window, the first with little context.

    python -m benchmarks.quality tinyshakespeare.txt [--seeds 3] [--steps 2000] [--models llama megalodon]
        [--optimizer adamw|muon]

`muon` changes nothing but `optim.name`: the rate and all else stay nanoGPT's.

A character is a byte here. nanoGPT trains on windows drawn at random; chomp trains on each part of the text once
in a pass, in parts of about a kilobyte whose order is shuffled.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("EQX_ON_ERROR", "off")

import jax
import numpy as np
import yaml

from chomp.data.batch import Batch
from chomp.generate.load import TrainedModel, load_trained
from chomp.step.eval_step import make_eval_step
from chomp.train.evaluate import evaluate

CONTEXT, ROWS, WINDOWS = 64, 12, 20 * 12
PUBLISHED = 1.88
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {
        "backend": "llama", "model_dim": 128, "num_layers": 4, "num_heads": 4, "ffn_hidden_dim": 344, "share_emb": True,
    },
    "megalodon": {
        "backend": "megalodon", "model_dim": 128, "num_layers": 4, "num_heads": 2, "z_dim": 64, "value_dim": 256,
        "ffn_hidden_dim": 256, "cema_ndim": 16, "chunk_size": CONTEXT, "norm_num_groups": 16, "share_emb": True,
    },
}  # fmt: skip
# Parts of about a kilobyte, so that rows of one batch are not neighbours.
PART = 1024


def configuration(model: str, folder: Path, steps: int, seed: int, optimizer: str) -> dict[str, Any]:
    """A run of the budget; rate, decay, betas and clipping are nanoGPT's."""
    return {
        "model": {**SHAPES[model], "compute_dtype": "float32"},
        "data": {
            "backend": "files",
            "files": [str(folder / "train" / "*.txt")],
            "eval_files": [str(folder / "heldout.txt")],
            "isolate_documents": False,
            "mask_boundary_loss": False,
            "packing_mode": "sequential",
            "tokenizer": {"kind": "byte", "add_eos": False},
        },
        "train": {
            "steps": steps, "batch_size": ROWS, "seq_len": CONTEXT + 1, "seed": seed, "allow_cpu": True,
            "log_every": 100, "eval_every": 0, "generate_every": 0,
        },
        "optim": {
            "name": optimizer, "lr": 1e-3, "warmup_steps": min(100, steps // 2), "min_lr_ratio": 0.1,
            "weight_decay": 0.1, "grad_clip_norm": 1.0, "adam": {"b1": 0.9, "b2": 0.99},
        },
        "checkpoint": {"save_every": steps, "save_every_seconds": 0},
    }  # fmt: skip


def divide(text: bytes, folder: Path) -> None:
    """Write all but the last tenth in parts, and the last tenth as one file."""
    end = int(len(text) * 0.9)
    (folder / "train").mkdir()
    for number, start in enumerate(range(0, end, PART)):
        (folder / "train" / f"{number:05d}.txt").write_bytes(text[start : min(end, start + PART)])
    (folder / "heldout.txt").write_bytes(text[end:])


def score(trained: TrainedModel, windows: np.ndarray) -> float:
    """Nats per character of windows `[n, CONTEXT + 1]` of ids, each scored from its second id on."""
    step = make_eval_step(trained.model_def, isolate=False)
    full = np.ones((ROWS, CONTEXT + 1), np.int32)
    batches = []
    for start in range(0, len(windows) - len(windows) % ROWS, ROWS):
        ids = windows[start : start + ROWS].astype(np.int32)
        batches.append(Batch(*(field[None] for field in (ids, ids, full.astype(bool), full))))
    return evaluate(trained.params, step, batches, trained.tokenizer.byte_lengths(), isolate=False).loss


def measure(model: str, folder: Path, steps: int, seed: int, optimizer: str) -> tuple[float, float, int]:
    """Train one run; its losses on random windows and on one pass, and its parameters."""
    run = folder / f"{model}-{seed}"
    config = folder / f"{model}-{seed}.yaml"
    config.write_text(yaml.safe_dump(configuration(model, folder, steps, seed, optimizer)))
    subprocess.run(
        [sys.executable, "-m", "chomp", "train", config, "--run-dir", run], check=True, stdout=subprocess.DEVNULL
    )
    trained = load_trained(run)
    ids = np.asarray(trained.tokenizer.encode((folder / "heldout.txt").read_text()))
    starts = np.random.default_rng(0).integers(0, len(ids) - CONTEXT, WINDOWS)
    places = np.arange(CONTEXT + 1)
    # Each row begins with the last id of the row before it, so that every id but the first is scored once.
    whole = np.arange(0, len(ids) - CONTEXT, CONTEXT)
    count = trained.model_def.parameter_count
    return score(trained, ids[starts[:, None] + places]), score(trained, ids[whole[:, None] + places]), count


def main() -> None:
    """Print a line for each run, then the mean and the spread of each model."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("text", type=Path, help="the file, 1,115,394 bytes")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--steps", type=int, default=2000)
    options.add_argument("--optimizer", choices=("adamw", "muon"), default="adamw")
    options.add_argument("--models", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    args = options.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {jax.devices()[0].device_kind}")
    versions = f"chomp {version('chomp')}, jax {version('jax')}"
    print(f"{versions}; {args.optimizer}, {args.steps:,} steps; published {PUBLISHED} (nanoGPT)")
    print(f"{'model':<10} {'parameters':>10} {'seed':>5} {'windows':>8} {'one pass':>9}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        divide(args.text.read_bytes(), folder)
        for model in args.models:
            found = []
            for seed in range(args.seeds):
                windows, whole, count = measure(model, folder, args.steps, seed, args.optimizer)
                found.append((windows, whole))
                print(f"{model:<10} {count:>10,} {seed:>5} {windows:>8.4f} {whole:>9.4f}", flush=True)
            for title, losses in zip(("windows", "one pass"), zip(*found, strict=True), strict=True):
                spread = f" ± {statistics.stdev(losses):.4f}" if len(losses) > 1 else ""
                print(
                    f"{model:<10} {title}: {statistics.mean(losses):.4f}{spread} over {len(losses)} seeds", flush=True
                )


if __name__ == "__main__":
    main()
