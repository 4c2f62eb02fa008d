"""chomp's step of a Llama against plain PyTorch on CPUs: the same model, parameters, batch and update.

PyTorch's side is what a user writes: linear layers, `scaled_dot_product_attention`, clipping, fused AdamW, eager. Each
side is a process of its own with its own threads, and they take turns, so that a slow moment of the machine falls on
both. Losses of all steps must agree. A busy machine shows little: PyTorch's threads wait for each other by spinning.
Needs the extra `verify`.

    python -m benchmarks.pytorch [--shape byte-0.7m|small-32m] [--repeats N]
"""

import argparse
import importlib.util
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

os.environ.setdefault("EQX_ON_ERROR", "off")

import numpy as np

from benchmarks.llama import COMMON, LLAMA, as_dictionaries, chomp_step
from benchmarks.step import make_batch
from chomp.config import Config, load_config

# Tokens 4 x 256 and 1 x 1,024.
SHAPES = {
    "byte-0.7m": ("model.vocab_size=384",),
    "small-32m": (
        "model.model_dim=512",
        "model.num_layers=8",
        "model.num_heads=8",
        "model.num_kv_heads=8",
        "model.ffn_hidden_dim=1408",
        "model.vocab_size=8384",
        "train.batch_size=1",
        "train.seq_len=1024",
    ),
}
LOSS_TOLERANCE = 2e-3
SIDES = ("pytorch", "chomp")


def configuration(shape: str) -> Config:
    """A constant learning rate from the first step on, as PyTorch has it without a schedule."""
    constant = ("optim.warmup_steps=0", "optim.min_lr_ratio=1", "train.steps=1000000")
    return load_config(LLAMA, (*SHAPES[shape], *COMMON, *constant)).config


def chomp_side(shape: str, pipe: Connection) -> Callable[[], float]:
    """chomp's compiled step; its first parameters are sent to the other side."""
    config = configuration(shape)
    batch = make_batch(config, 200)
    step, state, model = chomp_step(config, batch)
    params = as_dictionaries(model)
    params["layers"] = [{name: np.asarray(value) for name, value in layer.items()} for layer in params["layers"]]
    pipe.send({name: value if name == "layers" else np.asarray(value) for name, value in params.items()})
    attention = model.blocks[0].attn
    pipe.send((attention.heads, attention.kv_heads, model.rates.base, model.norm.eps))
    pipe.send(np.asarray(batch.input_ids[0]))

    def once() -> float:
        nonlocal state
        state, metrics = step(state, batch)
        return float(metrics.loss)

    return once


def pytorch_side(shape: str, pipe: Connection) -> Callable[[], float]:
    """A plain eager step from parameters that are sent."""
    import torch

    params, settings, ids = pipe.recv(), pipe.recv(), torch.from_numpy(pipe.recv()).long()
    optim = configuration(shape).optim
    embed, head = (torch.nn.Parameter(torch.tensor(params[name])) for name in ("embed", "head"))
    final = torch.nn.Parameter(torch.tensor(params["norm"]))
    layers = [
        {name: torch.nn.Parameter(torch.tensor(value)) for name, value in one.items()} for one in params["layers"]
    ]
    every = [embed, head, final, *(value for one in layers for value in one.values())]
    adam = optim.adam
    optimizer = torch.optim.AdamW(every, optim.lr, (adam.b1, adam.b2), adam.eps, optim.weight_decay, fused=True)
    turn = rotation(ids.shape[1], embed.shape[1] // settings[0], settings[2])

    def once() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = plain_loss(ids, embed, layers, final, head, turn, settings)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(every, optim.grad_clip_norm)
        optimizer.step()
        return float(loss.detach())

    return once


def rotation(length: int, width: int, base: float) -> Callable[[Any], Any]:
    """Rotary positions for `[B, heads, T, width]`, their tables made once."""
    import torch

    rates = base ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(length)[:, None] * rates
    cos, sin = (torch.cat([part, part], -1) for part in (angles.cos(), angles.sin()))

    def turn(x: Any) -> Any:
        first, second = x.chunk(2, -1)
        return x * cos + torch.cat([-second, first], -1) * sin

    return turn


def plain_loss(
    ids: Any, embed: Any, layers: list[dict[str, Any]], final: Any, head: Any, turn: Any, settings: tuple[Any, ...]
) -> Any:
    """Mean next-token cross-entropy of `ids`, `[B, T]`."""
    from torch.nn import functional

    heads, kv_heads, _, eps = settings
    linear, (rows, length) = functional.linear, ids.shape
    x = functional.embedding(ids, embed)
    for one in layers:
        h = functional.rms_norm(x, final.shape, one["attention_norm"], eps)
        q = turn(linear(h, one["wq"]).view(rows, length, heads, -1).transpose(1, 2))
        k = turn(linear(h, one["wk"]).view(rows, length, kv_heads, -1).transpose(1, 2))
        v = linear(h, one["wv"]).view(rows, length, kv_heads, -1).transpose(1, 2)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=heads != kv_heads)
        x = x + linear(mixed.transpose(1, 2).reshape(rows, length, -1), one["wo"])
        h = functional.rms_norm(x, final.shape, one["ffn_norm"], eps)
        x = x + linear(functional.silu(linear(h, one["gate"])) * linear(h, one["up"]), one["down"])
    logits = linear(functional.rms_norm(x, final.shape, final, eps)[:, :-1], head)
    return functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def serve(side: str, shape: str, data: Connection, turns: Connection) -> None:
    """Run a step for each turn, and answer with its loss, its seconds, and its seconds of all threads."""
    once = {"chomp": chomp_side, "pytorch": pytorch_side}[side](shape, data)
    turns.send("ready")
    while True:
        try:
            turns.recv()
        except EOFError:
            return
        started, used = time.perf_counter(), time.process_time()
        loss = once()
        turns.send((loss, time.perf_counter() - started, time.process_time() - used))


