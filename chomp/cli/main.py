"""The `chomp` command with its lazily loaded subcommands."""

from __future__ import annotations

import importlib
from typing import Any

import click

import chomp
from chomp.cli.endings import leave, open_standard_streams, report, show_warnings
from chomp.cli.engine import out_of_memory_of

# Subcommand -> module that holds a click command of that name, and its line in the help.
COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("chomp.cli.train", "Train, or resume a run."),
    "generate": ("chomp.cli.generate", "Generate text with a checkpoint."),
    "eval": ("chomp.cli.evaluate", "Score a checkpoint: loss, perplexity, bits per byte."),
    "lm-eval": ("chomp.cli.lm_eval", "Run lm-evaluation-harness on a checkpoint."),
    "prepare-data": ("chomp.cli.prepare_data", "Write text as token files, with a tokenizer trained on it."),
    "export": ("chomp.cli.export", "Export a checkpoint's model for other programs."),
    "inspect": ("chomp.cli.inspect", "Show parameters, tokens, schedule, FLOPs and memory of a configuration."),
    "preview": ("chomp.cli.preview", "Show a packed batch as the model receives it."),
    "fit": ("chomp.cli.fit", "Find the fastest micro-batch, recomputation and head chunk that fit."),
    "plan": ("chomp.cli.plan", "Propose a run for the time that there is, by measured steps."),
    "presets": ("chomp.cli.presets", "List known model shapes with their parameters and memory."),
    "config": ("chomp.cli.config", "Check, show or migrate a configuration; print its schema."),
    "probe": ("chomp.cli.probe", "Show GPUs, driver, and the environment they need."),
    "runs": ("chomp.cli.runs", "List runs."),
    "report": ("chomp.cli.report", "Write a page, charts or a table about runs, to share."),
    "watch": ("chomp.cli.watch", "Watch live runs; send notices that a killed engine cannot."),
    "checkpoints": ("chomp.cli.checkpoints", "List and verify a run's checkpoints."),
    "explain": ("chomp.cli.explain", "Show the documents of a step by their loss, with file and row."),
    "replay": ("chomp.cli.replay", "Compute steps of a run again, and certify that they are what it saved."),
    "compare": ("chomp.cli.compare", "Compare runs: settings, results, losses at equal steps."),
    "note": ("chomp.cli.note", "Show or change the name, note and tags of runs."),
    "fork": ("chomp.cli.fork", "Start a new run from a checkpoint of another run."),
    "average": ("chomp.cli.average", "Average the parameters of checkpoints into a new run."),
    "queue": ("chomp.cli.queue", "Train one run after another: add jobs, start the runner."),
    "sweep": ("chomp.cli.sweep", "Train a configuration with many values, and rank them."),
    "ctl": ("chomp.cli.ctl", "Pause, save, evaluate, sample, profile or stop a live run."),
    "profile": ("chomp.cli.profile", "Show the costliest operations of a profiled run."),
}


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
    open_standard_streams()
    show_warnings()
    try:
        result = command.main(args=args, standalone_mode=False)
        code = result if isinstance(result, int) else 0
    except BaseException as error:  # noqa: BLE001 - every error becomes a sentence and an exit code
        code = report(out_of_memory_of(error) or error)
    leave(code)
