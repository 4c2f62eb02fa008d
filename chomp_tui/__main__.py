"""`chomp-tui`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Launch training runs from the terminal."""


@cli.command("launch")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="Set one value.")
@click.option("--run-dir", type=click.Path(path_type=Path), help="Where the run is written.")
@click.option(
    "--resume", default="none", show_default=True, metavar="none|latest|STEP", help="Continue the run in --run-dir."
)
@click.option("--no-ui", is_flag=True, help="Train in this terminal as `chomp train` does.")
def launch(config: Path, overrides: tuple[str, ...], run_dir: Path | None, resume: str, no_ui: bool) -> None:
    """Train CONFIG."""
    if not no_ui:
        raise click.UsageError("this version has no screens yet; pass --no-ui to train in this terminal")
    args = [sys.executable, "-m", "chomp", "train", str(config), "--resume", resume]
    for override in overrides:
        args += ["-o", override]
    if run_dir is not None:
        args += ["--run-dir", str(run_dir)]
    # The engine takes this process over: same terminal, same signals, same exit code.
    os.execv(sys.executable, args)


def main() -> None:
    """The `chomp-tui` command."""
    cli()


if __name__ == "__main__":
    main()
