"""The step on meshes of virtual CPU devices: what a device holds, what it sends, and the time of a step.

A process for each number of devices compiles a Llama and a Megalodon for `parallel.data` and for `parallel.fsdp` of
that number. The processes then take turns, so that a slow moment of the machine falls on all of them. Every mesh
computes the same rows.

    python -m benchmarks.mesh [--devices N]... [--model NAME]... [--turns N]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

MODELS: dict[str, dict[str, Any]] = {
    "llama": {"backend": "llama", "num_heads": 4, "num_kv_heads": 2, "ffn_hidden_dim": 704},
    "megalodon": {
        "backend": "megalodon", "num_heads": 1, "z_dim": 64, "value_dim": 512, "ffn_hidden_dim": 512, "cema_ndim": 8,
        "chunk_size": 64, "norm_num_groups": 8,
    },
}  # fmt: skip
COUNTS = (1, 2, 4, 8)
KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")
NOTE = """
Bytes are what one device sends in a step, from the compiled program. They are exact, and on GPUs nearly the same: there
XLA sends several arrays together, and parameters in the dtype of the products, which is fp32 here.
Times are not those of GPUs. All virtual devices share the cores of this machine: more devices than cores cannot be
faster. What a mesh costs beside one device is here the exchange through memory, smaller matrix products, and threads
that wait for each other. Whether GPUs send while they compute does not show."""


def configuration(model: str, data: int, fsdp: int) -> Any:
    """32 rows of 64 tokens; of 8 devices each computes its rows two at a time, in two micro-batches."""
    from chomp.config import parse_config

    shape = {"model_dim": 256, "num_layers": 4, "vocab_size": 4096, "compute_dtype": "float32", "loss_chunk_size": 64}
    values = {
        "model": {**MODELS[model], **shape},
        "train": {"seq_len": 64, "batch_size": 2, "grad_accum": 16, "steps": 100, "allow_cpu": True},
        "optim": {"name": "adamw", "warmup_steps": 1},
        "parallel": {"data": data, "fsdp": fsdp},
    }
    return parse_config(json.dumps(values), source="benchmarks.mesh").config


class Stepper:
    """The compiled step on one mesh, with its state and the batch that every step takes."""

    def __init__(self, model: str, data: int, fsdp: int) -> None:
        import jax

        from benchmarks.step import make_batch
        from chomp.parallel.mesh import place_on
        from chomp.step.state import init_state
        from chomp.step.train_step import compile_train_step
        from chomp.train.blueprint import build_blueprint

        config = configuration(model, data, fsdp)
        self.placement = placement = place_on(config, jax.devices())
        self.blueprint = blueprint = build_blueprint(config, "cpu", placement=placement)
        rows = make_batch(config, mean_tokens=32)
        self.batch = placement.place(rows, blueprint.accum)
        like = blueprint.state, jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), self.batch)
        if placement.mesh is not None:
            like = placement.abstract(like[0]), placement.abstract_rows(like[1])
        self.program = compile_train_step(blueprint.train_step(), *like)
        self.state = init_state(blueprint.model_def, blueprint.optimizer, 0, placement)

    def figures(self) -> dict[str, Any]:
        """What the program holds and sends."""
        from chomp.analysis.structure import read_structure
        from chomp.train.compilation import memory_account
        from chomp.train.hlo import read_module

        executable = self.program.runtime_executable()
        assert executable is not None
        module = executable.hlo_modules()[0]
        structure = read_structure(read_module(module.as_serialized_hlo_module_proto()))
        sent = {kind: [each.calls, each.bytes] for kind, each in structure.collectives.items()}
        return {"accum": self.blueprint.accum, "memory": memory_account(self.program), "sent": sent}

    def once(self) -> float:
        """Seconds of one step."""
        import jax

        began = time.perf_counter()
        self.state, metrics = self.program(self.state, self.batch)
        jax.block_until_ready((self.state, metrics))
        return time.perf_counter() - began


def serve(count: int, models: list[str]) -> None:
    """Print the figures of all meshes of so many devices, then for each line that is read seconds of a step of each."""
    import jax

    # The programs are read here, and what is read from a cache is not always whole.
    jax.config.update("jax_enable_compilation_cache", False)
    shapes = {"dp": (count, 1), "fsdp": (1, count)} if count > 1 else {"one": (1, 1)}
    steppers = {f"{model} {name}": Stepper(model, *shape) for model in models for name, shape in shapes.items()}
    print(json.dumps({name: stepper.figures() for name, stepper in steppers.items()}), flush=True)
    for _ in sys.stdin:
        print(json.dumps({name: stepper.once() for name, stepper in steppers.items()}), flush=True)


class Child:
    """A process with so many virtual devices."""

    def __init__(self, count: int, models: list[str]) -> None:
        self.count = count
        named = [word for model in models for word in ("--model", model)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.mesh", "--serve", str(count), *named],
            env={**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(count), "EQX_ON_ERROR": "off"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def read(self) -> dict[str, Any]:
        """The next line that it prints.

        Raises:
            RuntimeError: the process has ended.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process with {self.count} devices ended with exit code {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def turn(self) -> dict[str, float]:
        """Seconds of one step of each of its programs."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.read()

    def close(self) -> None:
        """Ends the process, which reads until its input ends."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def row(name: str, count: int, found: dict[str, Any], times: list[float], one: float) -> str:
    """A line of the table."""
    from chomp.record.formatting import size

    sent = {kind: found["sent"].get(kind, (0, 0)) for kind in KINDS}
    cells = " ".join(f"{f'{calls}: {size(number)}' if calls else '–':>15}" for calls, number in sent.values())
    median, memory = statistics.median(times), found["memory"]
    return (
        f"{name:<15} {count:>7} {found['accum']:>7} {size(memory['argument']):>9} {size(memory['temp']):>9} {cells} "
        f"{1e3 * median:>8.0f} {median / one:>5.2f}"
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, action="append", choices=COUNTS, help="default: 1, 2, 4 and 8")
    parser.add_argument("--model", action="append", choices=MODELS, help="default: both")
    parser.add_argument("--turns", type=int, default=7, help="steps on each mesh, one of them warm-up")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    models = asked.model or list(MODELS)
    if asked.serve is not None:
        serve(asked.serve, models)
        return
    # One device is what the others are held against.
    children = [Child(count, models) for count in sorted({1, *(asked.devices or COUNTS)})]
    figures = {child.count: child.read() for child in children}
    times: dict[tuple[int, str], list[float]] = {}
    for turn in range(asked.turns):
        for child in children:
            for name, seconds in child.turn().items():
                if turn:
                    times.setdefault((child.count, name), []).append(seconds)
    for child in children:
        child.close()
    head = " ".join(f"{kind:>15}" for kind in KINDS)
    print("sent by each device in a step as calls: bytes; x: time beside one device")
    print(f"{'':<15} {'devices':>7} {'micro':>7} {'arguments':>9} {'temp':>9} {head} {'step ms':>8} {'x':>5}")
    for model in models:
        one = statistics.median(times[1, f"{model} one"])
        for count, found in figures.items():
            for name in found:
                if name.startswith(model):
                    print(row(name, count, found[name], times[count, name], one))
    print(NOTE)


if __name__ == "__main__":
    main()
