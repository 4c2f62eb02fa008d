"""A real engine in a child process, and what its run directory says."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml

from chomp.record.event_log import EventReader, read_events
from chomp.record.events import Checkpoint, Event, Phase, Step
from chomp.record.manifest import list_checkpoints
from tests.forks import Forked, ForkServer

E = TypeVar("E", bound=Event)
TINY_MODEL = {
    "backend": "megalodon",
    "model_dim": 32,
    "num_layers": 1,
    "num_heads": 1,
    "z_dim": 16,
    "value_dim": 32,
    "ffn_hidden_dim": 32,
    "cema_ndim": 4,
    "chunk_size": 32,
    "norm_num_groups": 4,
    "compute_dtype": "float32",
}
WORDS = [
    "def", "class", "return", "import", "for", "while", "in", "if", "else", "try", "except", "with", "as", "lambda",
    "yield", "pass", "self", "none", "true", "false", "print", "range",
]  # fmt: skip


def write_corpus(folder: Path, *, documents: int = 60, seed: int = 0) -> Path:
    """Text files of very different lengths, so that packers always hold unfinished documents."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    for number in range(documents):
        words = [rng.choice(WORDS) for _ in range(rng.choice([3, 8, 20, 60, 150]))]
        (folder / f"{number:03d}.txt").write_text(" ".join(words) + "\n")
    return folder


