"""The same runs on meshes of this machine's GPUs: curves, speed, memory of each device, and a resume after `kill -9`.

    benchmarks/gpu.sh --mesh [--devices N] [--only MODEL]... [--steps N] [--results FOLDER] [-o KEY=VALUE]...
        [--rehearse]

For each model `chomp train` runs on one GPU, then on 2, 4, ... of them for `parallel.data`, for `parallel.fsdp` and for
both. Every run reads the same rows. One line says what a run measured as soon as it has ended: tokens per second, MFU,
memory, and the loss beside that of one GPU. The run on the last mesh is then repeated, killed by SIGKILL behind its
first checkpoint, and resumed. The runs stay in the folder of results: `chomp compare` and the console open them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chomp.device import probe_gpus
from chomp.device.environment import visible_gpus
from chomp.notebook import Run
from chomp.record.formatting import size
from chomp.record.rundir import RunDir

GIB = 2**30
WARM_UP = 5
"""Steps whose speed does not count."""
POLL_SECONDS = 0.05
LONGEST_SECONDS = 3600.0
COMMON = (
    "data.backend=stdlib", "data.packing_mode=bin", "data.tokenizer.kind=byte", "optim.warmup_steps=10",
    "train.log_every=1", "train.eval_every=0", "train.generate_every=0", "checkpoint.save_every_seconds=0",
)  # fmt: skip
# The vocabulary is GPT-2's, although only bytes are read: embedding and head have the size of a real run.
FULL = (
    "model.vocab_size=50304", "model.compute_dtype=bfloat16", "train.seq_len=2048", "train.batch_size=4",
    "train.grad_accum=32",
)  # fmt: skip
TINY = (
    "model.vocab_size=512", "model.num_layers=2", "model.model_dim=128", "model.num_heads=2",
    "model.ffn_hidden_dim=256", "model.compute_dtype=float32", "train.seq_len=64", "train.batch_size=2",
    "train.grad_accum=16", "train.allow_cpu=true",
)  # fmt: skip
# name -> preset, overrides, and those of a rehearsal.
MODELS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "llama": ("llama-270m", ("model.attention=flash", "model.loss_chunk_size=2048"), ("model.num_kv_heads=2",)),
    "megalodon": (
        "mega200m",
        ("model.loss_chunk_size=2048", "optim.name=adamw", "optim.lr=3e-4"),
        ("model.num_heads=1", "model.z_dim=64", "model.value_dim=128", "model.cema_ndim=4", "model.chunk_size=32",
         "model.norm_num_groups=8", "optim.name=adamw", "optim.lr=3e-4"),
    ),
}  # fmt: skip
Record = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One model on one mesh."""

    model: str
    data: int
    fsdp: int

    @property
    def name(self) -> str:
        """As in the table, and of the run directory."""
        return f"{self.model}-{self.data}x{self.fsdp}"

    @property
    def devices(self) -> int:
        return self.data * self.fsdp


