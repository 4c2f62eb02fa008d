"""`chomp lm-eval`."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

import chomp
from chomp.cli.options import PATH
from chomp.errors import ChompError, ConfigError, DataError

HARNESS = "lm_eval"


@click.command("lm-eval", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("source", metavar="RUN|CHECKPOINT", type=PATH)
@click.argument("arguments", nargs=-1, metavar="[OPTIONS OF lm-eval run]...", type=click.UNPROCESSED)
def command(source: Path, arguments: tuple[str, ...]) -> None:
    """Run lm-evaluation-harness on a checkpoint (install the `evals` extra).

    What follows RUN are options of `lm-eval run`, such as --tasks, --include_path, --limit and --output_path.
    """
    if importlib.util.find_spec(HARNESS) is None:
        raise ConfigError("chomp lm-eval needs lm-evaluation-harness; install it with: pip install 'chomp[evals]'")
    _require_folder(arguments)
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
    with harness_errors():
        cli_evaluate()


def _require_folder(arguments: tuple[str, ...]) -> None:
    """Refuse an `--include_path` that is not there, which the harness passes over.

    Raises:
        ConfigError: names it.
    """
    option = "--include_path"
    for word, following in zip(arguments, (*arguments[1:], ""), strict=False):
        path = following if word == option else word.removeprefix(f"{option}=")
        if word.split("=")[0] == option and path and not Path(path).is_dir():
            raise ConfigError(f"{option} {path}: there is no such folder; name the folder with the YAML files of tasks")


@contextlib.contextmanager
def harness_errors() -> Iterator[None]:
    """Errors of the harness as one sentence; those of chomp's code that it calls stay as they are.

    Raises:
        DataError: a file or data set of a task cannot be read.
        ConfigError: any other error of the harness, such as an unknown task.
    """
    try:
        yield
    except ChompError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        entered = next((place for place, frame in enumerate(frames) if HARNESS in Path(frame.filename).parts), None)
        ours = Path(chomp.__file__).parent
        if entered is None or any(Path(frame.filename).is_relative_to(ours) for frame in frames[entered:]):
            raise
        raise _as_sentence(error, frames[-1]) from error


def _as_sentence(error: Exception, at: traceback.FrameSummary) -> ChompError:
    """The harness's own message, with its place where it is no message for users."""
    said = next(iter(str(error).strip().splitlines()), "no message")
    if isinstance(error, OSError):
        return DataError(f"lm-evaluation-harness cannot read the data of a task: {said}")
    if isinstance(error, ValueError):
        more = "; `lm-eval ls tasks` lists the tasks, --include_path names a folder with your own"
        return ConfigError(f"lm-evaluation-harness: {said.rstrip('.')}{more if 'task' in said.lower() else ''}")
    return ConfigError(f"lm-evaluation-harness: {type(error).__name__}: {said} ({at.filename}, line {at.lineno})")
