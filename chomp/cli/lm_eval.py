"""`chomp lm-eval`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import click

from chomp.cli.options import PATH
from chomp.errors import ConfigError


@click.command("lm-eval", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("source", metavar="RUN|CHECKPOINT", type=PATH)
@click.argument("arguments", nargs=-1, metavar="[OPTIONS OF lm-eval run]...", type=click.UNPROCESSED)
def command(source: Path, arguments: tuple[str, ...]) -> None:
    """Run lm-evaluation-harness on a checkpoint (install the `evals` extra).

    What follows RUN are options of `lm-eval run`, such as --tasks, --include_path, --limit and --output_path.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise ConfigError("chomp lm-eval needs lm-evaluation-harness; install it with: pip install 'chomp[evals]'")
    from chomp.cli.engine import prepare_environment
    from chomp.record.rundir import open_run_around

    open_run_around(source)
    prepare_environment()
    from chomp.generate.load import load_trained
    from chomp.train.compilation import use_compilation_cache

    use_compilation_cache()
    _run_harness(load_trained(source), arguments)


def _run_harness(trained: Any, arguments: tuple[str, ...]) -> None:
    """The harness's own command, with the checkpoint as its model `chomp`."""
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.api.registry import register_model

    from chomp.analysis.lm_eval_model import ChompModel

    @register_model("chomp")
    class OfRun(ChompModel):
        """The model of this process, whatever arguments the harness gives it."""

        def __init__(self, **arguments: Any):
            super().__init__(trained)

    # The entry point of the command `lm-eval`, which reads its arguments from there.
    sys.argv = ["lm-eval", "run", "--model", "chomp", *arguments]
    cli_evaluate()