def plan(models: Sequence[str], devices: int) -> Iterator[Case]:
    """The cases, each model first on one device, which the others are compared with."""
    for model in models:
        count = 1
        while count <= devices:
            shapes = [(count, 1), (1, count), *([(2, count // 2)] if count >= 4 else [])]
            yield from (Case(model, data, fsdp) for data, fsdp in dict.fromkeys(shapes))
            count *= 2


class Runs:
    """Starts `chomp train` for cases, each in a run directory of the folder."""

    def __init__(self, folder: Path, steps: int, overrides: Sequence[str], rehearse: bool) -> None:
        self.folder, self.steps = folder, steps
        self._overrides, self._rehearse = overrides, rehearse
        self._environment = {**os.environ, "EQX_ON_ERROR": "off"}

    def pretend(self, devices: int) -> None:
        """Compute on so many virtual devices of the CPU."""
        self._environment |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}

    def command(self, case: Case, name: str, *more: str) -> list[str]:
        """What trains the case."""
        preset, full, tiny = MODELS[case.model]
        values = (
            *COMMON, *((*TINY, *tiny) if self._rehearse else (*FULL, *full)), f"parallel.data={case.data}",
            f"parallel.fsdp={case.fsdp}", f"train.steps={self.steps}", f"checkpoint.save_every={self.steps // 2}",
            *self._overrides,
        )  # fmt: skip
        chosen = ",".join(map(str, range(case.devices)))
        options = [word for value in values for word in ("-o", value)]
        train = [sys.executable, "-m", "chomp", "train", preset, *options]
        return [*train, "--run-dir", str(self.folder / name), "--devices", chosen, *more]

    def start(self, case: Case, name: str, *more: str) -> subprocess.Popen[bytes]:
        """The run as a process whose output goes to a file beside the run directory."""
        with (self.folder / f"{name}.out").open("ab") as output:
            return subprocess.Popen(
                self.command(case, name, *more), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env=self._environment, start_new_session=True,
            )  # fmt: skip

    def finish(self, case: Case, name: str, *more: str) -> str | None:
        """Run to its end; returns what went wrong."""
        process = self.start(case, name, *more)
        try:
            code = process.wait(LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            return f"no end within {LONGEST_SECONDS:.0f} s"
        finally:
            _kill(process)
        return None if code == 0 else f"exit code {code}: {self._last_line(name)}"

    def kill_and_resume(self, case: Case, name: str) -> str | None:
        """Run until behind the first checkpoint, kill the process, and resume; returns what went wrong."""
        process, run = self.start(case, name), RunDir(self.folder / name)
        deadline = time.monotonic() + LONGEST_SECONDS
        # The manifest is the last file that a checkpoint gets.
        while not any(run.checkpoints.glob("*/manifest.json")):
            if process.poll() is not None:
                return f"ended before the first checkpoint with exit code {process.returncode}: {self._last_line(name)}"
            if time.monotonic() > deadline:
                _kill(process)
                return f"no checkpoint within {LONGEST_SECONDS:.0f} s"
            time.sleep(POLL_SECONDS)
        _kill(process)
        return self.finish(case, name, "--resume", "latest")

    def _last_line(self, name: str) -> str:
        lines = (self.folder / f"{name}.out").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no message"


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def figures(folder: Path) -> Record:
    """What a finished run measured: losses, and medians behind the first steps."""
    rows = Run(folder).rows

    def median(name: str) -> float | None:
        values = rows.get(name, np.array([]))[WARM_UP:]
        known = values[~np.isnan(values)]
        return float(np.median(known)) if known.size else None

    in_use = [values[-1] for name, values in rows.items() if name.startswith("device_") and name[7].isdigit()]
    return {
        "losses": rows["loss"].tolist(),
        "tokens": rows["tokens_seen"].tolist(),
        "tokens_per_sec": median("tokens_per_sec"),
        "mfu": median("mfu"),
        "peak_gb": float(np.nanmax(rows["peak_memory_gb"])) if "peak_memory_gb" in rows else None,
        "in_use_gb": [round(float(value), 3) for value in in_use],
    }


def apart(found: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """The largest relative distance of two curves.

    Raises:
        ValueError: they are not over the same tokens, which no mesh may change.
    """
    if found["tokens"] != other["tokens"]:
        raise ValueError("the runs have not seen the same tokens")
    pairs = zip(found["losses"], other["losses"], strict=True)
    return max(abs(one - two) / abs(two) for one, two in pairs)


HEAD = (
    f"{'model, data x fsdp':<18} {'devices':>7} {'tokens/s':>10} {'x':>6} {'MFU':>6} {'peak':>9} "
    f"{'in use, each device':>24} {'loss':>7} {'from one device':>15}"
)


def line(case: Case, found: Record, one: Record) -> str:
    """A row of the table."""
    if "error" in found:
        return f"{case.name:<18} {case.devices:>7} failed: {' '.join(found['error'].split())[:300]}"
    speed, mfu, peak = found["tokens_per_sec"], found["mfu"], found["peak_gb"]
    beside = speed / one["tokens_per_sec"] if one.get("tokens_per_sec") else math.nan
    distance = f"{found['apart']:.1e}" if "apart" in found else "–"
    in_use = [size(value * GIB) for value in (min(found["in_use_gb"], default=0), max(found["in_use_gb"], default=0))]
    return (
        f"{case.name:<18} {case.devices:>7} {speed:>10,.0f} {beside:>6.2f} {f'{mfu:.1%}' if mfu else '–':>6} "
        f"{size(peak * GIB) if peak else '–':>9} {' to '.join(in_use) if found['in_use_gb'] else '–':>24} "
        f"{found['losses'][-1]:>7.4f} {distance:>15}"
    )


def measure(runs: Runs, case: Case, one: Record) -> Record:
    """Train one case, and compare it with the run on one device."""
    error = runs.finish(case, case.name)
    if error is not None:
        return {"error": error}
    found = figures(runs.folder / case.name)
    try:
        return {**found, "apart": apart(found, one)} if "losses" in one else found
    except ValueError as unequal:
        return {**found, "error": str(unequal)}


def check_resume(runs: Runs, case: Case, whole: Record) -> Record:
    """Kill and resume the run of a case, and compare every loss with that of the run that was not killed."""
    name = f"{case.name}-killed"
    error = runs.kill_and_resume(case, name)
    if error is not None:
        return {"error": error}
    found = figures(runs.folder / name)
    pairs = zip(found["losses"], whole["losses"], strict=True)
    return {**found, "different": sum(one != other for one, other in pairs), "apart": apart(found, whole)}


def run_plan(runs: Runs, cases: Sequence[Case]) -> int:
    """Measure in order, one line each; returns how many failed."""
    failed, one, last = 0, Record(), Record()
    with (runs.folder / "meshes.jsonl").open("a") as file:
        for number, case in enumerate(cases):
            if case.devices == 1:
                one = {}
            last = measure(runs, case, one)
            if case.devices == 1:
                one = last
            failed += "error" in last
            file.write(json.dumps({"case": case.name, **last}) + "\n")
            file.flush()
            print(line(case, last, one), flush=True)
            is_last = number + 1 == len(cases) or cases[number + 1].model != case.model
            if is_last and "error" not in last:
                resumed = check_resume(runs, case, last)
                failed += "error" in resumed
                file.write(json.dumps({"case": f"{case.name}-killed", **resumed}) + "\n")
                said = resumed.get("error") or (
                    f"{resumed['different']} of {len(last['losses'])} losses differ, by at most {resumed['apart']:.1e}"
                    if resumed["different"]
                    else f"all {len(last['losses'])} losses have the same digits"
                )
                print(f"{case.name:<18} after kill -9 and a resume: {said}", flush=True)
    return failed


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/gpu.sh --mesh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devices", type=int, metavar="N", help="at most so many; default: all visible GPUs")
    parser.add_argument("--only", action="append", choices=MODELS, help="default: both models")
    parser.add_argument("--steps", type=int, default=40, help="of each run; default: 40")
    parser.add_argument("--results", type=Path, default=Path("gpu-mesh"), metavar="FOLDER", help="must not be there")
    parser.add_argument("-o", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="for all runs")
    parser.add_argument("--rehearse", action="store_true", help="tiny shapes on virtual devices of the CPU")
    asked = parser.parse_args(given)
    if asked.steps <= 2 * WARM_UP:
        parser.error(f"--steps {asked.steps}: more than {2 * WARM_UP} are needed")
    return asked


def main() -> int:
    """Measure every case; the exit code is 1 if one failed."""
    asked = arguments()
    there = 8 if asked.rehearse else len(visible_gpus(probe_gpus(), os.environ))
    devices = min(asked.devices or there, there)
    if devices < 2:
        print("error: fewer than two GPUs are visible here; --rehearse computes on virtual devices", file=sys.stderr)
        return 4
    try:
        asked.results.mkdir(parents=True)
    except FileExistsError:
        print(f"error: {asked.results} is there already; name another folder with --results", file=sys.stderr)
        return 2
    runs = Runs(asked.results.resolve(), asked.steps, asked.overrides, asked.rehearse)
    if asked.rehearse:
        runs.pretend(devices)
    print(f"{asked.steps} steps each; runs and meshes.jsonl are in {asked.results}\n{HEAD}", flush=True)
    return int(run_plan(runs, list(plan(asked.only or list(MODELS), devices))) > 0)


if __name__ == "__main__":
    sys.exit(main())
