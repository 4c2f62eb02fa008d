"""Which settings matter: the held-out loss at equal tokens with one of them changed, over several seeds.

Each run trains `configs/quickstart.yaml`, or another file, on the text of the standard library of this Python, for as
many steps. It is scored on the held-out files as it is trained; with `all alike` also as the first configuration is, so
that documents that a run saw together count as they do elsewhere.

    python -m benchmarks.choices [--seeds 0 1 2] [--steps 300] [--choices muon "adamw 3e-3" ...]
    python -m benchmarks.choices --table bare [--config configs/quickstart_llama.yaml]

`bare` compares update rules where a file sets nothing of `optim`, or its rate alone.
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
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

CONFIG = Path(__file__).parent.parent / "configs" / "quickstart.yaml"
# Training holds as many files out as are scored: other files of the library would be training text.
HELD_OUT = "data.max_eval_samples=40"
# Muon's matrices have ten times this rate.
ISOLATED = "data.isolate_documents"
CHOICES: dict[str, tuple[str, ...]] = {
    "muon": (),
    "adamw 3e-3": ("optim.name=adamw",),
    "adamw 1e-3": ("optim.name=adamw", "optim.lr=1e-3"),
    "not isolated": (f"{ISOLATED}=false",),
    "sequential": ("data.packing_mode=sequential",),
    "xavier": ("model.init_mode=xavier",),
}
RULES: dict[str, tuple[str, ...]] = {
    "adamw": ("optim.name=adamw",),
    "muon x100": ("optim.name=muon", "optim.muon.lr_scale=100", "optim.muon.consistent_rms=null"),
    "muon x30": ("optim.name=muon", "optim.muon.lr_scale=30", "optim.muon.consistent_rms=null"),
    "muon x10": ("optim.name=muon", "optim.muon.lr_scale=10", "optim.muon.consistent_rms=null"),
    "muon rms": ("optim.name=muon", "optim.muon.lr_scale=1", "optim.muon.consistent_rms=0.2"),
}
# The defaults of the schedule, which the configurations set.
BARE = ("optim.warmup_steps=100", "optim.min_lr_ratio=0.1")
TABLES = {
    "settings": CHOICES,
    "bare": {
        f"{rule} {rate}": (*BARE, f"optim.lr={rate}", *options)
        for rate in ("3e-4", "1e-3", "3e-3")
        for rule, options in RULES.items()
    },
}


def measure(config: Path, choice: tuple[str, ...], folder: Path, steps: int, seed: int) -> tuple[float, float]:
    """Train one run; its held-out loss as it is trained, and with isolated documents."""
    run = folder / "run"
    train(config, run, steps, seed, (HELD_OUT, *choice))
    own, alike = ((), (f"{ISOLATED}=true",)) if any(ISOLATED in part for part in choice) else ((), ())
    found = {more: score(run, more) for more in {own, alike}}
    shutil.rmtree(run)
    return found[own], found[alike]


def train(config: Path, run: Path, steps: int, seed: int, settings: tuple[str, ...]) -> None:
    """Train a run of chomp that neither evaluates nor generates."""
    common = (f"train.steps={steps}", f"train.seed={seed}", "train.eval_every=0", "train.generate_every=0")
    options = _given(*common, f"checkpoint.save_every={steps}", *settings)
    _chomp("train", str(config), "--run-dir", str(run), *options)


def score(run: Path, settings: tuple[str, ...] = ()) -> float:
    """The loss of a run on its held-out documents, in nats per token."""
    return float(json.loads(_chomp("eval", str(run), "--json", *_given(*settings)))["loss"])


def machine() -> str:
    """The processor and the Python, for the head of a table."""
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, python {platform.python_version()}"


def in_words(values: Sequence[float], sign: str = "") -> str:
    """Mean and standard deviation, of a single value the value; `sign` is "+" for differences."""
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{sign}.4f}{spread}"


def _given(*settings: str) -> list[str]:
    return [part for one in settings for part in ("-o", one)]


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
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--steps", type=int, default=300)
    options.add_argument("--config", type=Path, default=CONFIG)
    options.add_argument("--table", choices=list(TABLES), default="settings")
    options.add_argument("--choices", nargs="+", help="some of the table, the first to compare with; all by default")
    args = options.parse_args()
    table = TABLES[args.table]
    names = args.choices or list(table)
    if unknown := [name for name in names if name not in table]:
        options.error(f"not in the table {args.table}: {', '.join(unknown)}; it has {', '.join(table)}")
    print(machine())
    print(f"chomp {version('chomp')}, jax {version('jax')}; {args.config.name}; {args.steps:,} steps of 1,024 tokens")
    losses: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        # Seed by seed, so that a benchmark that is stopped has compared all choices with as many seeds as it came to.
        for seed in args.seeds:
            for choice in names:
                scored = measure(args.config, table[choice], Path(folder), args.steps, seed)
                losses.setdefault(choice, []).append(scored)
                print(f"{choice:<14} seed {seed}  loss {scored[0]:.4f}  all alike {scored[1]:.4f}", flush=True)
    base = losses[names[0]]
    for choice, found in losses.items():
        for place, title in enumerate(("loss", "all alike")):
            values = [one[place] for one in found]
            pairs = [one[place] - other[place] for one, other in zip(found, base, strict=True)]
            print(
                f"{choice:<14} {title:<9} {in_words(values)}, against {names[0]} {in_words(pairs, '+')}, seed by seed"
            )


if __name__ == "__main__":
    main()
