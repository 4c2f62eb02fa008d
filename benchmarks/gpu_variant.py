"""One variant of the step in a process of its own; `benchmarks.gpu_step` starts it, and reads what it prints.

    python -m benchmarks.gpu_variant '{"overrides": [...], "platform": "gpu", "limit_seconds": 120, ...}'

It prints a JSON object a line, as soon as something is known. Those of a step have the key `step_seconds`.
"""

import hashlib
import json
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jaxlib
import numpy as np

from benchmarks.gpu_plan import CONFIG, WARM_UP
from benchmarks.step import make_batch
from chomp.config import load_config
from chomp.model.flops import peak_flops
from chomp.step.state import TrainState, init_state
from chomp.step.train_step import compile_train_step
from chomp.train.blueprint import Blueprint, build_blueprint
from chomp.train.compilation import memory_account

ROOT = Path(__file__).resolve().parent.parent
MEAN_DOCUMENT_TOKENS = 600
STEPS, LONGEST_SECONDS = 20, 30.0
"""Measured steps, and when measuring ends although there were fewer."""
BEFORE, AFTER = 3, 3
"""Steps before and after the state is saved."""
CLOCKS = ("clocks.sm", "clocks.mem", "power.draw", "temperature.gpu")


def say(**facts: Any) -> None:
    """Print one line for the parent."""
    print(json.dumps(facts), flush=True)


def machine(platform_name: str) -> dict[str, Any]:
    """The device and the versions.

    Raises:
        RuntimeError: JAX has no device of the platform.
    """
    device = jax.devices(platform_name)[0]
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "client": device.client.platform_version,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
    }


def built(overrides: list[str]) -> Blueprint:
    """The preset with the variant's overrides."""
    return build_blueprint(load_config(ROOT / CONFIG, tuple(overrides)).config, jax.default_backend())


class Stepper:
    """The compiled step with its state and one batch, which every step takes."""

    def __init__(self, blueprint: Blueprint) -> None:
        batch = make_batch(blueprint.config, MEAN_DOCUMENT_TOKENS)
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), batch)
        began = time.perf_counter()
        self.program = compile_train_step(blueprint.train_step(), blueprint.state, shapes)
        say(
            compile_seconds=round(time.perf_counter() - began, 2),
            tokens=batch.input_ids.size,
            flops_per_token=blueprint.flops_per_token,
            peak_flops=peak_flops(jax.devices()[0].device_kind, blueprint.config.model.compute_dtype),
            memory=memory_account(self.program),
        )
        self.batch = jax.device_put(batch)
        self.state: TrainState = init_state(blueprint.model_def, blueprint.optimizer, 0)

    def once(self) -> float:
        """Run one step to its end; returns seconds."""
        began = time.perf_counter()
        self.state, metrics = self.program(self.state, self.batch)
        jax.block_until_ready((self.state, metrics))
        seconds = time.perf_counter() - began
        say(step_seconds=seconds, loss=float(metrics.loss))
        return seconds

    def leaves(self) -> list[np.ndarray[Any, Any]]:
        """The state on the host."""
        return [np.asarray(leaf) for leaf in jax.tree.leaves(self.state)]


def measure_speed(stepper: Stepper) -> None:
    """Time steps, and tell the memory and the clocks meanwhile."""
    for _ in range(WARM_UP):
        stepper.once()
    spent = 0.0
    with clocks() as found:
        for _ in range(STEPS):
            spent += stepper.once()
            if spent > LONGEST_SECONDS:
                break
    say(clocks=found, peak_bytes=(jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use"))


def measure_bits(stepper: Stepper, saved: Path) -> None:
    """Run to the end, saving the state half way, or on from the state that is saved; tell the digest of each array."""
    if saved.exists():
        leaves, structure = jax.tree.flatten(stepper.state)
        with np.load(saved) as arrays:
            # NumPy keeps the bits of bf16, but not its name.
            kept = [arrays[f"arr_{i}"].view(leaf.dtype) for i, leaf in enumerate(leaves)]
        stepper.state = jax.device_put(jax.tree.unflatten(structure, kept))
    else:
        for _ in range(BEFORE):
            stepper.once()
        np.savez(saved, *stepper.leaves())
    for _ in range(AFTER):
        stepper.once()
    say(digests=[hashlib.sha256(leaf.tobytes()).hexdigest()[:16] for leaf in stepper.leaves()])


@contextmanager
def clocks() -> Iterator[dict[str, float]]:
    """Medians of what `nvidia-smi` reads meanwhile; empty where there is none."""
    found: dict[str, float] = {}
    query = ["nvidia-smi", "-i", "0", f"--query-gpu={','.join(CLOCKS)}", "--format=csv,noheader,nounits", "-lms", "200"]
    try:
        reader = subprocess.Popen(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        yield found
        return
    try:
        yield found
    finally:
        reader.terminate()
        rows = [line.split(", ") for line in reader.communicate()[0].splitlines()]
    for column, name in enumerate(CLOCKS):
        numbers = [float(row[column]) for row in rows if len(row) == len(CLOCKS) and _is_number(row[column])]
        if numbers:
            found[name] = statistics.median(numbers)


def _is_number(text: str) -> bool:
    # What the driver does not tell is `[N/A]`.
    return text.replace(".", "", 1).isdigit()


def main() -> None:
    """Do what the argument says."""
    asked = json.loads(sys.argv[1])
    # The parent ends this process in time. If the parent was killed, this does.
    signal.alarm(int(asked["limit_seconds"]) + 5)
    try:
        say(**machine(asked["platform"]))
        if asked["kind"] == "machine":
            return
        stepper = Stepper(built(asked["overrides"]))
        if asked["kind"] == "speed":
            measure_speed(stepper)
        else:
            measure_bits(stepper, Path(asked["saved"]))
    except Exception as error:
        say(error=f"{type(error).__name__}: {error}")
        raise


if __name__ == "__main__":
    main()
