"""`chomp train`."""

from __future__ import annotations

from pathlib import Path

import click

from chomp.cli.habits import TrainCommand, accepts_trainer_options, meant_overrides
from chomp.errors import ConfigError


@click.command("train", cls=TrainCommand)
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option("--config", "config_option", type=click.Path(path_type=Path), help="The same as CONFIG.")
@click.option(
    "-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="Set one value, e.g. -o optim.lr=3e-4."
)
@click.option("--run-dir", type=click.Path(path_type=Path), help="Run directory; default runs/CONFIG-DATE-TIME.")
@click.option(
    "--resume",
    default="none",
    show_default=True,
    metavar="none|latest|STEP|PATH",
    help="Continue the run in --run-dir, or the run or checkpoint at PATH.",
)
@click.option(
    "--accept", multiple=True, metavar="KEY", help="Resume although this setting differs from the checkpoint's."
)
@click.option("--dry-run", is_flag=True, help="Build everything, compile, train one step, write nothing.")
@accepts_trainer_options
def command(
    config: Path | None,
    config_option: Path | None,
    overrides: tuple[str, ...],
    run_dir: Path | None,
    resume: str,
    accept: tuple[str, ...],
    dry_run: bool,
) -> int:
    """Train CONFIG, or resume the run in --run-dir (CONFIG may then be left out).

    CONFIG is a YAML file, or the name of a preset. Options of other trainers, such as --max-steps or --batch-size, set
    the setting that they name: docs/migration.md lists them.
    """
    from chomp.cli.engine import leave_on_signals, prepare_environment
    from chomp.cli.loading import load_for_training
    from chomp.record.manifest import parse_resume

    leave_on_signals()
    if config is not None and config_option is not None:
        raise ConfigError(f"two configurations given, {config} and {config_option}; pass only one")
    chosen = config or config_option
    run_dir, resume = _named_run(run_dir, resume)
    loaded = load_for_training(chosen, (*overrides, *meant_overrides()), run_dir if resume != "none" else None)
    if loaded.config.train.epochs is not None and resume == "none" and loaded.origins["train.steps"] != "default":
        click.echo("note: train.epochs determines train.steps; the written one is not used", err=True)
    if dry_run and resume != "none":
        raise ConfigError("--dry-run starts from step 0; remove --resume")
    if loaded.config.checkpoint.on_signal == "stop":
        leave_on_signals(notices=True)
    chosen_resume = parse_resume(resume)
    prepare_environment(strict_determinism=loaded.config.train.strict_determinism)

    from chomp.train.loop import run_training
    from chomp.train.request import RunRequest, require_known

    require_known(accept)
    return run_training(
        RunRequest(loaded=loaded, run_dir=run_dir, resume=chosen_resume, accept=accept, dry_run=dry_run)
    )


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
