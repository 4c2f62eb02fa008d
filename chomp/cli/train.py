"""`chomp train`."""

from __future__ import annotations

from pathlib import Path

import click

from chomp.errors import ConfigError


@click.command("train")
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option("--config", "config_option", type=click.Path(path_type=Path), help="The same as CONFIG.")
@click.option(
    "-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="Set one value, e.g. -o optim.lr=3e-4."
)
@click.option("--run-dir", type=click.Path(path_type=Path), help="Run directory; default runs/CONFIG-DATE-TIME.")
@click.option(
    "--resume", default="none", show_default=True, metavar="none|latest|STEP", help="Continue the run in --run-dir."
)
@click.option(
    "--accept", multiple=True, metavar="KEY", help="Resume although this setting differs from the checkpoint's."
)
@click.option("--dry-run", is_flag=True, help="Build everything, compile, train one step, write nothing.")
def command(
    config: Path | None,
    config_option: Path | None,
    overrides: tuple[str, ...],
    run_dir: Path | None,
    resume: str,
    accept: tuple[str, ...],
    dry_run: bool,
) -> int:
    """Train CONFIG, or resume the run in --run-dir (CONFIG may then be left out)."""
    from chomp.cli.engine import leave_on_signals, prepare_environment
    from chomp.cli.loading import load_for_training
    from chomp.record.manifest import parse_resume

    leave_on_signals()
    if config is not None and config_option is not None:
        raise ConfigError(f"two configurations given, {config} and {config_option}; pass only one")
    chosen = config or config_option
    loaded = load_for_training(chosen, overrides, run_dir if resume != "none" else None)
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
