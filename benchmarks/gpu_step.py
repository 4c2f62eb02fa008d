"""The training step of the 200M preset and of a Llama on this machine's GPU, variant by variant, in a time budget.

    benchmarks/gpu.sh [--budget SECONDS] [--wheels DIR] [--results FILE] [--only WORD]... [-o KEY=VALUE]... [--rehearse]

Each variant (`benchmarks/gpu_plan.py`) runs in a process of its own. When it has ended, one line says what was measured
or why nothing was, and the file of results gets one JSON object with every figure. A variant gets half of what is left
of the budget, or twice what the slowest one so far took: one that hangs does not take it all.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.gpu_plan import PLAN, TINY, WARM_UP, Variant, chosen
from chomp.record.formatting import duration, size

ROOT = Path(__file__).resolve().parent.parent
LEAST_SECONDS = 20.0
"""With less left of the budget no variant is started."""
HEAD = (
    f"{'variant':<28} {'step ms':>9} {'min':>8} {'max':>8} {'tokens/s':>10} {'MFU':>6} {'peak':>8} {'program':>8} "
    f"{'compile s':>9} {'all s':>6}"
)
Record = dict[str, Any]
Run = Callable[[Record, str, float], Record]
"""Runs a child: (what it does, XLA flags, limit in seconds) -> what it said."""


class Child:
    """Starts `benchmarks.gpu_variant` in an environment with the packages of the wheels."""

    def __init__(self, packages: Path, platform: str, module: str = "benchmarks.gpu_variant") -> None:
        self.command = [sys.executable, "-m", module]
        self.platform = platform
        path = os.pathsep.join(filter(None, (str(packages), str(ROOT), os.environ.get("PYTHONPATH"))))
        self.environment = {
            **os.environ,
            "PYTHONPATH": path,
            "EQX_ON_ERROR": "off",
            # Compilation is measured, and a resumed process must not find the program of the first.
            "JAX_ENABLE_COMPILATION_CACHE": "false",
            "JAX_TRACEBACK_FILTERING": "off",
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
        if platform == "cpu":
            self.environment["JAX_PLATFORMS"] = "cpu"

    def __call__(self, asked: Record, flags: str, limit: float) -> Record:
        """Run to its end, or to the limit; see `Run`."""
        environment = dict(self.environment)
        if flags:
            environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {flags}".strip()
        task = json.dumps({**asked, "platform": self.platform, "limit_seconds": limit})
        began = time.monotonic()
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [*self.command, task], stdin=subprocess.DEVNULL, stdout=said, stderr=errors, env=environment,
                start_new_session=True,
            )  # fmt: skip
            try:
                code = process.wait(max(limit, 1.0))
            except subprocess.TimeoutExpired:
                code = None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            said.seek(0)
            errors.seek(0)
            record = merged(said.read().decode(errors="replace"))
            tail = errors.read().decode(errors="replace")[-4000:]
        record["seconds"] = round(time.monotonic() - began, 1)
        if code is None:
            stage = "compiling" if "compile_seconds" not in record else f"{len(record['step_seconds'])} steps"
            record["error"] = f"no end within {limit:.0f} s ({stage})"
        elif code:
            how = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
            record.setdefault("error", f"{how}: {(tail.strip().splitlines() or ['no message'])[-1]}")
        if "error" in record:
            record["stderr"] = tail
        return record


def merged(said: str) -> Record:
    """What a child printed, as one object: the lines of steps as lists."""
    record: Record = {"step_seconds": [], "losses": []}
    for line in said.splitlines():
        try:
            facts = json.loads(line)
        except ValueError:
            continue  # A line of a library, or one cut short by the limit.
        if isinstance(facts, dict) and "step_seconds" in facts:
            record["step_seconds"].append(facts["step_seconds"])
            record["losses"].append(facts["loss"])
        elif isinstance(facts, dict):
            record.update(facts)
    return record


class Budget:
    """Seconds that are left, and how many of them a variant may take."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds
        self.shortest: float | None = None
        self.longest = 0.0

    def left(self) -> float:
        """Seconds until the end."""
        return self._end - self._clock()

    def limit(self) -> float | None:
        """What the next variant may take; None if nothing could be measured in what is left."""
        left = self.left()
        if left < max(LEAST_SECONDS, self.shortest or 0.0):
            return None
        return min(left, max(left / 2, 2 * max(self.longest, LEAST_SECONDS)))

    def took(self, seconds: float) -> None:
        """A variant was measured in so many seconds."""
        self.shortest = min(seconds, self.shortest or seconds)
        self.longest = max(seconds, self.longest)


def measure(variant: Variant, overrides: Sequence[str], run: Run, limit: float) -> Record:
    """Run one variant: for `resume` twice, with the limit for both together."""
    asked: dict[str, Any] = {"kind": variant.kind, "overrides": [*variant.overrides, *overrides]}
    if variant.kind == "speed":
        return run(asked, variant.flags, limit)
    with tempfile.TemporaryDirectory() as folder:
        asked["saved"] = str(Path(folder) / "state.npz")
        whole = run(asked, variant.flags, limit)
        if "error" in whole:
            return whole
        resumed = run(asked, variant.flags, limit - whole["seconds"])
    both = {**whole, "resumed": resumed, "seconds": round(whole["seconds"] + resumed["seconds"], 1)}
    if "error" in resumed:
        return {**both, "error": f"resumed: {resumed['error']}"}
    pairs = list(zip(whole["digests"], resumed["digests"], strict=True))
    del both["digests"], resumed["digests"]
    return {**both, "arrays": len(pairs), "different": sum(one != other for one, other in pairs)}


