"""`chomp-tui`: the command line in front of the screens. Textual is imported only to show one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

import chomp
from chomp.cli.endings import leave, open_standard_streams, report
from chomp.cli.options import PATH
from chomp.errors import ChompError, ConfigError, command_name
from chomp_tui.platform.terminal import missing_terminal

if TYPE_CHECKING:
    from chomp_tui.state import ConsoleState

QUICKSTART = Path("configs/quickstart.yaml")


class NoTerminalError(ChompError):
    """Screens need a terminal, and there is none that can show them."""

    exit_code = 2


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--runs", type=PATH, default=Path("runs"), show_default=True, help="Folder of runs.")
@click.option("--configs", type=PATH, default=Path("configs"), show_default=True, help="Folder of configurations.")
@click.option("--theme", metavar="NAME", help="Theme to begin with, e.g. chomp-light, nord, ansi-dark.")
@click.version_option(chomp.__version__, prog_name="chomp-tui")
@click.pass_context
def cli(ctx: click.Context, runs: Path, configs: Path, theme: str | None) -> None:
    """Launch, watch and steer training runs from the terminal."""
    ctx.obj = {"runs": runs, "configs": configs, "theme": theme}
    if ctx.invoked_subcommand is None:
        _require_terminal(f"{command_name()} runs lists runs without it")
        _show(ctx)


@cli.command("launch")
@click.argument("config", required=False, type=PATH)
@click.option("-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="Set one value.")
@click.option("--run-dir", type=PATH, help="Where the run is written; default RUNS/CONFIG-DATE-TIME.")
@click.option(
    "--resume", default="none", show_default=True, metavar="none|latest|STEP", help="Continue the run in --run-dir."
)
@click.option("--start", is_flag=True, help="Start at once if the configuration is valid.")
@click.option("--no-ui", is_flag=True, help="Train in this terminal as `chomp train` does.")
@click.pass_context
def launch(
    ctx: click.Context,
    config: Path | None,
    overrides: tuple[str, ...],
    run_dir: Path | None,
    resume: str,
    start: bool,
    no_ui: bool,
) -> None:
    """Configure CONFIG and train it; without CONFIG, configs/quickstart.yaml or the run in --run-dir."""
    notes: tuple[str, ...] = ()
    if config is None and resume == "none":
        config = QUICKSTART if QUICKSTART.is_file() else None
        notes = () if config else (f"no CONFIG was named and there is no {QUICKSTART}: choose one here",)
    if no_ui:
        _train_here(config, overrides, run_dir, resume)
    _check_resume(resume, run_dir)
    _require_file(config)
    _require_terminal(f"to train without screens: {command_name('chomp-tui')} launch --no-ui", config)
    if notes:
        _show(ctx, notes=notes)
    else:
        _show(ctx, mode="configure", config=config, overrides=overrides, run=run_dir, resume=resume, start=start)


@cli.command("attach")
@click.argument("run", type=PATH)
@click.option("--read-only", is_flag=True, help="Only look: nothing can be started, steered or deleted.")
@click.pass_context
def attach(ctx: click.Context, run: Path, read_only: bool) -> None:
    """Watch and steer the run in the directory RUN, live or ended."""
    _require_run(run)
    _require_terminal(f"`tail -F {run}/train.log` follows a run without them")
    _show(ctx, read_only=read_only, mode="run", run=run)


def _check_resume(resume: str, run_dir: Path | None) -> None:
    if resume == "none":
        return
    from chomp.record.manifest import parse_resume

    if parse_resume(resume) != "none":
        if run_dir is None:
            raise ConfigError(f"--resume {resume} needs the run to resume: pass --run-dir RUN")
        _require_run(run_dir)


def _require_file(config: Path | None) -> None:
    if config is None or config.is_file():
        return
    # Presets import the configuration, for which the first frame does not wait.
    from chomp.config.presets import preset_named

    if preset_named(str(config)) is None:
        what = "is a folder" if config.is_dir() else "does not exist"
        raise ConfigError(f"{config} {what}; name a YAML file, e.g. {QUICKSTART}")


def _require_run(path: Path) -> None:
    """Accepts a run, and what an engine that has just been started has made of one.

    Raises:
        RunDirError: there is none.
    """
    from chomp.errors import RunDirError
    from chomp.record.rundir import RunDir, open_run

    try:
        open_run(path)
    except RunDirError:
        if not RunDir(path).log.is_file():
            raise


def _require_terminal(instead: str, config: Path | None = None) -> None:
    problem = missing_terminal()
    if problem is not None:
        raise NoTerminalError(f"chomp-tui needs a terminal: {problem}; {instead}{f' {config}' if config else ''}")


def _train_here(config: Path | None, overrides: tuple[str, ...], run_dir: Path | None, resume: str) -> None:
    """Become `chomp train`: same terminal, same signals, same exit code."""
    from chomp.queue.launch import train_command

    args = train_command(config, overrides=overrides, run_dir=run_dir, resume=resume)
    os.execv(args[0], args)


def _show(ctx: click.Context, *, read_only: bool = False, notes: tuple[str, ...] = (), **start_view: object) -> None:
    from chomp_tui.show import show
    from chomp_tui.state import StartView

    ctx.exit(show(_state(ctx.obj, read_only, notes), StartView(**start_view)))  # type: ignore[arg-type]


def _state(options: dict[str, object], read_only: bool, notes: tuple[str, ...]) -> ConsoleState:
    """What all screens share, from the settings file and the command line."""
    from chomp_tui.settings import load_settings, theme_names
    from chomp_tui.state import ConsoleState

    settings, wrong = load_settings()
    theme = options["theme"]
    if theme is not None:
        if theme not in theme_names():
            raise ConfigError(f"--theme {theme}: there are {', '.join(theme_names())}")
        settings.theme = settings.kept["theme"] = str(theme)
    state = ConsoleState(settings, runs=Path(str(options["runs"])), configs=Path(str(options["configs"])))
    state.read_only = read_only
    state.notes = (*wrong, *notes)
    return state


def main() -> None:
    """The `chomp-tui` command."""
    open_standard_streams()
    try:
        result = cli.main(standalone_mode=False)
        code = result if isinstance(result, int) else 0
    except BaseException as error:  # noqa: BLE001 - every error becomes a sentence and an exit code
        code = report(error)
    # A thread that waits for a driver or a disk must not keep a closed console in the process table.
    leave(code)


if __name__ == "__main__":
    main()
