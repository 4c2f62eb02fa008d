"""`chomp prepare-data`."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from chomp.cli.options import PATH, PATH_TEXT
from chomp.errors import command_name
from chomp.record.formatting import duration, progress_line, size

if TYPE_CHECKING:
    from chomp.config.data import TokenizerConfig
    from chomp.data.sources.base import RandomAccessSource
    from chomp.data.tokenfiles import Metadata
    from chomp.data.tokenize_corpus import CorpusProgress

LINE_SECONDS = 10.0
# Ids and document counts are 32-bit integers.
MOST_IDS = 2**31 - 1
MOST_WORKERS = 1024
STAGES = {"tokenizer": "training the tokenizer", "val": "val.bin", "train": "train.bin"}


@click.command("prepare-data")
@click.argument("text", nargs=-1, type=PATH_TEXT, metavar="[TEXT]...")
@click.option(
    "--text", "more_text", type=PATH_TEXT, multiple=True, metavar="TEXT", help="The same as TEXT; may be repeated."
)
@click.option("--stdlib", is_flag=True, help="Use the source files of Python's standard library as text.")
@click.option("-d", "--output", required=True, type=PATH, metavar="FOLDER", help="Output folder.")
@click.option(
    "--vocab-size",
    type=click.IntRange(1, MOST_IDS),
    help="Train a byte-level BPE with this many ids on the text; the default without --tokenizer: 4096.",
)
@click.option(
    "--tokenizer", type=PATH_TEXT, help="Use an existing tokenizer: `byte`, a tokenizer.json, a folder, or a hub name."
)
@click.option("--text-key", default="text", show_default=True, help="Column of tables (jsonl, parquet, csv).")
@click.option(
    "--val-documents",
    default=1000,
    show_default=True,
    type=click.IntRange(1, MOST_IDS),
    help="Maximum number of documents in val.bin; it gets at most 5 % of all.",
)
@click.option(
    "--on-bad-text",
    type=click.Choice(["fail", "replace"]),
    default="fail",
    show_default=True,
    help="Invalid UTF-8 or a null text: stop with an error that names the place, or replace it.",
)
@click.option("--flat", is_flag=True, help="Also write all ids as 32-bit integers into one file, tokens.bin.")
@click.option("--workers", type=click.IntRange(1, MOST_WORKERS), help="Encoding threads; default: one per processor.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def command(
    text: tuple[str, ...],
    more_text: tuple[str, ...],
    stdlib: bool,
    output: Path,
    vocab_size: int | None,
    tokenizer: str | None,
    text_key: str,
    val_documents: int,
    on_bad_text: str,
    flat: bool,
    workers: int | None,
    as_json: bool,
) -> None:
    """Write TEXT (files and globs: txt, jsonl, parquet, csv, any text file) as token files to train on.

    FOLDER gets train.bin and val.bin, an .idx of document offsets beside each, tokenizer.json and metadata.json. Each
    document ends with the end-of-text id. After an interruption the same command continues; FOLDER is complete when
    metadata.json exists. With --flat it also gets tokens.bin: the ids of train.bin, then those of val.bin, as
    little-endian 32-bit integers without a header, for other programs.
    """
    text = (*text, *more_text)
    if stdlib == bool(text):
        raise click.UsageError("name text files, or pass --stdlib")
    if tokenizer is not None and vocab_size is not None:
        raise click.UsageError("--vocab-size trains a tokenizer, --tokenizer names one; give only one of them")
    # The pool of the library's threads is made once, when it is first used.
    os.environ["RAYON_NUM_THREADS"] = str(workers or len(os.sched_getaffinity(0)))
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    from chomp.data.flat_tokens import write_flat
    from chomp.data.progress import listening
    from chomp.data.tokenize_corpus import CorpusPlan, prepare

    with listening(lambda event: click.echo(progress_line(event), err=True)):
        opened = _source(text, text_key, on_bad_text)
    plan = CorpusPlan(
        folder=output,
        source=opened,
        tokenizer=_tokenizer(tokenizer),
        vocab_size=(vocab_size or 4096) if tokenizer is None else None,
        val_documents=val_documents,
    )
    click.echo(plan.source.describe(), err=True)
    display = _Display()
    try:
        with display.bars:
            written = prepare(plan, display.report)
            if flat:
                write_flat(output)
    except KeyboardInterrupt:
        click.echo(f"stopped; run the same command again to continue in {output}", err=True)
        raise
    if as_json:
        click.echo(json.dumps({"folder": str(output), **written.model_dump(exclude_none=True)}))
    else:
        _conclude(output, written, flat=flat)


def _source(text: tuple[str, ...], text_key: str, on_bad_text: Any) -> RandomAccessSource:
    from chomp.config.data import DataConfig
    from chomp.data.sources.files import FilesSource
    from chomp.data.sources.stdlib import stdlib_source

    if not text:
        return stdlib_source()
    data = DataConfig(backend="files", text_key=text_key, on_bad_text=on_bad_text)
    return FilesSource(data, text, "the command line")


def _tokenizer(name: str | None) -> TokenizerConfig:
    from chomp.config.data import TokenizerConfig

    if name is None or name == "byte":
        return TokenizerConfig(kind="byte")
    if Path(name).expanduser().is_file() or name.endswith(".json"):
        return TokenizerConfig(kind="file", path=name)
    return TokenizerConfig(kind="hf", hf_name_or_path=name)


class _Display:
    """The progress on standard error: a bar for each stage on a terminal, elsewhere a line now and then."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._has_bars = console.is_interactive
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not self._has_bars,
        )
        self._stages: dict[str, TaskID] = {}
        self._line_at = time.monotonic()

    def report(self, progress: CorpusProgress) -> None:
        stage, done, total, speed = progress.stage, progress.done, progress.total, _speed(progress)
        if stage not in self._stages:
            for task in self.bars.task_ids:
                self.bars.update(task, speed="")
            self._stages[stage] = self.bars.add_task(STAGES[stage], total=total, completed=done, speed=speed)
        self.bars.update(self._stages[stage], completed=done, speed=speed)
        if self._has_bars or (time.monotonic() - self._line_at < LINE_SECONDS and done != total):
            return
        self._line_at = time.monotonic()
        left = self.bars.tasks[self._stages[stage]].time_remaining
        text = f"{STAGES[stage]}: {done:,} of {total:,} documents, {done / total:.0%}  {speed}"
        click.echo(f"{text}  {duration(left)} left" if left else text, err=True)


