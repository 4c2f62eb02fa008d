"""A run killed with SIGKILL at any instant and resumed is the run that was never stopped, bit for bit.

The cheap model is compiled as users' runs are. The others, which take five times as long that way, are so in the soak.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from chomp.config.data import DataConfig, TokenizerConfig
from chomp.data.sources.files import FilesSource
from chomp.data.tokenize_corpus import CorpusPlan, prepare
from chomp.record.events import Checkpoint, RunStarted
from tests.engine import (
    Engine,
    Instant,
    assert_same_run,
    at_phase,
    at_step,
    events_of,
    optimized,
    rows,
    run,
    slow_dummy_config,
    tiny_config,
    while_saving,
    write_config,
    write_corpus,
)
from tests.references import References, Train

pytestmark = pytest.mark.process

STEPS = 90
EVAL_EVERY, SAMPLE_EVERY, SAVE_EVERY = 25, 35, 20

SEQUENTIAL: dict[str, Any] = {"packing_mode": "sequential"}
BIN: dict[str, Any] = {"packing_mode": "bin", "packing_buffer_docs": 7}
ADAMW: dict[str, Any] = {"name": "adamw"}
MUON: dict[str, Any] = {"name": "muon", "muon": {"lr_scale": 10.0}}
LION: dict[str, Any] = {"name": "lion"}
MUON_LION: dict[str, Any] = {"name": "muon", "muon": {"lr_scale": 10.0, "rest": "lion"}}

at_data, at_compile = at_phase("data"), at_phase("compile")


def llama(corpus: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    return tiny_config(corpus, **{**sections, "model": {"backend": "llama", "num_heads": 4, "num_kv_heads": 2}})


MEGALODON_S: list[Instant] = [at_compile, while_saving(20)]
DUMMY_S: list[Instant] = [at_data, at_step(47), at_phase("eval", 50), at_phase("sample", 70)]

# Model, data, optimizer, and where the run is killed: at each instant in turn, always resumed in between. A start of
# the Megalodon takes longest: it has one text and Muon, which is AdamW for what is no matrix.
PAIRS: dict[str, tuple[Callable[..., dict[str, Any]], dict[str, Any], dict[str, Any], list[Instant]]] = {
    "bin-muon": (tiny_config, BIN, MUON, MEGALODON_S),
    "sequential-adamw": (slow_dummy_config, SEQUENTIAL, ADAMW, DUMMY_S),
    "bin-muon-lion-llama": (llama, BIN, MUON_LION, [at_step(33)]),
}
# Steps that are compiled quickly are slow.
NARROW = ("-o", "train.batch_size=4", "-o", "train.seq_len=64")
SLOWLY_COMPILED = ("bin-muon", "bin-muon-lion-llama")
STREAM: dict[str, Any] = {"backend": "hf", "hf_dataset": "stream", "hf_streaming": True, "shuffle_buffer_size": 16}
TOKENS: dict[str, Any] = {"backend": "tokens", "tokens_path": "tokens"}
# The stage begins before the first kill, and one source ends between the two.
MIXTURE: dict[str, Any] = {
    "mixture": {
        "sources": {
            "stream": {"backend": "hf", "hf_dataset": "stream", "weight": 0.7, "max_epochs": 20},
            "ids": {**TOKENS, "weight": 0.3, "max_epochs": 2},
        },
        "stages": {"late": {"from_tokens": 60_000, "weights": {"stream": 0.2, "ids": 0.8}}},
        "exhausted": "renormalise",
    }
}
# Settings that name what lies in the folder of the runs.
NAMED = ("hf_dataset", "tokens_path")
VARIANTS = {
    **PAIRS,
    "stream": (slow_dummy_config, BIN | STREAM, ADAMW, [at_step(47), at_data]),
    "mixture": (slow_dummy_config, SEQUENTIAL | MIXTURE, LION, [at_step(33), while_saving(60)]),
}


@pytest.fixture
def configs(references: References) -> Path:
    """The folder with the configurations of all variants."""
    return references.folder("exact", write_configs)


def write_configs(folder: Path) -> None:
    corpus = write_corpus(folder / "corpus")
    write_stream(folder / "stream", corpus)
    source = FilesSource(DataConfig(backend="files", files=[str(corpus / "*.txt")]))
    prepare(CorpusPlan(folder / "tokens", source, TokenizerConfig()))
    for name, (build, data, optim, _) in VARIANTS.items():
        data = placed(data, folder)
        config = build(
            corpus,
            data={**data, "shuffle": True},
            optim=optim,
            train={
                "steps": STEPS,
                "batch_size": 8,
                "seq_len": 128,
                "grad_accum": 2,
                "eval_every": EVAL_EVERY,
                "generate_every": SAMPLE_EVERY,
                "generate_prompts": ["def "],
                "generate_max_tokens": 16,
            },
            checkpoint={"save_every": SAVE_EVERY, "max_to_keep": 3},
        )
        if "mixture" in data:
            del config["data"]["backend"], config["data"]["files"]
        write_config(folder / f"{name}.yaml", config)


def placed(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Settings with names of what lies in a folder."""
    return {
        key: placed(value, folder) if isinstance(value, dict) else str(folder / value) if key in NAMED else value
        for key, value in data.items()
    }


def write_stream(folder: Path, corpus: Path) -> None:
    """The documents of `corpus` as a dataset folder in the hub's layout."""
    folder.mkdir()
    lines = [json.dumps({"text": path.read_text()}) for path in sorted(corpus.iterdir())]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")