@contextmanager
def sides(shape: str) -> Iterator[dict[str, Connection]]:
    """Both processes, ready, by name."""
    spawn = multiprocessing.get_context("spawn")
    ends = spawn.Pipe()
    turns, processes = {}, []
    for side, end in zip(SIDES, ends, strict=True):
        turns[side], theirs = spawn.Pipe()
        processes.append(spawn.Process(target=serve, args=(side, shape, end, theirs), daemon=True))
        processes[-1].start()
        for mine in (end, theirs):
            # With the copy here open, the end of that process would go unnoticed.
            mine.close()
    try:
        for turn in turns.values():
            turn.recv()
        yield turns
    finally:
        for turn in turns.values():
            turn.close()
        for process in processes:
            process.join()


def compare(shape: str, repeats: int) -> None:
    """Print both sides' times at one shape."""
    found: dict[str, list[tuple[float, float, float]]] = {side: [] for side in SIDES}
    with sides(shape) as turns:
        # The first steps pay for memory that is touched for the first time.
        for _ in range(repeats + 2):
            for side, turn in turns.items():
                turn.send(None)
                found[side].append(turn.recv())
    losses = {side: [loss for loss, *_ in found[side]] for side in SIDES}
    if not np.allclose(losses["pytorch"], losses["chomp"], rtol=LOSS_TOLERANCE, atol=0):
        raise SystemExit(f"{shape}: the two sides compute different things: losses {losses}")
    train = configuration(shape).train
    print(f"{shape}: {train.batch_size} x {train.seq_len} tokens, first loss {losses['chomp'][0]:.4f}")
    for side in SIDES:
        wall, used = ([1e3 * one[place] for one in found[side][2:]] for place in (1, 2))
        print(
            f"  {side:<8} median {statistics.median(wall):8.1f} ms [{min(wall):.1f} .. {max(wall):.1f}], "
            f"of all threads {statistics.median(used):8.1f} ms"
        )
    for place, name in ((1, "time"), (2, "time of all threads")):
        pairs = zip(found["chomp"][2:], found["pytorch"][2:], strict=True)
        ratio = statistics.median(ours[place] / theirs[place] for ours, theirs in pairs)
        print(f"  {name} of chomp's step over PyTorch's, median of pairs: {ratio:.2f}")


def main() -> None:
    """Measure the asked shapes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shape", choices=tuple(SHAPES), action="append", help=f"default: {' and '.join(SHAPES)}")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed, so nothing is compared: pip install -e '.[verify]'")
        return
    for shape in options.shape or SHAPES:
        compare(shape, options.repeats)


if __name__ == "__main__":
    main()
