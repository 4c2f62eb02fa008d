"""`chomp prepare-data`."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from chomp.config.data import TokenizerConfig
    from chomp.data.sources.base import RandomAccessSource
    from chomp.data.tokenfiles import Metadata
    from chomp.data.tokenize_corpus import Progress

# Lines on a terminal are written over; elsewhere there is one now and then.
TERMINAL_SECONDS, LINE_SECONDS = 0.2, 10.0
STAGES = {"tokenizer": "training the tokenizer", "val": "val.bin", "train": "train.bin"}


@click.command("prepare-data")
@click.argument("text", nargs=-1, metavar="[TEXT]...")
@click.option("--stdlib", is_flag=True, help="Use the source files of Python's standard library as text.")
@click.option("-d", "--output", required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="Output folder.")
@click.option(
    "--vocab-size",
    type=click.IntRange(min=1),
    help="Train a byte-level BPE with this many ids on the text; the default without --tokenizer: 4096.",
)
@click.option("--tokenizer", help="Use an existing tokenizer: `byte`, a tokenizer.json, a folder, or a hub name.")
@click.option("--text-key", default="text", show_default=True, help="Column of tables (jsonl, parquet, csv).")
@click.option(
    "--val-documents",
    default=1000,
    show_default=True,
    type=click.IntRange(min=1),
    help="Maximum number of documents in val.bin; it gets at most 5 % of all.",
)
@click.option(
    "--on-bad-text",
    type=click.Choice(["fail", "replace"]),
    default="fail",
    show_default=True,
    help="Invalid UTF-8 or a null text: stop with an error that names the place, or replace it.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Encoding threads; default: one per processor.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def command(
    text: tuple[str, ...],
    stdlib: bool,
    output: Path,
    vocab_size: int | None,
    tokenizer: str | None,
    text_key: str,
    val_documents: int,
    on_bad_text: str,
    workers: int | None,
    as_json: bool,
) -> None:
    """Write TEXT (files and globs: txt, jsonl, parquet, csv, any text file) as token files to train on.

    FOLDER gets train.bin and val.bin, an .idx of document offsets beside each, tokenizer.json and metadata.json. Each
    document ends with the end-of-text id. After an interruption the same command continues; FOLDER is complete when
    metadata.json exists.
    """
    if stdlib == bool(text):
        raise click.UsageError("name text files, or pass --stdlib")
    if tokenizer is not None and vocab_size is not None:
        raise click.UsageError("--vocab-size trains a tokenizer, --tokenizer names one; give only one of them")
    # The pool of the library's threads is made once, when it is first used.
    os.environ["RAYON_NUM_THREADS"] = str(workers or len(os.sched_getaffinity(0)))
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    from chomp.data.tokenize_corpus import Plan, prepare

    plan = Plan(
        folder=output,
        source=_source(text, text_key, on_bad_text),
        tokenizer=_tokenizer(tokenizer),
        vocab_size=(vocab_size or 4096) if tokenizer is None else None,
        val_documents=val_documents,
    )
    click.echo(plan.source.describe(), err=True)
    line = _Line()
    try:
        said = prepare(plan, line.report)
    except KeyboardInterrupt:
        line.end()
        click.echo(f"stopped; run the same command again to continue in {output}", err=True)
        raise
    line.end()
    if as_json:
        click.echo(json.dumps({"folder": str(output), **said.model_dump(exclude_none=True)}))
    else:
        _conclude(output, said)


def _source(text: tuple[str, ...], text_key: str, on_bad_text: Any) -> RandomAccessSource:
    from chomp.config.data import DataConfig
    from chomp.data.sources.files import FilesSource
    from chomp.data.sources.stdlib import stdlib_source

    if not text:
        return stdlib_source()
    return FilesSource(DataConfig(backend="files", files=list(text), text_key=text_key, on_bad_text=on_bad_text))


def _tokenizer(name: str | None) -> TokenizerConfig:
    from chomp.config.data import TokenizerConfig

    if name is None or name == "byte":
        return TokenizerConfig(kind="byte")
    if Path(name).expanduser().is_file() or name.endswith(".json"):
        return TokenizerConfig(kind="file", path=name)
    return TokenizerConfig(kind="hf", hf_name_or_path=name)


class _Line:
    """One line with the progress."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._stage = ""
        self._began = self._said = time.monotonic()
        self._begun_at = 0

    def report(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.stage != self._stage:
            self.end()
            self._stage, self._began, self._begun_at = progress.stage, now, progress.done
        is_last = progress.done == progress.total
        if now - self._said < (TERMINAL_SECONDS if self._terminal else LINE_SECONDS) and not is_last:
            return
        self._said = now
        text = self._text(progress, now)
        click.echo(f"\r{text}\x1b[K" if self._terminal else text, nl=not self._terminal, err=True)

    def _text(self, progress: Progress, now: float) -> str:
        from chomp.record.text import duration, size

        share = progress.done / progress.total
        seconds = max(progress.seconds, 1e-9)
        parts = [
            f"{STAGES[progress.stage]}: {progress.done:,} of {progress.total:,} documents, {share:.0%}",
            f"{size(progress.fresh.bytes / seconds)}/s",
        ]
        if progress.stage != "tokenizer":
            parts.append(f"{progress.fresh.tokens / seconds / 1e6:.2f} M tokens/s")
        done = progress.done - self._begun_at
        if done and share < 1:
            parts.append(f"{duration((now - self._began) / done * (progress.total - progress.done))} left")
        if progress.stage == "tokenizer" and share == 1:
            parts.append("merging")
        return "  ".join(parts)

    def end(self) -> None:
        """End the line."""
        if self._terminal and self._stage:
            click.echo(err=True)


def _conclude(folder: Path, said: Metadata) -> None:
    for name, count in (("train", said.train), ("val", said.val)):
        ratio = f", {count.bytes / count.tokens:.3f} bytes per token" if count.tokens else ""
        click.echo(f"{name}.bin  {count.tokens:,} tokens of {count.documents:,} documents ({said.dtype}){ratio}")
    tokenizer = "kind=byte" if said.tokenizer.kind == "byte" else "kind=file"
    path = "" if said.tokenizer.kind == "byte" else f" -o data.tokenizer.path={folder / 'tokenizer.json'}"
    click.echo(f"vocabulary {said.vocab_size:,} ids; tokenizer {said.tokenizer.digest[:12]}")
    click.echo(
        f"train on it: chomp train CONFIG -o data.backend=tokens -o data.tokens_path={folder} "
        f"-o data.tokenizer.{tokenizer}{path}"
    )
