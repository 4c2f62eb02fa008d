"""How long an export takes, and how much memory, for a Llama of 125M parameters.

    python -m benchmarks.export [--preset NAME] [--format FORMAT[:DTYPE]]...

Parameters are random numbers, saved as a checkpoint once. Each export is a process of its own, which loads them as the
command does. Memory is resident memory with libraries, as a ratio to the bytes of the parameters: once they are loaded,
how far the peak is above that, and the peak. Loading has a peak of its own, so that the middle figure is a bound. The
Megalodon format takes `mega200m`, the smallest Megalodon that has a name. int8 is not scored here.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple, cast

from chomp.record.formatting import size

FORMATS = (
    "hf", "hf:bfloat16", "gguf", "gguf:float16", "gguf:bfloat16", "gguf:q8_0", "stablehlo", "int8", "megalodon-jax",
)  # fmt: skip
LLAMA, MEGALODON = "nano-125m", "mega200m"
ROWS = 50_304  # of the embedding, as with GPT-2's vocabulary; the tokenizer is that of bytes all the same
STEP = 1


class Cost(NamedTuple):
    """What one process found: parameters, bytes, and seconds; `held` is its size when the parameters were loaded."""

    parameters: int
    weights: int
    files: int
    held: int
    loading_seconds: float
    seconds: float


def make(run_dir: Path, preset: str) -> None:
    """Write a run whose one checkpoint holds random parameters."""
    import jax
    import numpy as np

    from chomp.checkpoint.retention import Retention
    from chomp.checkpoint.store import CheckpointStore
    from chomp.config.load import parse_config
    from chomp.data.tokenizers import build_tokenizer
    from chomp.model.paths import named_leaves
    from chomp.record.rundir import RunDir
    from chomp.train.blueprint import build_blueprint

    run, rng = RunDir(run_dir), np.random.default_rng(0)
    settings = {"model": {"preset": preset}, "data": {"backend": "stdlib", "tokenizer": {"vocab_size_multiple": ROWS}}}
    config = parse_config(json.dumps(settings), source="the benchmark").config
    tokenizer = build_tokenizer(config.data.tokenizer)
    blueprint = build_blueprint(config, "cpu", tokenizer)
    params = {
        name: jax.device_put((0.02 * rng.standard_normal(leaf.shape, np.float32)).astype(leaf.dtype))
        for name, leaf in named_leaves(blueprint.model_def.abstract())
    }
    tokenizer.save(run.tokenizer)
    run.events.touch()
    store = CheckpointStore(run.checkpoints, retention=Retention(max_to_keep=1), on_event=lambda event: None)
    meta = {"step": STEP, "identity": blueprint.identity({})}
    store.save(STEP, {"params": params}, {}, meta, wait=True)
    if failure := store.take_failure():
        raise SystemExit(failure.reason)


def one(run_dir: Path, entry: str, output: Path) -> None:
    """Load and export as the command does; print what that took in this process."""
    import jax
    import psutil

    from chomp.export.formats import export
    from chomp.export.options import ExportOptions
    from chomp.generate.load import load_trained

    began = time.perf_counter()
    trained = load_trained(run_dir, on_host=True)
    leaves = jax.tree.leaves(trained.params)
    held, loaded = psutil.Process().memory_info().rss, time.perf_counter()
    name, _, dtype = entry.partition(":")
    files = export(trained, name, output, ExportOptions(cast(Any, dtype or None), measure=False))
    cost = Cost(
        parameters=sum(leaf.size for leaf in leaves),
        weights=sum(leaf.nbytes for leaf in leaves),
        files=sum(files.values()),
        held=held,
        loading_seconds=loaded - began,
        seconds=time.perf_counter() - loaded,
    )
    print(json.dumps(cost._asdict()))


def child(*args: object) -> tuple[str, int]:
    """Run this page as a child; what it printed, and the most bytes that it ever held."""
    # A child is counted from its parent's size on, so that this process imports nothing large.
    command = [sys.executable, "-m", "benchmarks.export", *map(str, args)]
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, env={**os.environ, "JAX_PLATFORMS": "cpu"})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        out.seek(0)
        # Linux counts in KiB, macOS in bytes.
        return out.read(), usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def page(preset: str, formats: list[str], folder: Path) -> None:
    """Print a table of one model's formats."""
    run, output = folder / preset, folder / "out"
    child("--make", run, "--preset", preset)
    for number, entry in enumerate(formats):
        said, peak = child("--one", run, "--format", entry, "--output", output)
        shutil.rmtree(output)
        cost = Cost(**json.loads(said))
        if not number:
            print(f"{preset}: {cost.parameters / 1e6:.1f}M parameters, {size(cost.weights)}")
            print(f"{'':<16}{'load s':>8}{'export s':>10}{'files':>10}{'loaded':>9}{'above':>8}{'peak':>8}")
        ratios = [value / cost.weights for value in (cost.held, peak - cost.held, peak)]
        print(
            f"{entry:<16}{cost.loading_seconds:8.1f}{cost.seconds:10.1f}{size(cost.files):>10}"
            f"{ratios[0]:9.2f}{ratios[1]:8.2f}{ratios[2]:8.2f}",
            flush=True,
        )


def pages(preset: str, formats: list[str]) -> None:
    """Print the tables, Megalodon's format last."""
    with tempfile.TemporaryDirectory() as name:
        for model, entries in (
            (preset, [entry for entry in formats if entry != "megalodon-jax"]),
            (MEGALODON, [entry for entry in formats if entry == "megalodon-jax"]),
        ):
            if entries:
                page(model, entries, Path(name))


def main() -> None:
    """Print the tables, or play one of the children."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default=LLAMA)
    parser.add_argument("--format", action="append", dest="formats", metavar="FORMAT[:DTYPE]")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make:
        make(given.make, given.preset)
    elif given.one:
        one(given.one, given.formats[0], given.output)
    else:
        pages(given.preset, given.formats or list(FORMATS))


if __name__ == "__main__":
    main()