def cold(*args: object) -> subprocess.CompletedProcess[str]:
    """The runs compared with these are forked: string hashes differ between the two, and nothing else may."""
    return run(*args, env=optimized(), cold=True)


def cold_and_quick(*args: object) -> subprocess.CompletedProcess[str]:
    """The same, compiled as forks compile that are not `optimized`."""
    return run(*args, module="tests.compiling", cold=True)


class Runs(NamedTuple):
    """Runs of the variants, all compiled alike.

    Attributes:
        configs: the folder with their configurations.
        uninterrupted: from a variant's name to its run that nothing interrupted.
        env: of the engines that are killed.
        options: of every `chomp train`.
    """

    configs: Path
    uninterrupted: Callable[[str], Path]
    env: dict[str, str]
    options: tuple[str, ...]


def runs(configs: Path, references: References, train: Train, env: dict[str, str], *options: str) -> Runs:
    def uninterrupted(name: str) -> Path:
        return references.run(train, yaml.safe_load((configs / f"{name}.yaml").read_text()), *options)

    return Runs(configs, uninterrupted, env, options)


@pytest.fixture
def as_users_compile(configs: Path, references: References) -> Runs:
    return runs(configs, references, cold, optimized())


@pytest.fixture
def compiled_quickly(configs: Path, references: References) -> Runs:
    return runs(configs, references, cold_and_quick, dict(os.environ), *NARROW)


def kill_at(runs: Runs, name: str, run_dir: Path, instant: Instant, delay_seconds: float, *, fresh: bool) -> bool:
    """Start or resume, kill at the instant; False if the run was over before."""
    resume = runs.options if fresh else (*runs.options, "--resume", "latest")
    engine = Engine(run_dir, "train", runs.configs / f"{name}.yaml", "--run-dir", run_dir, *resume, env=runs.env)
    event = engine.wait_for(instant)
    if event is None:
        assert engine.finish() == 0, engine.text()
        return False
    time.sleep(delay_seconds)
    engine.signal(signal.SIGKILL)
    return engine.finish() == -signal.SIGKILL


def finish_and_compare(runs: Runs, name: str, run_dir: Path) -> None:
    done = run(
        "train", runs.configs / f"{name}.yaml", "--run-dir", run_dir, "--resume", "latest", *runs.options, env=runs.env
    )
    assert done.returncode == 0, done.stderr + done.stdout
    reference = runs.uninterrupted(name)
    assert_same_run(reference, run_dir, STEPS)
    assert [row["step"] for row in rows(run_dir)] == list(range(1, STEPS + 1))
    assert (run_dir / "samples.jsonl").read_bytes() == (reference / "samples.jsonl").read_bytes()


def kill_resume_and_compare(runs: Runs, name: str, run_dir: Path) -> None:
    """Kill the run at each instant of its variant."""
    runs.uninterrupted(name)
    *_, instants = VARIANTS[name]
    killed = [kill_at(runs, name, run_dir, instant, 0.0, fresh=number == 0) for number, instant in enumerate(instants)]
    assert all(killed), f"the run ended before it could be killed: {killed}"
    began = len(events_of(run_dir, RunStarted))
    assert began == len(instants) - instants.count(at_data), "an attempt outlived the opening of its data"
    finish_and_compare(runs, name, run_dir)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in SLOWLY_COMPILED])
def test_killed_and_resumed_again_and_again(name: str, as_users_compile: Runs, tmp_path: Path) -> None:
    kill_resume_and_compare(as_users_compile, name, tmp_path / "killed")


@pytest.mark.parametrize(
    "name", [SLOWLY_COMPILED[0], *(pytest.param(name, marks=pytest.mark.soak) for name in SLOWLY_COMPILED[1:])]
)
def test_larger_models_killed_and_resumed_again_and_again(name: str, compiled_quickly: Runs, tmp_path: Path) -> None:
    kill_resume_and_compare(compiled_quickly, name, tmp_path / "killed")


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_fifty_kills_at_random_instants(seed: int, as_users_compile: Runs, tmp_path: Path) -> None:
    """Ten runs, each killed at least five times at instants drawn at random."""
    rng = random.Random(seed)
    name = list(PAIRS)[seed % len(PAIRS)]
    as_users_compile.uninterrupted(name)
    run_dir = tmp_path / "killed"
    kills, fresh = 0, True
    while kills < 5:
        reached = max((row["step"] for row in rows(run_dir)), default=0) if (run_dir / "metrics.jsonl").exists() else 0
        ahead = min(STEPS - 30, reached + rng.randrange(1, 20))
        instants = [at_data, at_compile, at_step(ahead), at_step(ahead)]
        # Near the end the next of these is the last: the run could be over before the blow.
        if reached <= STEPS - 30:
            instants += [
                at_phase("eval", ahead // EVAL_EVERY * EVAL_EVERY),
                at_phase("sample", ahead // SAMPLE_EVERY * SAMPLE_EVERY),
                while_saving(ahead // SAVE_EVERY * SAVE_EVERY),
            ]
        instant = rng.choice(instants)
        assert kill_at(as_users_compile, name, run_dir, instant, rng.random() * 0.02, fresh=fresh), (
            "the run ended before its kills were done"
        )
        kills, fresh = kills + 1, False
    finish_and_compare(as_users_compile, name, run_dir)
    print(f"seed {seed}: {name}, {kills} kills, {len(events_of(run_dir, Checkpoint))} checkpoint events")