def line(variant: Variant, record: Record) -> str:
    """A row of the table."""
    name = f"{variant.name:<28}"
    if "skipped" in record:
        return f"{name} not started: {record['skipped']}"
    if "error" in record:
        return f"{name} failed after {record['seconds']:.0f} s: {' '.join(record['error'].split())[:200]}"
    if variant.kind == "resume":
        different, arrays = record["different"], record["arrays"]
        same = f"{different} of {arrays} arrays differ" if different else f"all {arrays} arrays have the same bits"
        return f"{name} {same} after a resume in a new process ({record['seconds']:.0f} s)"
    times = record["step_seconds"][WARM_UP:]
    median, tokens, peak = statistics.median(times), record["tokens"], record["peak_flops"]
    mfu = f"{record['flops_per_token'] * tokens / median / peak:.1%}" if peak else "–"
    used, total = record["peak_bytes"], record["memory"].get("total")
    return (
        f"{name} {1e3 * median:>9.1f} {1e3 * min(times):>8.1f} {1e3 * max(times):>8.1f} {tokens / median:>10,.0f} "
        f"{mfu:>6} {size(used) if used else '–':>8} {size(total) if total else '–':>8} "
        f"{record['compile_seconds']:>9.1f} {record['seconds']:>6.1f}"
    )


def run_plan(
    variants: Sequence[Variant], overrides: Sequence[str], run: Run, budget: Budget, save: Callable[[Record], None]
) -> int:
    """Measure in order until the budget ends; returns how many failed."""
    failed = 0
    for variant in variants:
        limit = budget.limit()
        if limit is None:
            record: Record = {"skipped": f"{max(budget.left(), 0):.0f} s of the budget left"}
        else:
            record = measure(variant, overrides, run, limit)
        if "error" in record:
            failed += 1
        elif limit is not None:
            budget.took(record["seconds"])
        save({"variant": variant.name, "overrides": [*variant.overrides, *overrides], "flags": variant.flags, **record})
        print(line(variant, record), flush=True)
    return failed


def unpacked(wheels: Path | None, folder: Path) -> None:
    """Unpack the wheels.

    Raises:
        ValueError: there is none, or one is damaged or for another Python.
    """
    if wheels is None:
        return
    files = sorted(wheels.glob("*.whl"))
    if not files:
        raise ValueError(f"{wheels} has no wheels; `benchmarks/gpu.sh --pack DIR` collects them")
    here = f"cp{sys.version_info.major}{sys.version_info.minor}"
    for file in files:
        # NAME-VERSION-PYTHON-ABI-PLATFORM.whl; what is built for one Python only names it twice.
        *_, abi, _ = file.stem.split("-")
        if abi.startswith("cp") and abi != here:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise ValueError(f"{file.name} is not for Python {version}; pack again with `--python-version {version}`")
        try:
            with zipfile.ZipFile(file) as archive:
                archive.extractall(folder)
        except zipfile.BadZipFile as error:
            raise ValueError(f"{file} is damaged: {error}") from error


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/gpu.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budget", type=seconds, default=600.0, metavar="SECONDS", help="default: 600")
    packed = ROOT / "wheels"
    parser.add_argument(
        "--wheels", type=Path, default=packed if packed.is_dir() else None, metavar="DIR",
        help="unpack these wheels and prefer them to what is installed; default: `wheels` beside the code",
    )  # fmt: skip
    parser.add_argument("--results", type=Path, default=Path("gpu-step.jsonl"), metavar="FILE", help="is appended to")
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="variants whose names have it")
    parser.add_argument(
        "-o", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="for all variants"
    )
    parser.add_argument("--rehearse", action="store_true", help="tiny shapes on the CPU")
    asked = parser.parse_args(given)
    if not chosen(asked.only):
        parser.error(f"no variant has {' or '.join(asked.only)} in its name: {'; '.join(one.name for one in PLAN)}")
    return asked


def seconds(text: str) -> float:
    """A positive number.

    Raises:
        ValueError: it is not.
    """
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError(text)
    return number


def describe(found: Record, asked: argparse.Namespace) -> None:
    """Print what the figures are of."""
    what = "a rehearsal with tiny shapes, whose figures mean nothing" if asked.rehearse else "the 200M preset"
    print(
        f"{found['device']}, jax {found['jax']}, jaxlib {found['jaxlib']}, Python {found['python']}: {what}; "
        f"{duration(asked.budget)} for all"
    )
    print(HEAD, flush=True)


def stop(number: int, frame: object) -> NoReturn:
    """End on a signal, and end the child on the way."""
    sys.exit(128 + number)


def main() -> int:
    """Measure; the exit code is 1 if a variant failed or none was measured, 4 if none can run here."""
    asked = arguments()
    budget = Budget(asked.budget)
    signal.signal(signal.SIGTERM, stop)

    def save(record: Record) -> None:
        try:
            with asked.results.open("a") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            # The lines on the terminal are worth going on for.
            print(f"error: {asked.results} lacks a result: {error}", file=sys.stderr)

    with tempfile.TemporaryDirectory() as folder:
        packages = Path(folder)
        try:
            asked.results.open("a").close()
            unpacked(asked.wheels, packages)
        except (OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 4
        run = Child(packages, "cpu" if asked.rehearse else "gpu")
        found = run({"kind": "machine", "overrides": []}, "", budget.left())
        save(found)
        if "error" in found:
            print(f"error: the benchmark cannot start: {found['error']}\n{found['stderr']}", file=sys.stderr)
            return 4
        describe(found, asked)
        overrides = [*(TINY if asked.rehearse else ()), *asked.overrides]
        failed = run_plan(chosen(asked.only), overrides, run, budget, save)
        return int(failed > 0 or budget.shortest is None)


if __name__ == "__main__":
    sys.exit(main())
