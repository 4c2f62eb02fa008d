"""How fast text becomes batches, without a model: `python benchmarks/data.py`.

Prints the median rate in million tokens per second over several rounds, for batches [2, 4, 512] of
Python's own library. With the byte tokenizer and no prefetch the limit is the Python work per batch
(about forty NumPy calls on 4,096 ids); with prefetch it is the hand-over between two threads of one
interpreter. Grain's shuffle and bookkeeping add about 30 microseconds per document, which is what
limits corpora of short documents. With a vocabulary the limit is the tokenizer itself.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from chomp.config.derive import derive
from chomp.config.load import parse_config
from chomp.data.pipeline import DataPipeline, build_data
from chomp.data.tokenizers import build_tokenizer

SHAPE = ("train.grad_accum=2", "train.batch_size=4", "train.seq_len=512")
WARM_UP_BATCHES = 50


def open_data(*overrides: str) -> DataPipeline:
    """The standard library as batches, with these overrides."""
    config = parse_config("{}", source="benchmark", overrides=(*SHAPE, *overrides)).config
    return build_data(config, derive(config), build_tokenizer(config.data.tokenizer))


def rates(data: DataPipeline, rounds: int, seconds: float) -> Iterator[float]:
    """Million tokens per second, once per round."""
    batches = data.train_iterator()
    for _ in range(WARM_UP_BATCHES):
        next(batches)
    for _ in range(rounds):
        tokens, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            tokens += next(batches).input_ids.size
        yield tokens / elapsed / 1e6
    data.close()


def train_vocabulary(folder: Path, texts: list[str]) -> Path:
    """A byte-level BPE of 8,192 entries, trained on the spot."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # All bytes, also those that the texts do not have.
    trainer = trainers.BpeTrainer(
        vocab_size=8192,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a round")
    parser.add_argument("--core", type=int, help="use only this core of the processor")
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        texts = list(open_data().heldout_texts())
        print(f"opening the standard library: {time.perf_counter() - started:.2f} s")
        bpe = f"data.tokenizer.path={train_vocabulary(Path(folder), texts)}"
        tokenizers = {"byte": ("data.tokenizer.kind=byte",), "bpe": ("data.tokenizer.kind=file", bpe)}
        for name, tokenizer in tokenizers.items():
            for mode in ("sequential", "bin"):
                for prefetch in (0, 2):
                    data = open_data(*tokenizer, f"data.packing_mode={mode}", f"data.prefetch={prefetch}")
                    measured = sorted(rates(data, arguments.rounds, arguments.seconds))
                    row = {
                        "tokenizer": name,
                        "packing": mode,
                        "prefetch": prefetch,
                        "million_tokens_per_second": round(statistics.median(measured), 2),
                        "lowest": round(measured[0], 2),
                        "highest": round(measured[-1], 2),
                    }
                    print(json.dumps(row))
    print("limits: byte without prefetch: Python per batch; with prefetch: threads sharing the GIL; bpe: the tokenizer")


if __name__ == "__main__":
    main()
