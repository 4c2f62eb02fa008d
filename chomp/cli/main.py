"""The `chomp` command with its lazily loaded subcommands."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import sys
import threading
from typing import Any

import click

import chomp
from chomp.errors import ChompError

# Subcommand -> module that holds a click command of that name, and its line in the help.
COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("chomp.cli.train", "Train, or resume a run."),
    "generate": ("chomp.cli.generate", "Generate text with a checkpoint."),
    "eval": ("chomp.cli.evaluate", "Score a checkpoint: loss, perplexity, bits per byte."),
    "prepare-data": ("chomp.cli.prepare_data", "Write text as token files, with a tokenizer trained on it."),
    "export": ("chomp.cli.export", "Export a checkpoint's model for other programs."),
    "inspect": ("chomp.cli.inspect", "Show parameters, tokens, schedule, FLOPs and memory of a configuration."),
    "fit": ("chomp.cli.fit", "Find the fastest micro-batch, recomputation and head chunk that fit."),
    "presets": ("chomp.cli.presets", "List known model shapes with their parameters and memory."),
    "config": ("chomp.cli.config", "Check, show or migrate a configuration; print its schema."),
    "probe": ("chomp.cli.probe", "Show GPUs, driver, and the environment they need."),
    "runs": ("chomp.cli.runs", "List runs."),
    "checkpoints": ("chomp.cli.checkpoints", "List and verify a run's checkpoints."),
    "fork": ("chomp.cli.fork", "Start a new run from a checkpoint of another run."),
    "ctl": ("chomp.cli.ctl", "Pause, save, evaluate, sample or stop a live run."),
}

FLUSH_SECONDS = 2.0


class LazyGroup(click.Group):
    """A group that shows its help without importing its commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return getattr(importlib.import_module(COMMANDS[name][0]), "command")  # noqa: B009 - each command module defines it

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            if near:
                raise click.UsageError(f"{error.message} Did you mean {near[0]}?", ctx) from None
            raise


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(chomp.__version__, prog_name="chomp")
def cli() -> None:
    """Pretrain language models on one machine."""


def run(command: click.Command, args: list[str] | None = None) -> None:
    """Run a command and exit with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal cannot show is replaced; it must not end a run.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        result = command.main(args=args, standalone_mode=False)
        code = result if isinstance(result, int) else 0
    except ChompError as error:
        _complain(str(error))
        code = error.exit_code
    except click.exceptions.Exit as leaving:
        code = leaving.exit_code
    except click.ClickException as error:
        _show(error)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except SystemExit as leaving:
        # click's answer when the reader of our output left (`chomp runs | head`).
        code = leaving.code if isinstance(leaving.code, int) else 1
    except OSError as error:
        if error.filename is None:
            raise
        _complain(f"{error.filename}: {error.strerror}")
        code = 1
    except Exception as error:
        known = _out_of_memory(error)
        if known is None:
            raise
        _complain(str(known))
        code = known.exit_code
    leave(code)


def _out_of_memory(error: Exception) -> ChompError | None:
    """The sentence about a failed allocation of a command that has loaded JAX."""
    if "jax" not in sys.modules:
        return None
    from chomp.train.out_of_memory import is_out_of_memory, out_of_memory

    return out_of_memory(error) if is_out_of_memory(error) else None


def _complain(sentence: str) -> None:
    from chomp.record.formatting import sanitize

    click.echo(f"error: {sanitize(sentence)}", err=True)


def _show(error: click.ClickException) -> None:
    """Click's message for an invalid command line, in the form of chomp's own errors."""
    said = io.StringIO()
    error.show(said)
    click.echo(re.sub("^Error: ", "error: ", said.getvalue(), count=1, flags=re.MULTILINE), err=True, nl=False)


def leave(code: int) -> None:
    """Exit even if a thread of a native library is still running, or the terminal is closed."""
    # A full pipe or a stopped terminal blocks the flush for ever; everything that matters is in the run directory.
    flushing = threading.Thread(target=_flush, daemon=True)
    flushing.start()
    flushing.join(FLUSH_SECONDS)
    os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # The reader or the terminal may be gone.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
