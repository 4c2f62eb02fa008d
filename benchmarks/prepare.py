"""How fast text becomes token files, and how fast those are read.

    python -m benchmarks.prepare [--repeats N]

`chomp prepare-data`, files written and all, over the `tokenizers` library's own batch encode of the same texts to
lists of ids, with as many threads, taking turns; then opening a token file, which looks at every id, over one NumPy
pass over the same file. Medians and ratios.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = str(len(os.sched_getaffinity(0)))
os.environ["TOKENIZERS_PARALLELISM"] = "true"

import numpy as np
import tokenizers

from chomp.config.data import TokenizerConfig
from chomp.data.bpe import train_bpe
from chomp.data.sources.stdlib import stdlib_source
from chomp.data.sources.tokens import TokensSource
from chomp.data.tokenfiles import TokenFile
from chomp.data.tokenize_corpus import CorpusPlan, prepare
from chomp.record.formatting import size

TOKENS = 1 << 27


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def taking_turns(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(seconds(call))
    return {name: statistics.median(values) for name, values in times.items()}


def encoding(folder: Path, repeats: int) -> None:
    """Print the rate of preparation, and of the library alone."""
    source = stdlib_source()
    texts = [source[index] for index in range(len(source))]
    length = sum(len(text.encode()) for text in texts)
    vocabulary = folder / "tokenizer.json"
    vocabulary.write_text(train_bpe(texts, 4096).to_str())
    backend = tokenizers.Tokenizer.from_file(str(vocabulary))
    config = TokenizerConfig(kind="file", path=str(vocabulary))
    number = iter(range(10_000))

    def library() -> list[list[int]]:
        return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]

    def ours() -> None:
        prepare(CorpusPlan(folder / f"prepared{next(number)}", source, config))

    medians = taking_turns({"library": library, "chomp": ours}, repeats)
    for name, value in medians.items():
        print(f"{name:<8}{size(length / value):>8} of text per second")
    print(f"chomp prepare-data over the library's batch encode: {medians['library'] / medians['chomp']:.3f}")


def reading(folder: Path, repeats: int) -> None:
    """Print the rate at which a token file is opened."""
    path = folder / "ids.bin"
    np.random.default_rng(0).integers(3, 4096, TOKENS, dtype=np.uint16).tofile(path)
    file = TokenFile(path, "uint16")
    calls = {
        "one pass": lambda: np.memmap(path, np.uint16, mode="r").max(),
        "opening": lambda: TokensSource(file, eos_id=2, vocab_size=4096),
    }
    medians = taking_turns(calls, repeats)
    for name, value in medians.items():
        print(f"{name:<10}{size(TOKENS * 2 / value):>9} per second")
    print(f"opening over one pass: {medians['one pass'] / medians['opening']:.3f}")


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        encoding(Path(folder), repeats)
        reading(Path(folder), repeats)


if __name__ == "__main__":
    main()
