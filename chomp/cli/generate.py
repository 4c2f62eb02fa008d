"""`chomp generate`."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chomp.cli.habits import checkpoint_source

if TYPE_CHECKING:
    from chomp.generate.load import TrainedModel
    from chomp.generate.sampling import SamplingOptions

ENDS = {
    "length": "--max-tokens",
    "end-of-text": "the end-of-text id",
    "stop": "a stop text",
    "stopped": "Ctrl-C",
}


@click.command("generate")
@checkpoint_source
@click.option("--prompt", help="The prompt; without one the model starts a new document.")
@click.option(
    "--prompt-file",
    type=click.File("rb"),
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
    type=click.IntRange(min=1),
    help="Maximum number of tokens to generate.",
)
@click.option(
    "--temperature", default=1.0, show_default=True, type=click.FloatRange(min=0), help="0 picks the most likely token."
)
@click.option("--top-k", type=click.IntRange(min=1), help="Sample from the k most likely tokens.")
@click.option(
    "--top-p",
    type=click.FloatRange(min=0, max=1, min_open=True),
    help="Sample from the most likely tokens with this total probability.",
)
@click.option(
    "--max-context",
    type=click.IntRange(min=1),
    help="A Llama sees at most this many tokens before the one it generates; default: all.",
)
@click.option("--stop", "stops", multiple=True, metavar="TEXT", help="Stop before this text; may be repeated.")
@click.option(
    "--seed", default=42, show_default=True, type=click.IntRange(min=0), help="The same seed generates the same text."
)
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
    prompt_file: Any,
    interactive: bool,
    max_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    max_context: int | None,
    stops: tuple[str, ...],
    seed: int,
    as_json: bool,
) -> None:
    """Continue a prompt with the newest checkpoint of RUN, or with CHECKPOINT (RUN/checkpoints/STEP)."""
    if sum((prompt is not None, prompt_file is not None, interactive)) > 1:
        raise click.UsageError("give one of --prompt, --prompt-file and --interactive")
    if "" in stops:
        raise click.UsageError("--stop: the text must not be empty")
    text = _read_prompt(prompt_file) if prompt_file is not None else prompt or ""
    from chomp.cli.engine import prepare_environment
    from chomp.record.rundir import open_run_around

    open_run_around(source)
    prepare_environment()
    from chomp.generate.load import load_trained
    from chomp.generate.sampling import SamplingOptions
    from chomp.train.compilation import use_compilation_cache

    use_compilation_cache()
    writer = Writer(load_trained(source, max_context=max_context))
    click.echo(f"step {writer.trained.info.step} of {writer.trained.run.path}", err=True)
    options = SamplingOptions(max_tokens, temperature, top_k, top_p, stops)
    if interactive and as_json:
        writer.serve(sys.stdin, options, seed)
    elif interactive:
        for number, line in enumerate(_typed()):
            writer.stream(line, options, seed + number, stays=True)
    elif as_json:
        click.echo(json.dumps(writer.whole(text, options, seed)))
    else:
        writer.stream(text, options, seed)


def _read_prompt(file: Any) -> str:
    content: bytes = file.read()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        name = "standard input" if file.name == "<stdin>" else file.name
        raise click.UsageError(f"--prompt-file: {name} is not UTF-8 at byte {error.start:,}") from None


def _typed() -> Iterator[str]:
    """Lines from the keyboard or from a pipe."""
    asks = "> " if sys.stdin.isatty() else ""
    while True:
        try:
            if asks:
                # Line editing and history; imported only for a terminal.
                import readline  # noqa: F401
            line = input(asks)
        except EOFError:
            if asks:
                click.echo()
            return
        yield line


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
                sys.stdout.flush()
        except KeyboardInterrupt:
            if not stays:
                raise
        click.echo()
        said = self._summary(pieces)
        rate = f", {said['tokens'] / said['seconds']:.1f} tokens/s" if said["seconds"] else ""
        took = f"{said['tokens']} tokens in {elapsed(said['seconds'])}{rate}"
        click.echo(f"{took}; ended at {ENDS[said['end']]}", err=True)

    def whole(self, prompt: str, options: SamplingOptions, seed: int) -> dict[str, Any]:
        """The whole continuation, for programs."""
        start, pieces = self._begin(prompt, options, seed)
        text = "".join(pieces)
        return {"step": self.trained.info.step, "prompt": start, "text": text, **self._summary(pieces)}

    def serve(self, lines: Iterable[str], options: SamplingOptions, seed: int) -> None:
        """Answer each input line in JSON lines: `piece`s, then the `end`, or a `problem`.

        SIGINT ends a continuation only.
        """
        from chomp.generate.request import Request

        defaults = Request.defaults(options, seed)
        self._line(step=self.trained.info.step, run=str(self.trained.run.path))
        for line in lines:
            try:
                asked = defaults.read(line)
            except ValueError as error:
                self._line(problem=str(error))
                continue
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

    def _summary(self, pieces: Any) -> dict[str, Any]:
        return {
            "tokens": pieces.tokens,
            "end": pieces.end or "stopped",
            "seconds": round(time.perf_counter() - self._begun, 3),
        }

    def _line(self, **values: Any) -> None:
        click.echo(json.dumps(values))
        sys.stdout.flush()