def tiny_config(corpus: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    """A configuration that trains a model of 30,000 parameters on `corpus`; keyword sections are merged into it."""
    config: dict[str, dict[str, Any]] = {
        "model": dict(TINY_MODEL),
        "data": {"backend": "files", "files": [str(corpus / "*.txt")], "max_eval_samples": 3},
        "train": {"steps": 40, "batch_size": 4, "seq_len": 64, "grad_accum": 2, "allow_cpu": True, "log_every": 1},
        "optim": {"name": "adamw", "lr": 3e-3, "warmup_steps": 5},
        "checkpoint": {"save_every": 10, "save_every_seconds": 0},
    }
    for name, values in sections.items():
        config.setdefault(name, {}).update(values)
    return config


def dummy_config(corpus: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    """A configuration whose model compiles in a second; keyword sections are merged into it."""
    config: dict[str, dict[str, Any]] = {
        "model": {"backend": "dummy", "model_dim": 16},
        "data": {"backend": "files", "files": [str(corpus / "*.txt")], "max_eval_samples": 3},
        "train": {"steps": 20, "batch_size": 2, "seq_len": 32, "allow_cpu": True, "log_every": 1},
        "optim": {"name": "adamw", "lr": 3e-3, "warmup_steps": 2},
        "checkpoint": {"save_every": 5, "save_every_seconds": 0, "max_to_keep": 3},
    }
    for name, values in sections.items():
        config.setdefault(name, {}).update(values)
    return config


def slow_dummy_config(corpus: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    """Like `dummy_config`, with steps that are slow enough to be killed between."""
    return dummy_config(corpus, **{"model": {"model_dim": 96}, **sections})


def write_config(path: Path, config: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(config))
    return path


def optimized() -> dict[str, str]:
    """The environment of a child that compiles as users' processes do, and not quickly, as `tests/conftest.py` says."""
    return {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}


def command(*args: object, module: str = "chomp") -> list[str]:
    return [sys.executable, "-m", module, *map(str, args)]


_servers: dict[frozenset[tuple[str, str]], ForkServer] = {}
# Variables that pytest, and JAX when it is imported, set for themselves.
_THEIR_OWN = ("PYTEST_", "TF_CPP_", "TPU_")
# Libraries read the environment when they are imported; it changes only in these.
_IMPORTED = dict(os.environ)


def _server(env: Mapping[str, str]) -> ForkServer | None:
    """A fork server that imported the engine with `env`; None where a process of another environment is wanted."""
    settings, usual = (
        {name: value for name, value in given.items() if not name.startswith(_THEIR_OWN)} for given in (env, _IMPORTED)
    )
    if settings not in (usual, {**usual, "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}):
        return None
    key = frozenset(settings.items())
    if key not in _servers:
        _servers[key] = ForkServer(settings)
    return _servers[key]


def write_forking_command(path: Path) -> None:
    """Write a program for shells that does what `chomp` does, forked from a process that has imported the engine."""
    server = _server(os.environ)
    assert server is not None, "the environment has changed since the tests began"
    server.write_command(path)


def close_servers() -> None:
    while _servers:
        _servers.popitem()[1].close()


def start(
    module: str,
    args: Sequence[object],
    *,
    stdout: int,
    stderr: int,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    cold: bool = False,
) -> subprocess.Popen[bytes] | Forked:
    """Start `python -m MODULE ARGS`: forked from a process that has imported the engine, or `cold`, as users start it.

    A process with an environment of its own is always a cold one, for libraries read theirs when they are imported.
    """
    env = os.environ if env is None else env
    server = None if cold else _server(env)
    with Path(os.devnull).open("rb") as nothing:
        if server is None:
            return subprocess.Popen(
                command(*args, module=module), stdin=nothing, stdout=stdout, stderr=stderr, env=env, cwd=cwd
            )
        streams = (nothing.fileno(), stdout, stderr)
        return server.start(module, [str(arg) for arg in args], env=env, cwd=cwd or Path.cwd(), streams=streams)


def run(*args: object, timeout: float = 240, module: str = "chomp", **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `chomp ARGS`, or another module's command line, to its end; `options` are those of `start`."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = start(module, args, stdout=out.fileno(), stderr=err.fileno(), **options)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
            raise
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(io.TextIOWrapper(file).read())
    return subprocess.CompletedProcess(command(*args, module=module), code, *texts)


Instant = Callable[[Event], bool]


def at_step(number: int) -> Instant:
    return lambda event: isinstance(event, Step) and event.row["step"] >= number


def at_phase(name: str, step: int = 0) -> Instant:
    return lambda event: isinstance(event, Phase) and event.name == name and event.step >= step


def while_saving(number: int) -> Instant:
    return lambda event: isinstance(event, Checkpoint) and event.state == "saving" and event.step >= number


def wait_until(happened: Callable[[], object], timeout: float = 60) -> None:
    """Wait until `happened` returns something true."""
    deadline = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < deadline, f"it did not happen in {timeout} s"
        time.sleep(0.005)


class Engine:
    """`chomp ARGS` as a child process that can be watched and struck.

    Events and rows that were in the run directory before this process started are not seen. A row that is seen in one
    look with events comes after them.
    """

    def __init__(self, run_dir: Path, *args: object, module: str = "chomp", **options: Any):
        events = run_dir / "events.jsonl"
        self._reader = EventReader(events, offset=events.stat().st_size if events.exists() else 0)
        self._metrics = run_dir / "metrics.jsonl"
        self._last_row = (time.time(), 0)
        self.seen: list[Event] = []
        self._waiting: list[Event] = []
        self.output = run_dir.parent / f"{run_dir.name}.{time.monotonic_ns()}.out"
        with self.output.open("wb") as out:
            streams = {"stdout": out.fileno(), "stderr": out.fileno(), **options}
            self.process = start(module, args, **streams)

    def wait_for(self, wanted: Callable[[Event], bool], timeout: float = 180) -> Event | None:
        """The first new event that is wanted, or None if the process ended without it."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            ended = self.process.poll() is not None
            self._waiting += [*self._reader.read(), *self._new_rows()]
            while self._waiting:
                event = self._waiting.pop(0)
                self.seen.append(event)
                if wanted(event):
                    return event
            if ended:
                return None
            time.sleep(0.002)
        raise AssertionError(f"nothing happened in {timeout} s; the engine said:\n{self.output.read_text()[-2000:]}")

    def _new_rows(self) -> list[Step]:
        """The rows that were written since the last look; a resume or a rollback may have cut the file meanwhile."""
        whole = self._metrics.read_bytes() if self._metrics.exists() else b""
        rows = [json.loads(line) for line in whole[: whole.rfind(b"\n") + 1].splitlines()]
        new = [Step(row=row, t=row["t"]) for row in rows if (row.get("t", 0.0), row["step"]) > self._last_row]
        self._last_row = max(((step.t, step.row["step"]) for step in new), default=self._last_row)
        return new

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def finish(self, timeout: float = 180) -> int:
        return self.process.wait(timeout)

    def text(self) -> str:
        return self.output.read_text()


def rows(run_dir: Path) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl`."""
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


EXACT = (
    "step", "loss", "grad_norm", "lr", "lr_muon", "tokens_seen", "packing_utilization", "eval_loss", "eval_bpb",
    "eval_ema_loss", "eval_ema_bpb",
)  # fmt: skip


def exact_rows(run_dir: Path) -> list[dict[str, Any]]:
    """Rows without what depends on the clock: everything a resumed run must repeat bit for bit."""
    return [{key: row[key] for key in row if key in EXACT or "/" in key} for row in rows(run_dir)]


def saved_arrays(run_dir: Path, step: int) -> dict[str, np.ndarray]:
    """All arrays of a checkpoint by item and name."""
    from orbax.checkpoint import v1 as ocp

    from chomp.checkpoint.items import EXTRAS
    from chomp.checkpoint.reading import HostArray

    info = next(info for info in list_checkpoints(run_dir / "checkpoints") if info.step == step)
    items = ("params", "opt", "state", *(name for name in EXTRAS if (info.path / name).is_dir()))
    metadata: Any = ocp.checkpointables_metadata(info.path).metadata
    # By shape and dtype alone: the devices that wrote them need not be here.
    wanted = {
        item: {name: HostArray(array.shape, array.dtype) for name, array in metadata[item].items()} for item in items
    }
    read = ocp.load_checkpointables(info.path, wanted)
    return {f"{item}/{name}": np.asarray(array) for item in items for name, array in read[item].items()}


def saved_position(run_dir: Path, step: int) -> dict[str, Any]:
    """The data iterator's state in a checkpoint."""
    return json.loads((run_dir / "checkpoints" / str(step) / "data" / "position.json").read_text())


def assert_same_run(one: Path, other: Path, step: int) -> None:
    """Every row, the data position and every array of two runs agree bit for bit."""
    assert exact_rows(one) == exact_rows(other)
    assert saved_position(one, step) == saved_position(other, step)
    left, right = saved_arrays(one, step), saved_arrays(other, step)
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype, name
        assert left[name].tobytes() == right[name].tobytes(), name


def steps_of(run_dir: Path) -> list[Step]:
    """The rows of `metrics.jsonl` as events."""
    return [Step(row=row, t=row["t"]) for row in rows(run_dir)]


def events_of(run_dir: Path, kind: type[E]) -> list[E]:
    return [event for event in read_events(run_dir / "events.jsonl") if isinstance(event, kind)]