def _speed(progress: CorpusProgress) -> str:
    if progress.stage == "tokenizer" and progress.done == progress.total:
        return "merging"
    seconds = max(progress.seconds, 1e-9)
    tokens = "" if progress.stage == "tokenizer" else f"  {progress.fresh.tokens / seconds / 1e6:.2f} M tokens/s"
    return f"{size(progress.fresh.bytes / seconds)}/s{tokens}"


def _conclude(folder: Path, written: Metadata, *, flat: bool) -> None:
    from chomp.data.flat_tokens import FLAT

    for name, count in (("train", written.train), ("val", written.val)):
        ratio = f", {count.bytes / count.tokens:.3f} bytes per token" if count.tokens else ""
        click.echo(f"{name}.bin  {count.tokens:,} tokens of {count.documents:,} documents ({written.dtype}){ratio}")
    if flat:
        click.echo(f"{FLAT}  {written.train.tokens + written.val.tokens:,} tokens: train.bin, then val.bin (uint32)")
    tokenizer = "kind=byte" if written.tokenizer.kind == "byte" else "kind=file"
    path = "" if written.tokenizer.kind == "byte" else f" -o data.tokenizer.path={folder / 'tokenizer.json'}"
    click.echo(f"vocabulary {written.vocab_size:,} ids; tokenizer {written.tokenizer.digest[:12]}")
    click.echo(
        f"train on it: {command_name()} train CONFIG -o data.backend=tokens -o data.tokens_path={folder} "
        f"-o data.tokenizer.{tokenizer}{path}"
    )
