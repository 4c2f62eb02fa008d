"""`chomp generate`."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from chomp.cli.endings import complain
from chomp.cli.engine import out_of_memory_of
from chomp.cli.habits import checkpoint_source
from chomp.cli.options import TEXT, FiniteFloat, average_option
from chomp.cli.stdin import InputFile, read_lines, read_prompt, require_input, text_of
from chomp.config.fields import MAX_NEW_TOKENS, MAX_SEED, MAX_STEPS
from chomp.errors import ChompError, DeviceError

if TYPE_CHECKING:
    from chomp.generate.load import TrainedModel
    from chomp.generate.request import Request
    from chomp.generate.sampling import SamplingOptions

ENDS = {
    "length": "--max-tokens",
    "end-of-text": "the end-of-text id",
    "stop": "a stop text",
    "stopped": "Ctrl-C",
}
# Tokens whose memory needs no look at what is free.
ALWAYS_FITS = 1 << 14


@click.command("generate")
@checkpoint_source
@click.option("--prompt", type=TEXT, help="The prompt; without one the model starts a new document.")
@click.option(
    "--prompt-file",
    type=InputFile(),
    metavar="FILE",
    help="Read the prompt from a file, or from standard input: -.",
)
@click.option("-i", "--interactive", is_flag=True, help="Continue each input line, until Ctrl-D.")
@click.option(
    "--max-tokens",
    "--max-new",
    "max_tokens",
    default=128,
    show_default=True,
    type=click.IntRange(1, MAX_NEW_TOKENS),
    help="Maximum number of tokens to generate.",
)
@click.option(
    "--temperature", default=1.0, show_default=True, type=FiniteFloat(min=0), help="0 picks the most likely token."
)
@click.option("--top-k", type=click.IntRange(min=1), help="Sample from the k most likely tokens.")
@click.option(
    "--top-p",
    type=FiniteFloat(min=0, max=1, min_open=True),
    help="Sample from the most likely tokens with this total probability.",
)
@click.option(
    "--max-context",
    type=click.IntRange(1, MAX_STEPS),
    help="A Llama sees at most this many tokens before the one it generates; default: all.",
)
@click.option(
    "--stop", "stops", type=TEXT, multiple=True, metavar="TEXT", help="Stop before this text; may be repeated."
)
@click.option(
    "--seed",
    default=42,
    show_default=True,
    type=click.IntRange(0, MAX_SEED),
    help="The same seed generates the same text.",
)
@average_option
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object: step, prompt, text, tokens, end, seconds. With --interactive each line is a JSON "
    "object with prompt and these options (max_tokens, stop as a list, ...), and the output is streamed in pieces.",
)
def command(
    source: Path,
    prompt: str | None,
    prompt_file: IO[bytes] | None,
    interactive: bool,
    max_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    max_context: int | None,
    stops: tuple[str, ...],
    seed: int,
    average: bool,
    as_json: bool,
) -> None:
    """Continue a prompt with the newest checkpoint of RUN, or with CHECKPOINT (RUN/checkpoints/STEP)."""
    if sum((prompt is not None, prompt_file is not None, interactive)) > 1:
        raise click.UsageError("give one of --prompt, --prompt-file and --interactive")
    if "" in stops:
        raise click.UsageError("--stop: the text must not be empty")
    if interactive:
        require_input()
    text = read_prompt(prompt_file) if prompt_file is not None else prompt or ""
    writer = Writer(_load(source, max_context, average=average))
    click.echo(f"step {writer.trained.info.step} of {writer.trained.run.path}", err=True)
    from chomp.generate.sampling import SamplingOptions

    options = SamplingOptions(max_tokens, temperature, top_k, top_p, stops)
    if interactive and as_json:
        writer.serve(read_lines(), options, seed)
    elif interactive:
        writer.converse(_typed(), options, seed)
    elif as_json:
        click.echo(json.dumps(writer.whole(text, options, seed)))
    else:
        writer.stream(text, options, seed)


def _load(source: Path, max_context: int | None, *, average: bool) -> TrainedModel:
    from chomp.cli.engine import prepare_environment
    from chomp.record.rundir import open_run_around

    open_run_around(source)
    prepare_environment()
    from chomp.generate.load import load_trained
    from chomp.train.compilation import use_compilation_cache

    use_compilation_cache()
    return load_trained(source, max_context=max_context, average=average)


def _typed() -> Iterator[str]:
    """Lines from the keyboard or from a pipe; one that is no text is named and left out."""
    for line in _edited() if sys.stdin.isatty() else read_lines():
        try:
            yield line if isinstance(line, str) else text_of(line)
        except ValueError as error:
            complain(f"{error}; it is left out")


def _edited() -> Iterator[str | bytes]:
    """Lines from the keyboard, with line editing and history."""
    # Imported only for a terminal.
    import readline  # noqa: F401

    while True:
        try:
            yield input("> ")
        except UnicodeDecodeError as error:
            yield error.object
        except EOFError:
            click.echo()
            return


class Writer:
    """Continues prompts with one trained model."""

    def __init__(self, trained: TrainedModel) -> None:
        """Combine the parameters with the static part of the model."""
        self.trained = trained
        model, rows = trained.model_def.config, trained.config.train.seq_len
        window = model.attention_window if model.backend == "llama" else None
        # A Llama with a shorter window never sees more than it has learnt.
        self._learnt = rows if window is None or window > rows else None
        self._model = trained.model_def.combine(trained.params)

    def stream(self, prompt: str, options: SamplingOptions, seed: int, *, stays: bool = False) -> None:
        """Stream the prompt and its continuation to standard output, then print the speed to standard error.

        Args:
            stays: Ctrl-C ends the continuation only.
        """
        from chomp.record.formatting import elapsed, sanitize

        start, pieces = self._begin(prompt, options, seed)
        click.echo(sanitize(start), nl=False)
        try:
            for piece in pieces:
                click.echo(sanitize(piece), nl=False)
        except KeyboardInterrupt:
            if not stays:
                raise
        click.echo()
        said = self._summary(pieces)
        rate = f", {said['tokens'] / said['seconds']:.1f} tokens/s" if said["seconds"] else ""
        took = f"{said['tokens']} tokens in {elapsed(said['seconds'])}{rate}"
        click.echo(f"{took}; ended at {ENDS[said['end']]}", err=True)

    def converse(self, prompts: Iterable[str], options: SamplingOptions, seed: int) -> None:
        """Stream the continuation of each prompt; an error of one ends that one only."""
        for number, prompt in enumerate(prompts):
            try:
                self.stream(prompt, options, (seed + number) % (MAX_SEED + 1), stays=True)
            except Exception as error:
                problem = _problem(error)
                if problem is None:
                    raise
                complain(str(problem))

    def whole(self, prompt: str, options: SamplingOptions, seed: int) -> dict[str, Any]:
        """The whole continuation, for programs."""
        start, pieces = self._begin(prompt, options, seed)
        text = "".join(pieces)
        return {"step": self.trained.info.step, "prompt": start, "text": text, **self._summary(pieces)}

    def serve(self, lines: Iterable[bytes], options: SamplingOptions, seed: int) -> None:
        """Answer each input line in JSON lines: `piece`s, then the `end`; or a `problem`, after which the next follows.

        SIGINT ends a continuation only.
        """
        from chomp.generate.request import Request

        defaults = Request.defaults(options, seed)
        self._line(step=self.trained.info.step, run=str(self.trained.run.path))
        for line in lines:
            try:
                asked = defaults.read(text_of(line))
            except ValueError as error:
                self._line(problem=str(error))
                continue
            try:
                self._answer(asked)
            except Exception as error:
                problem = _problem(error)
                if problem is None:
                    raise
                self._line(problem=str(problem))

    def _answer(self, asked: Request) -> None:
        start, pieces = self._begin(asked.prompt, asked.options, asked.seed)
        with contextlib.suppress(KeyboardInterrupt):
            self._line(prompt=start)
            for piece in pieces:
                self._line(piece=piece)
        self._line(**self._summary(pieces))

    def _begin(self, prompt: str, options: SamplingOptions, seed: int) -> tuple[str, Any]:
        from chomp.generate.sampling import Continuation, encode_prompt

        tokenizer = self.trained.tokenizer
        ids = encode_prompt(tokenizer, prompt)
        if options.max_new_tokens > ALWAYS_FITS:
            self._require_memory(len(ids), options.max_new_tokens)
        self._warn_of_length(len(ids) + options.max_new_tokens)
        self._begun = time.perf_counter()
        return tokenizer.decode(ids), Continuation(self._model, tokenizer, ids, options, seed)

    def _warn_of_length(self, tokens: int) -> None:
        """Say once that text will be longer than the model was trained on."""
        if self._learnt is not None and tokens > self._learnt:
            limit = "; --max-context limits what it sees" if self.trained.config.model.backend == "llama" else ""
            click.echo(
                f"warning: prompt and text may be {tokens} tokens long, and the model was trained on rows of "
                f"{self._learnt} (train.seq_len){limit}",
                err=True,
            )
            self._learnt = None

    def _require_memory(self, prompt_length: int, max_new_tokens: int) -> None:
        """Refuse a length whose memory the operating system would promise and not have."""
        from chomp.model.decoding import remembered_bytes
        from chomp.record.formatting import size
        from chomp.train.free_memory import free_memory

        needed, memory = remembered_bytes(self._model, prompt_length, max_new_tokens), free_memory()
        if memory.free is not None and needed > memory.free:
            raise DeviceError(
                f"{max_new_tokens:,} tokens need {size(needed)} of memory, and {memory.sentence}; lower --max-tokens"
            )

    def _summary(self, pieces: Any) -> dict[str, Any]:
        return {
            "tokens": pieces.tokens,
            "end": pieces.end or "stopped",
            "seconds": round(time.perf_counter() - self._begun, 3),
        }

    def _line(self, **values: Any) -> None:
        click.echo(json.dumps(values))


def _problem(error: Exception) -> ChompError | None:
    """What a user can act on in an error of one prompt; None for a fault of chomp or of the streams."""
    return error if isinstance(error, ChompError) else out_of_memory_of(error)
