"""Where the time of a training step goes: each part of a Megalodon alone, forwards and backwards, at both shapes.

Parts run on random inputs of their shape, in one process, taking turns. Their sum is no step: the compiler joins
neighbours, and memory is warmer here. It says which part is worth work.

    python -m benchmarks.parts [--shape quickstart|100m] [--repeats N]
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("EQX_ON_ERROR", "off")

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.step import SHAPES, make_batch
from chomp.config import derive, load_config
from chomp.model.build import build_model
from chomp.model.megalodon import computed_by_documents
from chomp.optim.build import build_optimizer

COLUMNS = ("library, continuous", "library, isolated", "chomp, continuous", "chomp, isolated")


def both_ways(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """A compiled call of `function` with the gradients of all its floating arguments; the first is a module."""

    def total(arguments: Any) -> Any:
        out = function(*arguments)
        return (out.astype(jnp.float32) * jnp.cos(jnp.arange(out.size, dtype=jnp.float32)).reshape(out.shape)).sum()

    compiled = eqx.filter_jit(eqx.filter_value_and_grad(total))
    return lambda: compiled(arguments)


def layer_parts(layer: Any, segment_ids: Any, rng: np.random.Generator, shape: tuple[int, int]) -> dict[str, Any]:
    """Calls of the parts of one layer."""
    attn = layer.attn
    rows, seq = shape

    def drawn(*lead: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=lead), jnp.float32)

    x = drawn(rows, seq, attn.model_dim)
    q, k = (drawn(rows, seq, attn.num_heads, attn.head_dim) * attn.head_dim**-0.25 for _ in range(2))
    v = drawn(rows, seq, attn.num_heads, attn.value_head_dim)
    gated = drawn(rows, seq, attn.value_dim)
    over = attn.use_associative_segment_scan

    def averaged(module: Any, x: Any) -> Any:
        return module(x, segment_ids=segment_ids, use_associative_segment_scan=over)[0]

    def projected(layers: Any, x: Any, gated: Any) -> Any:
        wz, wv, wr, wh1, wh2 = layers
        mapped = [x @ one.weight.T for one in (wz, wv, wr, wh1)] + [gated @ wh2.weight.T]
        return jnp.concatenate(mapped, axis=-1)

    return {
        "timestep norm": both_ways(lambda module, x: module(x, segment_ids=segment_ids)[0], attn.timenorm, x),
        "moving average": both_ways(averaged, attn.cema, jnp.moveaxis(x, 1, 2)),
        "attention": both_ways(lambda module, *qkv: module(*qkv, segment_ids=segment_ids)[0], attn.inner, q, k, v),
        "projections": both_ways(projected, (attn.wz, attn.wv, attn.wr, attn.wh1, attn.wh2), x, gated),
        "feed-forward": both_ways(lambda module, x: module(x, residual_base=x), layer.ffn, x),
    }


def once_per_step(model_def: Any, params: Any, optimizer: Any, batch: Any, rng: np.random.Generator) -> dict[str, Any]:
    """Calls of what a step does once: the head with its loss, and the optimizer."""
    config = model_def.config
    ids = jnp.asarray(batch.input_ids[0])
    hidden = jnp.asarray(rng.normal(size=(*ids.shape, config.model_dim)), jnp.float32)
    head = params.model.embed.weight if config.share_emb else params.lm_head.weight

    def loss(weight: Any, hidden: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(hidden[:, :-1] @ weight.T, ids[:, 1:])

    state = optimizer.transform.init(params)
    update = jax.jit(optimizer.transform.update)
    return {"head and loss": both_ways(loss, head, hidden), "update": lambda: update(params, state, params)}


def measure(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median milliseconds of each call, in turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(taken[1:]) for name, taken in times.items()}


def report(shape: str, repeats: int) -> None:
    """Print the table of one shape."""
    path, overrides, mean_tokens = SHAPES[shape]
    config = load_config(Path(path), (*overrides, "train.allow_cpu=true", "model.cema=sequential")).config
    derived = derive(config)
    model_def = build_model(config.model)
    params = model_def.init(jax.random.key(0))
    batch, rng = make_batch(config, mean_tokens), np.random.default_rng(0)
    optimizer = build_optimizer(config.optim, derived, model_def.abstract(), embedding_path=model_def.embedding_path)
    theirs = params.model.layers[0]
    segments = jnp.asarray(batch.segment_ids[0])
    ours = computed_by_documents(theirs)
    ways: tuple[tuple[Any, jax.Array | None], ...] = (
        (theirs, None),
        (theirs, segments),
        (ours, None),
        (ours, segments),
    )
    size = batch.input_ids.shape[1:]
    calls: dict[str, Any] = {
        f"{part}|{column}": call
        for column, (layer, given) in zip(COLUMNS, ways, strict=True)
        for part, call in layer_parts(layer, given, rng, size).items()
    }
    calls |= once_per_step(model_def, params, optimizer, batch, rng)
    found, layers = measure(calls, repeats), config.model.num_layers
    print(f"\n{shape}: {layers} layers, {size[0]} x {size[1]} tokens, ms per step, medians of {repeats}")
    print(f"{'part':<16}" + "".join(f"{column:>22}" for column in COLUMNS))
    for part in (name.partition("|")[0] for name in calls if name.endswith(COLUMNS[0])):
        print(f"{part:<16}" + "".join(f"{layers * found[f'{part}|{column}']:>22.1f}" for column in COLUMNS))
    for part in ("head and loss", "update"):
        print(f"{part:<16}" + f"{found[part]:>22.1f}" * len(COLUMNS))


def main() -> None:
    """Measure the asked shapes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shape", choices=tuple(SHAPES), action="append", help=f"default: {' and '.join(SHAPES)}")
    parser.add_argument("--repeats", type=int, default=7, help="runs of each part, after one that is left out")
    options = parser.parse_args()
    for shape in options.shape or SHAPES:
        report(shape, options.repeats)


if __name__ == "__main__":
    main()
