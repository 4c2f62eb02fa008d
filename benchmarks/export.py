"""How long `chomp export` takes, and how much memory: the whole command, on a Llama of 125M parameters.

    python -m benchmarks.export [--preset NAME] [--format FORMAT[:DTYPE]]...

Parameters are random numbers, saved as a checkpoint once. Each command is a process of its own, and its peak is the
most resident memory that the system counted for it, libraries included. Beside it stands what the process holds once
the parameters are loaded and nothing is written yet. Ratios are to the bytes of the parameters. The Megalodon format
takes `mega200m`, the smallest Megalodon that has a name.
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
from typing import NamedTuple

FORMATS = (
    "hf", "hf:bfloat16", "gguf", "gguf:float16", "gguf:bfloat16", "gguf:q8_0", "stablehlo", "int8", "megalodon-jax",
)  # fmt: skip
LLAMA, MEGALODON = "nano-125m", "mega200m"
ROWS = 50_304  # of the embedding, as with GPT-2's vocabulary; the tokenizer is that of bytes all the same
STEP = 1
OPTIONS = {"int8": ("--no-measure",)}


class Cost(NamedTuple):
    """What one process took."""

    seconds: float
    peak_bytes: int
    said: str


def make(run_dir: Path, preset: str) -> None:
    """Write a run whose one checkpoint holds random parameters."""
    import jax
    import numpy as np

    from chomp.checkpoint.items import named_leaves
    from chomp.checkpoint.retention import Retention
    from chomp.checkpoint.store import CheckpointStore
    from chomp.config.derive import derive
    from chomp.config.load import parse_config
    from chomp.data.tokenizers import build_tokenizer
    from chomp.model.build import build_model
    from chomp.model.resolve import resolve_model
    from chomp.run.resume import identity
    from chomp.rundir import RunDir

    run, rng = RunDir(run_dir), np.random.default_rng(0)
    settings = {"model": {"preset": preset}, "data": {"backend": "stdlib", "tokenizer": {"vocab_size_multiple": ROWS}}}
    config = parse_config(json.dumps(settings), source="the benchmark").config
    tokenizer = build_tokenizer(config.data.tokenizer)
    model = resolve_model(config.model, tokenizer)
    config = config.model_copy(update={"model": model})
    params = {
        name: jax.device_put((0.02 * rng.standard_normal(leaf.shape, np.float32)).astype(leaf.dtype))
        for name, leaf in named_leaves(build_model(model).abstract()).items()
    }
    tokenizer.save(run.tokenizer)
    run.events.touch()
    store = CheckpointStore(run.checkpoints, retention=Retention(max_to_keep=1), on_event=lambda event: None)
    meta = {"step": STEP, "identity": identity(config, derive(config), {}, tokenizer.digest())}
    store.save(STEP, {"params": params}, {}, meta, wait=True)
    if failure := store.take_failure():
        raise SystemExit(failure.reason)


def load(run_dir: Path) -> None:
    """Load the parameters as the command does; print their number, bytes, and what the process holds with them."""
    import jax
    import psutil

    from chomp.generate.load import load_trained

    leaves = jax.tree.leaves(jax.block_until_ready(load_trained(run_dir).params))
    print(sum(leaf.size for leaf in leaves), sum(leaf.nbytes for leaf in leaves), psutil.Process().memory_info().rss)


def measured(*args: object) -> Cost:
    """Run `python -m ARGS` to its end."""
    # A child is counted from its parent's size on, so that this process imports nothing large.
    command = [sys.executable, "-m", *map(str, args)]
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(command, stdout=out, stderr=err, env={**os.environ, "JAX_PLATFORMS": "cpu"})
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        for file in (out, err):
            file.seek(0)
        if child.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {child.returncode}:\n{err.read()}")
        # Linux counts in KiB, macOS in bytes.
        return Cost(seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), out.read())


def page(preset: str, formats: list[str], folder: Path) -> None:
    """Print a table of one model's formats."""
    run = folder / preset
    measured("benchmarks.export", "--make", run, "--preset", preset)
    loading = measured("benchmarks.export", "--load", run)
    parameters, weights, loaded = map(int, loading.said.split())
    print(f"{preset}: {parameters / 1e6:.1f}M parameters, {weights / 1e6:,.0f} MB; loading them alone takes")
    print(
        f"{loading.seconds:.1f} s with a peak of {loading.peak_bytes / weights:.2f} times their bytes; "
        f"then the process holds {loaded / weights:.2f} times"
    )
    print(f"{'':<16}{'seconds':>9}{'of them beyond loading':>25}{'files MB':>11}{'above loaded':>14}{'peak':>7}")
    for entry in formats:
        name, _, dtype = entry.partition(":")
        output = folder / "out"
        options = [*OPTIONS.get(name, ()), *(["--dtype", dtype] if dtype else [])]
        cost = measured("chomp", "export", run, "--to", name, "--output", output, *options)
        written = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
        shutil.rmtree(output)
        print(
            f"{entry:<16}{cost.seconds:9.1f}{cost.seconds - loading.seconds:25.1f}{written / 1e6:11,.0f}"
            f"{(cost.peak_bytes - loaded) / weights:14.2f}{cost.peak_bytes / weights:7.2f}",
            flush=True,
        )


def main() -> None:
    """Print the tables, or play one of the children."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default=LLAMA)
    parser.add_argument("--format", action="append", dest="formats", metavar="FORMAT[:DTYPE]")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make or given.load:
        make(given.make, given.preset) if given.make else load(given.load)
        return
    formats = given.formats or list(FORMATS)
    with tempfile.TemporaryDirectory() as name:
        page(given.preset, [entry for entry in formats if entry != "megalodon-jax"], Path(name))
        if "megalodon-jax" in formats:
            page(MEGALODON, ["megalodon-jax"], Path(name))


if __name__ == "__main__":
    main()
