"""Options under the names that other trainers give them.

Each sets what it means here, or ends the command with a sentence that names the way. The help does not list them;
docs/migration.md does.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from chomp.cli.options import PATH

Command = Callable[..., Any]
Meaning = Callable[[str], tuple[str, ...]]

_OVERRIDES = "chomp.overrides"
_PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def _sets(*names: str) -> Meaning:
    return lambda value: tuple(f"{name}={value}" for name in names)


def _always(overrides: tuple[str, ...]) -> Meaning:
    return lambda _: overrides


def _precision(value: str) -> tuple[str, ...]:
    word = value.lower()
    return () if word == "auto" else (f"model.compute_dtype={_PRECISIONS.get(word, word)}",)


def _dataset(value: str) -> tuple[str, ...]:
    if value == "tokens":
        return ("data.backend=tokens",)
    if value == "synthetic":
        raise click.UsageError("--dataset synthetic: chomp trains on text; -o data.backend=stdlib needs no files")
    raise click.UsageError(f"--dataset {value}: expected tokens; other text is set with -o data.backend=…")


def _data_path(value: str) -> tuple[str, ...]:
    """A token file, or the folder of `chomp prepare-data` where it would be; the tokenizer beside it comes along."""
    path = Path(value).expanduser()
    folder = path if path.is_dir() else path.parent
    if not path.exists() and (folder / "metadata.json").is_file():
        path = folder
    tokenizer = folder / "tokenizer.json"
    kind = ("data.tokenizer.kind=file", f"data.tokenizer.path={tokenizer}") if tokenizer.is_file() else ()
    return ("data.backend=tokens", f"data.tokens_path={path}", *kind)


def _device(value: str) -> tuple[str, ...]:
    word = value.lower()
    if word == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
        return ("train.allow_cpu=true",)
    if word in ("cuda", "gpu"):
        return ("train.allow_cpu=false",)
    name, _, number = word.partition(":")
    if name == "cuda" and number.isdecimal():
        raise click.UsageError(f"--device {value}: write --devices {number} instead")
    raise click.UsageError(f"--device {value}: expected cpu or cuda")


_MEANINGS: Mapping[str, Meaning] = {
    **dict.fromkeys(("--max-steps", "--total-steps", "--max-iters"), _sets("train.steps")),
    "--epochs": _sets("train.epochs"),
    **dict.fromkeys(("--batch-size", "--micro-batch-size"), _sets("train.batch_size")),
    "--batch-size-tokens": _sets("train.batch_tokens"),
    **dict.fromkeys(("--grad-accum", "--gradient-accumulation-steps"), _sets("train.grad_accum")),
    **dict.fromkeys(("--seq-len", "--block-size"), _sets("train.seq_len")),
    "--seed": _sets("train.seed"),
    **dict.fromkeys(("--lr", "--learning-rate"), _sets("optim.lr")),
    "--warmup-steps": _sets("optim.warmup_steps"),
    "--precision": _precision,
    "--log-interval": _sets("train.log_every"),
    "--eval-interval": _sets("train.eval_every"),
    "--checkpoint-interval": _sets("checkpoint.save_every"),
    "--keep-last-checkpoints": _sets("checkpoint.max_to_keep"),
    "--checkpoint-dir": _sets("logging.run_dir"),
    "--dataset": _dataset,
    **dict.fromkeys(("--data-path", "--train-data"), _data_path),
    "--val-data": _sets("data.tokens_eval_path"),
    "--device": _device,
}
_FLAGS: Mapping[str, tuple[str, ...]] = {"--no-val": ("train.eval_every=0",)}
_INDEX = "the .idx file beside a .bin file is read with it; leave the option out"
_INSTEAD = {
    "--train-index": _INDEX,
    "--val-index": _INDEX,
    "--compile": "the step is always compiled; leave the option out",
    "--threads": "XLA uses all processors; `taskset -c 0-3` before the command limits them",
    "--n-samples": "chomp has no synthetic text; -o data.backend=stdlib needs no files",
}


def accepts_trainer_options(command: Command) -> Command:
    """Add the options of other trainers to a command; `meant_overrides` gives what they amount to."""
    for name, meaning in _MEANINGS.items():
        command = click.option(name, callback=_noting(meaning), expose_value=False, hidden=True)(command)
    for name, overrides in _FLAGS.items():
        noting = _noting(_always(overrides))
        command = click.option(name, is_flag=True, callback=noting, expose_value=False, hidden=True)(command)
    for name, sentence in _INSTEAD.items():
        command = says_instead(name, sentence)(command)
    return command


def _noting(meaning: Meaning) -> Callable[[click.Context, click.Parameter, Any], None]:
    def note(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value not in (None, False):
            ctx.meta.setdefault(_OVERRIDES, []).extend(meaning(str(value)))

    return note


def meant_overrides() -> tuple[str, ...]:
    """The overrides that the options of other trainers amount to in the current command."""
    found = tuple(click.get_current_context().meta.get(_OVERRIDES, ()))
    if len({key for key in ("train.epochs=", "train.steps=") if any(text.startswith(key) for text in found)}) > 1:
        raise click.UsageError("--epochs and --max-steps each determine the length of the run; pass only one")
    return found


def says_instead(name: str, sentence: str) -> Callable[[Command], Command]:
    """An option that this command does not have, with or without a value, and the sentence that names the way."""

    def refuse(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value is not None:
            raise click.UsageError(f"{name}: {sentence}")

    return click.option(name, is_flag=False, flag_value="", callback=refuse, expose_value=False, hidden=True)


def checkpoint_source(command: Command) -> Command:
    """The argument RUN|CHECKPOINT of a command that reads a checkpoint, passed as `source`; also as `--checkpoint`."""

    @click.argument("source", metavar="RUN|CHECKPOINT", required=False, type=PATH)
    @click.option("--checkpoint", type=PATH, hidden=True)
    @functools.wraps(command)
    def with_source(*, source: Path | None, checkpoint: Path | None, **options: Any) -> Any:
        if source is not None and checkpoint is not None:
            raise click.UsageError(f"two checkpoints given, {source} and {checkpoint}; pass only one")
        if source is None and checkpoint is None:
            raise click.UsageError("Missing argument 'RUN|CHECKPOINT'.")
        return command(source=source or checkpoint, **options)

    return with_source


class TrainCommand(click.Command):
    """A command that sets settings with `-o`: an unknown option with the name of one gets a sentence about it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does."""
        from chomp.config.spec import settings

        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            leaf = error.option_name.lstrip("-").replace("-", "_")
            found = [path for path in settings() if path.rpartition(".")[2] == leaf]
            if not found:
                raise
            ways = " or ".join(f"-o {path}=VALUE" for path in found[:3])
            raise click.UsageError(f"No such option: {error.option_name}. Write {ways}.", ctx) from None
