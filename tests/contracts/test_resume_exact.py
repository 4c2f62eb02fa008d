"""A run killed with SIGKILL at any instant and resumed is the run that was never stopped, bit for bit."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from chomp.events import Checkpoint, Event, Phase, Step
from tests.engine import Engine, assert_same_run, events_of, rows, run, tiny_config, write_config, write_corpus

pytestmark = pytest.mark.slow

STEPS = 120
VARIANTS = {
    "sequential-adamw": ({"packing_mode": "sequential"}, {"name": "adamw"}),
    "bin-muon": ({"packing_mode": "bin", "packing_buffer_docs": 7}, {"name": "muon", "muon": {"lr_scale": 10.0}}),
}

Instant = Callable[[Event], bool]


def at_compile(event: Event) -> bool:
    return isinstance(event, Phase) and event.name == "compile"


def at_step(number: int) -> Instant:
    return lambda event: isinstance(event, Step) and event.row["step"] >= number


def at_eval(number: int) -> Instant:
    return lambda event: isinstance(event, Phase) and event.name == "eval" and event.step >= number


def while_saving(number: int) -> Instant:
    return lambda event: isinstance(event, Checkpoint) and event.state == "saving" and event.step >= number


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exact")
    corpus = write_corpus(folder / "corpus")
    for name, (data, optim) in VARIANTS.items():
        config = tiny_config(
            corpus,
            data={**data, "shuffle": True},
            optim=optim,
            train={"steps": STEPS, "eval_every": 25, "batch_size": 8, "seq_len": 128},
            checkpoint={"save_every": 20, "max_to_keep": 3},
        )
        write_config(folder / f"{name}.yaml", config)
    return folder


@pytest.fixture(scope="module")
def uninterrupted(runs: Path) -> Callable[[str], Path]:
    """The reference run of a variant, trained once."""

    def reference(name: str) -> Path:
        path = runs / f"{name}-reference"
        if not path.exists():
            done = run("train", runs / f"{name}.yaml", "--run-dir", path)
            assert done.returncode == 0, done.stderr
        return path

    return reference


def kill_at(runs: Path, name: str, run_dir: Path, instant: Instant, delay_seconds: float, *, fresh: bool) -> bool:
    """Start or resume, kill at the instant; False if the run was over before."""
    resume = () if fresh else ("--resume", "latest")
    engine = Engine(run_dir, "train", runs / f"{name}.yaml", "--run-dir", run_dir, *resume)
    event = engine.wait_for(instant)
    if event is None:
        assert engine.finish() == 0, engine.text()
        return False
    time.sleep(delay_seconds)
    engine.signal(signal.SIGKILL)
    return engine.finish() == -signal.SIGKILL


def finish(runs: Path, name: str, run_dir: Path) -> None:
    done = run("train", runs / f"{name}.yaml", "--run-dir", run_dir, "--resume", "latest")
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.parametrize("name", VARIANTS)
def test_killed_at_each_phase_and_resumed_twice_in_a_row(
    name: str, runs: Path, uninterrupted: Callable[[str], Path]
) -> None:
    reference = uninterrupted(name)
    run_dir = runs / f"{name}-killed"
    instants = (
        [at_step(33), while_saving(60), at_eval(75)]
        if name == "bin-muon"
        else [at_compile, while_saving(20), at_step(47), at_eval(50)]
    )
    killed = [kill_at(runs, name, run_dir, instant, 0.0, fresh=number == 0) for number, instant in enumerate(instants)]
    assert all(killed), f"the run ended before it could be killed: {killed}"
    finish(runs, name, run_dir)
    assert_same_run(reference, run_dir, STEPS)
    assert [row["step"] for row in rows(run_dir)] == list(range(1, STEPS + 1))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_fifty_kills_at_random_instants(seed: int, runs: Path, uninterrupted: Callable[[str], Path]) -> None:
    """Ten runs, each killed at least five times at instants drawn at random."""
    rng = random.Random(seed)
    name = list(VARIANTS)[seed % 2]
    reference = uninterrupted(name)
    run_dir = runs / f"{name}-random-{seed}"
    kills, fresh = 0, True
    while kills < 5:
        reached = max((row["step"] for row in rows(run_dir)), default=0) if (run_dir / "metrics.jsonl").exists() else 0
        ahead = min(STEPS - 30, reached + rng.randrange(1, 20))
        # Near the end the next evaluation and the next save are the last: the run could be over before the blow.
        late = reached > STEPS - 30
        instant = rng.choice(
            [at_compile, at_step(ahead), at_step(ahead)]
            + ([] if late else [at_eval(ahead // 25 * 25), while_saving(ahead // 20 * 20)])
        )
        assert kill_at(runs, name, run_dir, instant, rng.random() * 0.02, fresh=fresh), (
            "the run ended before its kills were done"
        )
        kills, fresh = kills + 1, False
    finish(runs, name, run_dir)
    assert_same_run(reference, run_dir, STEPS)
    print(f"seed {seed}: {kills} kills, {len(events_of(run_dir, Checkpoint))} checkpoint events")
