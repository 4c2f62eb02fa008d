"""How fast text is drawn: token by token with a memory, in one program, and by reading everything again.

    python -m benchmarks.decode [--tokens N] [--repeats N]

The three draw the same ids from models of the quickstart's two shapes, taking turns; medians of rates, and their ratios
to reading everything again, as a program without a memory must.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("EQX_ON_ERROR", "off")

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from chomp.config import load_config
from chomp.data.tokenizers import build_tokenizer
from chomp.model.base import LanguageModel
from chomp.model.build import build_model
from chomp.model.decoding import SamplingParams, tokens_as_they_come
from chomp.model.resolve import resolve_model

PROMPT = 16
SHAPES = {"Megalodon": "configs/quickstart.yaml", "Llama": "configs/quickstart_llama.yaml"}


def trained(path: str) -> LanguageModel:
    """A model of a configuration's shape; its parameters are as drawn."""
    config = load_config(Path(path)).config
    model_def = build_model(resolve_model(config.model, build_tokenizer(config.data.tokenizer)))
    return model_def.combine(model_def.init(jax.random.key(0)))


def ways(model: LanguageModel, prompt: list[int], tokens: int) -> dict[str, Callable[[], list[int]]]:
    """Three ways to the same greedy continuation."""
    key, greedy = jax.random.key(0), SamplingParams(0.0)
    logits = eqx.filter_jit(lambda model, ids, last: model.logits(ids)[0, last])

    def again() -> list[int]:
        # One length for all, so that there is one program; what follows cannot be seen.
        ids = np.zeros((1, len(prompt) + tokens), np.int32)
        ids[0, : len(prompt)] = prompt
        for place in range(len(prompt), ids.shape[1]):
            ids[0, place] = int(jnp.argmax(logits(model, jnp.asarray(ids), jnp.asarray(place - 1))))
        return [int(token) for token in ids[0, len(prompt) :]]

    def whole() -> list[int]:
        ids = model.generate(jnp.asarray([prompt], jnp.int32), tokens, key=key, temperature=0.0)
        return [int(token) for token in np.asarray(ids)[0, len(prompt) :]]

    return {
        "read again": again,
        "as they come": lambda: list(tokens_as_they_come(model, prompt, tokens, key, greedy)),
        "one program": whole,
    }


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=240)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    prompt = np.random.default_rng(0).integers(3, 259, PROMPT).tolist()
    for name, path in SHAPES.items():
        calls = ways(trained(path), prompt, given.tokens)
        first = {way: call() for way, call in calls.items()}
        same = sum(ids == first["read again"] for ids in first.values())
        rates: dict[str, list[float]] = {way: [] for way in calls}
        for _ in range(given.repeats):
            for way, call in calls.items():
                begun = time.perf_counter()
                call()
                rates[way].append(given.tokens / (time.perf_counter() - begun))
        medians = {way: statistics.median(values) for way, values in rates.items()}
        print(f"{name}: {given.tokens} tokens after {PROMPT}; {same} of {len(first)} ways drew the same ids")
        for way, rate in medians.items():
            print(f"  {way:<14}{rate:9.1f} tokens/s   {rate / medians['read again']:6.2f}")


if __name__ == "__main__":
    main()
