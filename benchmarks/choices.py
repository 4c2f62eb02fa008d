"""Which settings matter: the held-out loss at equal tokens with one of them changed, over several seeds.

Each run trains `configs/quickstart.yaml`, on the text of the standard library of this Python, for as many steps. It is
scored on the held-out files as it is trained; with `all alike` also as the first configuration is, so that documents
that a run saw together count as they do elsewhere.

    python -m benchmarks.choices [--seeds 3] [--steps 300] [--choices muon adamw ...]
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

CONFIG = Path(__file__).parent.parent / "configs" / "quickstart.yaml"
# Muon's matrices have ten times this rate.
ISOLATED = "data.isolate_documents"
CHOICES: dict[str, tuple[str, ...]] = {
    "muon": (),
    "adamw 3e-3": ("optim.name=adamw",),
    "adamw 1e-3": ("optim.name=adamw", "optim.lr=1e-3"),
    "not isolated": (f"{ISOLATED}=false",),
    "sequential": ("data.packing_mode=sequential",),
}


def measure(choice: tuple[str, ...], folder: Path, steps: int, seed: int) -> tuple[float, float]:
    """Train one run; its held-out loss as it is trained, and with isolated documents."""
    run = folder / "run"
    common = (f"train.steps={steps}", f"train.seed={seed}", "train.eval_every=0", "train.generate_every=0")
    options = [part for one in (*common, f"checkpoint.save_every={steps}", *choice) for part in ("-o", one)]
    _chomp("train", str(CONFIG), "--run-dir", str(run), *options)
    found = [
        float(json.loads(_chomp("eval", str(run), "--json", "-o", "data.max_eval_samples=40", *more))["loss"])
        for more in ((), ("-o", f"{ISOLATED}=true"))
    ]
    shutil.rmtree(run)
    return found[0], found[1]


def _chomp(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "chomp", *arguments],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise SystemExit(f"chomp {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def main() -> None:
    """Print a line for each run, then how each choice differs from the first."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--steps", type=int, default=300)
    options.add_argument("--choices", nargs="+", choices=list(CHOICES), default=list(CHOICES))
    args = options.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, python {platform.python_version()}")
    print(f"chomp {version('chomp')}, jax {version('jax')}; {args.steps:,} steps of 1,024 tokens")
    losses: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        for choice in args.choices:
            for seed in range(args.seeds):
                found = measure(CHOICES[choice], Path(name), args.steps, seed)
                losses.setdefault(choice, []).append(found)
                print(f"{choice:<13} seed {seed}  loss {found[0]:.4f}  all alike {found[1]:.4f}", flush=True)
    base = losses[args.choices[0]]
    for choice, found in losses.items():
        for place, title in enumerate(("loss", "all alike")):
            values = [one[place] for one in found]
            pairs = [one[place] - other[place] for one, other in zip(found, base, strict=True)]
            spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            band = f" ± {statistics.stdev(pairs):.4f}" if len(pairs) > 1 else ""
            print(
                f"{choice:<13} {title:<9} {statistics.mean(values):.4f}{spread}, against {args.choices[0]} "
                f"{statistics.mean(pairs):+.4f}{band}, seed by seed"
            )


if __name__ == "__main__":
    main()
