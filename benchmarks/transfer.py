"""How the best learning rate moves with width and batch: small Llamas on the standard library's text.

`chomp plan` (docs/plan.md) uses rules of papers far below the sizes that the papers measured. This script trains grids
of small models with chomp's own engine, one after another in one process, and appends the held-out loss of each to a
file of JSON lines; runs that the file holds already are left out. `--table` shows the file.

    python benchmarks/transfer.py --results transfer.jsonl muon-width muon-batch muon-plan adamw-width adamw-low
    python benchmarks/transfer.py --results transfer.jsonl --table

One grid takes 10 to 20 minutes of one core.
"""

from __future__ import annotations

from chomp.cli.engine import prepare_environment

prepare_environment()

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chomp.config.load import parse_config
from chomp.record.event_log import read_events
from chomp.record.events import Evaluated
from chomp.train.loop import run_training
from chomp.train.request import RunRequest

SEQ = 256
REST_RATE = 3e-3
MUON_RATES = (0.0075, 0.015, 0.03, 0.06, 0.12)
ADAMW_RATES = (1e-3, 2e-3, 4e-3, 8e-3, 16e-3)


def grid(name: str) -> Iterator[dict[str, Any]]:
    """The runs of a grid, those of the first seed first."""
    for seed in (0, 1):
        match name:
            case "muon-width" | "adamw-width":
                optimizer = name.partition("-")[0]
                for dim in (32, 64, 128):
                    for rate in MUON_RATES if optimizer == "muon" else ADAMW_RATES:
                        yield _run(optimizer, dim, rows=8, tokens=400_000, rate=rate, seed=seed)
            case "muon-batch":
                for rows in (2, 8, 32):
                    for rate in MUON_RATES:
                        yield _run("muon", 64, rows=rows, tokens=800_000, rate=rate, seed=seed)
            case "muon-plan":
                # What `chomp plan` would choose for this width: 20 tokens per parameter, and the batch for them.
                for rate in MUON_RATES:
                    yield _run("muon", 32, rows=4, tokens=700_000, rate=rate, seed=seed)
            case "adamw-low":
                yield _run("adamw", 128, rows=8, tokens=400_000, rate=5e-4, seed=seed)
            case _:
                raise SystemExit(f"there is no grid {name}")


def _run(optimizer: str, dim: int, *, rows: int, tokens: int, rate: float, seed: int) -> dict[str, Any]:
    return {"optimizer": optimizer, "dim": dim, "rows": rows, "tokens": tokens, "rate": rate, "seed": seed}


def configuration(run: dict[str, Any]) -> str:
    """A Llama of two layers; a twentieth of the steps warms up, the rate then falls as half a cosine."""
    steps = run["tokens"] // (run["rows"] * SEQ)
    lr = run["rate"] if run["optimizer"] == "adamw" else REST_RATE
    return json.dumps(
        {
            "model": {
                "backend": "llama",
                "model_dim": run["dim"],
                "num_layers": 2,
                "num_heads": run["dim"] // 32,
                "ffn_hidden_dim": run["dim"] * 8 // 3 // 16 * 16,
                "compute_dtype": "float32",
            },
            "data": {
                "backend": "stdlib",
                "isolate_documents": True,
                "packing_mode": "bin",
                "max_eval_samples": 8,
                "tokenizer": {"kind": "byte"},
            },
            "train": {
                "seed": run["seed"],
                "steps": steps,
                "batch_size": run["rows"],
                "seq_len": SEQ,
                "allow_cpu": True,
                "log_every": max(1, steps // 4),
                "eval_every": steps,
            },
            "optim": {
                "name": run["optimizer"],
                "lr": lr,
                "warmup_steps": max(1, steps // 20),
                "min_lr_ratio": 0.05,
                "muon": {"lr_scale": run["rate"] / REST_RATE},
            },
            "checkpoint": {"enabled": False},
            "debug": {"nonfinite": "skip", "max_consecutive_nonfinite": 1_000_000},
        }
    )


def train(run: dict[str, Any]) -> float:
    """The held-out loss at the end, in nats per byte."""
    loaded = parse_config(configuration(run), source="transfer")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "run"
        code = run_training(RunRequest(loaded, place))
        losses = [event.loss for event in read_events(place / "events.jsonl") if isinstance(event, Evaluated)]
    if code != 0:
        raise SystemExit(f"{run} ended with exit code {code}")
    return losses[-1]


def table(done: list[dict[str, Any]]) -> str:
    """The mean loss by rate, one line for each width and batch, and the spread of the seeds."""
    kinds = sorted({(one["optimizer"], one["tokens"], one["dim"], one["rows"]) for one in done})
    lines = []
    for kind in kinds:
        mine = [one for one in done if (one["optimizer"], one["tokens"], one["dim"], one["rows"]) == kind]
        lines.append(f"{kind[0]}, width {kind[2]}, {kind[3] * SEQ:,} tokens a step, {kind[1]:,} tokens")
        for rate in sorted({one["rate"] for one in mine}):
            losses = [one["loss"] for one in mine if one["rate"] == rate]
            spread = max(losses) - min(losses)
            lines.append(f"  {rate:<7g} {statistics.fmean(losses):.4f}  spread {spread:.4f} of {len(losses)}")
    return "\n".join(lines)


def main() -> None:
    """Train what is missing, or show what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("grids", nargs="*")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    done = [json.loads(line) for line in asked.results.read_text().splitlines()] if asked.results.exists() else []
    known = [{key: value for key, value in one.items() if key != "loss"} for one in done]
    for run in (run for name in asked.grids for run in grid(name)):
        if run not in known:
            run["loss"] = train(run)
            with asked.results.open("a") as file:
                file.write(json.dumps(run) + "\n")
            done.append(run)
    if asked.table:
        print(table(done))


if __name__ == "__main__":
    main()
