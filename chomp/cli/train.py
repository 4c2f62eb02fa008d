"""`chomp train`."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chomp.cli.habits import TrainCommand, accepts_trainer_options, meant_overrides
from chomp.cli.notes import checked_change, notes_options
from chomp.cli.options import PATH, PATH_TEXT, devices_option
from chomp.errors import ChompError, ConfigError, RunDirError

# How long a process whose configuration is wrong waits for the others, to tell them.
TELL_SECONDS = 20

if TYPE_CHECKING:
    from chomp.config import LoadedConfig
    from chomp.parallel.launch import Launch


@click.command("train", cls=TrainCommand)
@click.argument("config", required=False, type=PATH)
@click.option("--config", "config_option", type=PATH, help="The same as CONFIG.")
@click.option(
    "-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="Set one value, e.g. -o optim.lr=3e-4."
)
@click.option("--run-dir", type=PATH, help="Run directory; default runs/CONFIG-DATE-TIME.")
@click.option(
    "--resume",
    type=PATH_TEXT,
    default="none",
    show_default=True,
    metavar="none|latest|STEP|PATH",
    help="Continue the run in --run-dir, or the run or checkpoint at PATH.",
)
@click.option(
    "--accept", multiple=True, metavar="KEY", help="Resume although this setting differs from the checkpoint's."
)
@devices_option
@notes_options
@click.option("--coordinator", metavar="HOST:PORT", help="Several processes by hand: where process 0 listens.")
@click.option("--processes", type=click.IntRange(min=1), metavar="N", help="How many processes the run has.")
@click.option("--process", type=click.IntRange(min=0), metavar="I", help="Which of them this is, from 0.")
@click.option("--dry-run", is_flag=True, help="Build everything, compile, train one step, write nothing.")
@accepts_trainer_options
def command(
    config: Path | None,
    config_option: Path | None,
    overrides: tuple[str, ...],
    run_dir: Path | None,
    resume: str,
    accept: tuple[str, ...],
    devices: tuple[str, ...],
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    dry_run: bool,
    name: str | None,
    note: str | None,
    tags: tuple[str, ...],
) -> int:
    """Train CONFIG, or resume the run in --run-dir (CONFIG may then be left out).

    Several processes, on one host or many, are started with the same command: docs/scale.md.

    CONFIG is a YAML file, or the name of a preset. Options of other trainers, such as --max-steps or --batch-size, set
    the setting that they name: docs/migration.md lists them.
    """
    from chomp.cli.engine import leave_on_signals, prepare_environment
    from chomp.config.compat import require_known
    from chomp.record.lock import process_age_seconds
    from chomp.record.manifest import parse_resume

    leave_on_signals()
    notes = checked_change(name, note, tags)
    if config is not None and config_option is not None:
        raise ConfigError(f"two configurations given, {config} and {config_option}; pass only one")
    with _telling_others(coordinator, processes, process):
        run_dir, resume = _named_run(run_dir, resume)
        loaded = _load(config or config_option, (*overrides, *meant_overrides()), run_dir, resume)
        if dry_run and resume != "none":
            raise ConfigError("--dry-run starts from step 0; remove --resume")
        if loaded.config.checkpoint.on_signal == "stop":
            leave_on_signals(notices=True)
        chosen_resume = parse_resume(resume)
        require_known(accept)
        prepare_environment(strict_determinism=loaded.config.train.strict_determinism, devices=devices)

    from chomp.parallel.world import join
    from chomp.train.loop import run_training
    from chomp.train.request import RunRequest

    return run_training(
        RunRequest(
            loaded=loaded,
            run_dir=run_dir,
            resume=chosen_resume,
            accept=accept,
            devices=devices,
            dry_run=dry_run,
            notes=notes,
            began=time.monotonic() - process_age_seconds(),
            world=join(_launch(coordinator, processes, process), loaded.config.parallel.lost_after_seconds),
        )
    )


def _load(path: Path | None, overrides: tuple[str, ...], run_dir: Path | None, resume: str) -> LoadedConfig:
    """The configuration that is given, or that of the run."""
    from chomp.cli.loading import load_for_training

    resuming = resume != "none"
    loaded = load_for_training(path, overrides, run_dir if resuming else None, resuming=resuming)
    if path is not None and resume != "none":
        loaded = _with_preset_of_run(loaded, path, run_dir)
    if loaded.config.train.epochs is not None and resume == "none" and loaded.origins["train.steps"] != "default":
        click.echo("note: train.epochs determines train.steps; the written one is not used", err=True)
    return loaded


def _launch(coordinator: str | None, processes: int | None, process: int | None) -> Launch:
    from chomp.device import probe_gpus
    from chomp.device.environment import visible_gpus
    from chomp.parallel.launch import find_launch

    return find_launch(coordinator, processes, process, os.environ, lambda: len(visible_gpus(probe_gpus(), os.environ)))


@contextlib.contextmanager
def _telling_others(coordinator: str | None, processes: int | None, process: int | None) -> Iterator[None]:
    """Tell the other processes of a run what ends this one before it has joined them: they would wait for it."""
    try:
        yield
    except ChompError as error:
        with contextlib.suppress(ChompError):
            launch = _launch(coordinator, processes, process)
            if launch.count > 1:
                _tell_others(launch, error)
        raise


def _tell_others(launch: Launch, error: ChompError) -> None:
    from chomp.cli.engine import prepare_environment

    prepare_environment()

    from chomp.parallel.world import join

    world = join(launch, TELL_SECONDS, within=TELL_SECONDS)
    world.fails_with_all({"sentence": str(error), "exit_code": error.exit_code, "step": 0, "settled": False})
    world.leave()


def _named_run(run_dir: Path | None, resume: str) -> tuple[Path | None, str]:
    """The run directory and where to resume: the path of a run or checkpoint in `--resume` names both."""
    from chomp.record.rundir import open_run_around

    path = Path(resume).expanduser()
    if resume in ("none", "latest") or resume.isdecimal():
        return run_dir, resume
    if not path.exists():
        if "/" not in resume:
            return run_dir, resume
        raise ConfigError(f"--resume {resume}: there is no run or checkpoint; pass latest, a step number, or its path")
    run = open_run_around(path).path
    if run_dir is not None and run_dir.expanduser().resolve() != run.resolve():
        raise ConfigError(f"--resume {resume} is of the run {run}, and --run-dir is {run_dir}; leave --run-dir out")
    return run, "latest" if run == path else path.name


def _with_preset_of_run(loaded: LoadedConfig, path: Path, run_dir: Path | None) -> LoadedConfig:
    """A configuration to resume with, whose preset has the values with which the run was started.

    A version of chomp may bring other values under the same name.
    """
    from chomp.config import flatten, load_config, settings
    from chomp.record.rundir import RunDir

    folder = run_dir or loaded.config.logging.run_dir
    if loaded.config.model.preset is None or folder is None:
        return loaded
    try:
        saved = flatten(RunDir(Path(folder).expanduser()).load_resolved())
    except RunDirError:
        # The given configuration replaces one that is missing or damaged.
        return loaded
    if saved.get("model.preset") != loaded.config.model.preset:
        return loaded
    now = flatten(loaded.config)
    brought = [name for name, origin in loaded.origins.items() if origin == "preset"]
    before = {name: saved.get(name, settings()[name].default) for name in brought}
    differing = [name for name, value in before.items() if value != now[name]]
    if not differing:
        return loaded
    said = f"note: preset {saved['model.preset']} has changed, and the run keeps its own {', '.join(differing)}"
    click.echo(said, err=True)
    words = (f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in before.items())
    return load_config(path, (*words, *loaded.overrides))
