"""What is fuzzed: for each kind of input, intact files and what chomp does with them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from unittest import mock

import click
import jax
import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from chomp.checkpoint.reading import load, with_sharding
from chomp.checkpoint.restore import choose
from chomp.checkpoint.retention import Retention
from chomp.checkpoint.store import CheckpointStore
from chomp.cli.engine import prepare_environment
from chomp.cli.loading import load_from_run
from chomp.cli.main import COMMANDS, cli
from chomp.config.data import DataConfig, TokenizerConfig
from chomp.config.derive import derive
from chomp.config.load import parse_config
from chomp.data.pipeline import build_data
from chomp.data.sources.files import FilesSource
from chomp.data.tokenize_corpus import CorpusPlan, prepare
from chomp.data.tokenizers import build_tokenizer
from chomp.errors import CheckpointError
from chomp.generate.request import Request
from chomp.generate.sampling import SamplingOptions
from chomp.record.manifest import list_checkpoints, newest_good, seal
from tests.device.fake_nvml import probe_of
from tests.fakeruns import make_checkpoint, make_run
from tests.fuzz.damage import JUNK, damage
from tests.fuzz.fuzzing import Ended, Kind, by_command, by_function
from tests.fuzz.writers import TEXTS, WRITERS

ROOT = Path(__file__).parents[2]
SMALL = ("train.batch_size=2", "train.seq_len=16", "data.prefetch=0", "data.max_retries=0", "data.repeat=false")


def read_text(*overrides: str) -> None:
    """What a dry run does with text: open it, hold some of it out, make batches."""
    config = parse_config("{}", source="test", overrides=(*SMALL, *overrides)).config
    data = build_data(config, derive(config), build_tokenizer(config.data.tokenizer))
    try:
        for _ in islice(data.train_iterator(), 20):
            pass
        for _ in islice(data.eval_batches(), 4):
            pass
    finally:
        data.close()


# Data files ----------------------------------------------------------------------------------


def use_files(folder: Path, random: Random) -> Ended:
    bad = random.choice(("fail", "replace"))
    return by_function(lambda: read_text("data.backend=files", f"data.files=['{folder}/*']", f"data.on_bad_text={bad}"))


def write_files(suffix: str, folder: Path) -> None:
    for part in range(2):
        WRITERS[suffix](folder / f"{part}{suffix}", TEXTS[part * 5 : part * 5 + 5])


# Token files ---------------------------------------------------------------------------------


def write_tokens(folder: Path) -> None:
    texts = folder.parent / "texts.txt"
    texts.mkdir()
    for number, text in enumerate(TEXTS):
        (texts / f"{number}.txt").write_text(text, "utf-8")
    source = FilesSource(DataConfig(backend="files", files=[f"{texts}/*.txt"]))
    prepare(CorpusPlan(folder / "p", source, TokenizerConfig(kind="byte"), None, 2), lambda progress: None)
    shutil.rmtree(texts)


def use_tokens(folder: Path, random: Random) -> Ended:
    path = folder / "p" / random.choice(("", "", "train.bin"))
    return by_function(lambda: read_text("data.backend=tokens", f"data.tokens_path={path}"))


# Tokenizers ----------------------------------------------------------------------------------


def write_tokenizer(folder: Path) -> None:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "model_max_length": 64})
    )


def use_tokenizer(kind: str, folder: Path, random: Random) -> Ended:
    named = {"kind": "file", "path": str(folder / "tokenizer.json")}
    config = TokenizerConfig(**(named if kind == "file" else {"kind": "hf", "hf_name_or_path": str(folder)}))

    def work() -> None:
        tokenizer = build_tokenizer(config)
        for text in TEXTS:
            tokenizer.decode(tokenizer.encode_document(text))
        tokenizer.digest()

    return by_function(work)


# Configurations ------------------------------------------------------------------------------


def write_configs(folder: Path) -> None:
    for name in ("quickstart.yaml", "debug_smoke.yaml"):
        shutil.copy(ROOT / "configs" / name, folder / name)


def use_config(folder: Path, random: Random) -> Ended:
    path = folder / random.choice(("quickstart.yaml", "debug_smoke.yaml"))
    return by_command("config", random.choice(("check", "check", "show")), path)


# Run directories -----------------------------------------------------------------------------


def write_run(folder: Path) -> None:
    run = make_run(folder / "runs" / "one", steps=30)
    for step in (10, 20):
        make_checkpoint(run, step, tags=("best",) if step == 10 else ())
    rows = [{"step": step, "prompt": "a", "text": "b", "tokens": 1} for step in (10, 20)]
    run.samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run.lock.write_text(json.dumps({"pid": 1, "host": "elsewhere", "started": 1.0}))
    run.log.write_text("2026-01-01 INFO chomp: started\n")
    make_run(folder / "runs" / "two", steps=3)


def use_run(folder: Path, random: Random) -> Ended:
    runs, one = folder / "runs", folder / "runs" / "one"
    return random.choice(
        (
            lambda: by_command("runs", runs),
            lambda: by_command("runs", runs, "--json"),
            lambda: by_command("checkpoints", one, "--verify", "--samples"),
            lambda: by_command("checkpoints", one, "--json"),
            lambda: by_command("ctl", one, "pause", "--timeout", 0),
            lambda: by_command(
                "report", one, "--output", folder.with_name("report.html"), "--csv", folder.with_name("rows.csv")
            ),
            lambda: by_command("report", one, runs / "two", "--output", folder.with_name("report.html"), "--x", "time"),
            lambda: by_command("watch", one),
            lambda: by_function(lambda: load_from_run(one)),
            lambda: by_function(lambda: newest_good(list_checkpoints(one / "checkpoints"))),
        )
    )()


# Checkpoints ---------------------------------------------------------------------------------

ARRAYS = {
    "params": {"w": np.arange(600, dtype=np.float32), "b": np.ones(3, np.float32)},
    "opt": {"count": np.ones(1, np.int32)},
}


def checkpoints(folder: Path) -> CheckpointStore:
    return CheckpointStore(folder / "checkpoints", retention=Retention(max_to_keep=2), on_event=lambda event: None)


def write_checkpoint(folder: Path) -> None:
    store = checkpoints(folder)
    store.prepare()
    store.save(5, ARRAYS, {"documents": 3}, {"step": 5}, wait=True)
    assert store.take_failure() is None


def seal_again(folder: Path, random: Random) -> None:
    """Half of the time the manifest lists the damage: then Orbax reads it."""
    if random.random() < 0.5:
        with contextlib.suppress(OSError):
            seal(folder / "checkpoints" / "5", {"step": 5})


def use_checkpoint(folder: Path, random: Random) -> Ended:
    def work() -> None:
        sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), ARRAYS)
        info, refused = choose(checkpoints(folder).infos(), "latest")
        if info is None:
            raise CheckpointError(f"no checkpoint: {refused}")
        load(info, with_sharding(like, sharding), verified=True)

    return by_function(work)


# What is typed -------------------------------------------------------------------------------

WORDS = (
    "", " ", "nan", "inf", "-inf", "-1", "0", "1e400", "1e-400", "9" * 30, "9" * 5000, "½", "٣", "\udcff", "x", "\n",
    "-", "/nonexistent/a", "none", "latest",
    "KEY=VALUE", "train.steps=nan", "=", "a" * 5000, "\x1b[2J", "--", "~", "*",
)  # fmt: skip
# They would read Python's library, or list every preset, each of which takes half a second.
HEAVY = {("prepare-data", "stdlib"), ("presets", "names")}


def use_command_line(folder: Path, random: Random) -> Ended:
    name = random.choice(list(COMMANDS))
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    if isinstance(command, click.Group):
        inner = random.choice(sorted(command.commands))
        name, command = f"{name} {inner}", command.commands[inner]
    words = name.split()
    for parameter in command.params:
        if (name, parameter.name) in HEAVY:
            words += ["x"] if isinstance(parameter, click.Argument) else []
        elif isinstance(parameter, click.Argument):
            words.append(random.choice(("/nonexistent/a", random.choice(WORDS))))
        elif random.random() < 0.4:
            values = [random.choice(WORDS) for _ in range(0 if parameter.is_flag else parameter.nargs)]
            words += [parameter.opts[0], *values]
    # A runner would outlive the test, or run in it until a signal comes.
    with (
        mock.patch("chomp.cli.queue.start_runner", return_value=1),
        mock.patch("chomp.cli.sweep.start_runner", return_value=1),
        mock.patch("chomp.cli.queue.run_queue"),
    ):
        return by_command(*words)


def use_request(folder: Path, random: Random) -> Ended:
    """Lines of the protocol of `chomp generate --interactive --json`, damaged as files are."""
    path = folder / "line.json"
    path.write_text(
        json.dumps(
            {"prompt": "a", "max_tokens": 3, "temperature": 0.5, "top_k": 3, "top_p": 0.5, "stop": ["b"], "seed": 1}
        )
    )
    damage([path], random)
    line = path.read_bytes() if path.is_file() else random.choice(JUNK)
    path.unlink(missing_ok=True) if not path.is_dir() else path.rmdir()
    return by_function(partial(_read_request, line.decode("utf-8", "surrogateescape")))


def _read_request(line: str) -> None:
    try:
        Request.defaults(SamplingOptions(9), seed=1).read(line).options  # noqa: B018 - what is read is used
    except ValueError as error:
        raise click.UsageError(str(error)) from None


# Environments --------------------------------------------------------------------------------

VARIABLES = (
    "CHOMP_COMMAND", "COLUMNS", "CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "EQX_ON_ERROR", "HOME", "JAX_ENABLE_X64",
    "JAX_PLATFORMS", "JAX_PLATFORM_NAME", "LINES", "NO_COLOR", "TERM", "TMPDIR", "XDG_CACHE_HOME", "XDG_STATE_HOME",
    "XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_FLAGS",
)  # fmt: skip
GPU = probe_of("rtx5090")
SETTINGS = ("cuda", "cpu", "gpu,cpu", "0,1", "GPU-", "MIG-1", "--xla_a=b", "-1", *WORDS)


def use_environment(folder: Path, random: Random) -> Ended:
    chosen = {name: random.choice(SETTINGS) for name in random.sample(VARIABLES, 4)}
    config = ROOT / "configs" / "debug_smoke.yaml"
    with mock.patch.dict(os.environ, chosen), mock.patch("chomp.cli.probe.probe_gpus", return_value=GPU):
        words = random.choice((("probe",), ("probe", "--json"), ("config", "check", config), ("runs", folder), ()))
        return by_command(*words) if words else by_function(prepare_environment)


def nothing(folder: Path) -> None:
    """Write nothing: the input is drawn."""


KINDS = (
    Kind("configuration", write_configs, use_config, 200),
    *(Kind(f"data file {suffix}", partial(write_files, suffix), use_files, 25) for suffix in WRITERS),
    Kind("token files", write_tokens, use_tokens, 120),
    Kind("tokenizer file", write_tokenizer, partial(use_tokenizer, "file"), 60),
    Kind("tokenizer folder", write_tokenizer, partial(use_tokenizer, "folder"), 30),
    Kind("run directory", write_run, use_run, 150),
    Kind("checkpoint", write_checkpoint, use_checkpoint, 40, settle=seal_again),
    Kind("command line", nothing, use_command_line, 250, damages=False),
    Kind("request", nothing, use_request, 300, damages=False),
    Kind("environment", nothing, use_environment, 60, damages=False),
)
