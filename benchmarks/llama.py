"""The Llama step against a plain JAX transcription of the same maths, and how long it waits for token files.

The transcription is nested dictionaries and `jnp` alone: no modules, no checks, no metrics but the loss. Both take
turns on one batch of continuous rows, from the same parameters, with the same AdamW; their first losses must agree.

python -m benchmarks.llama [--repeats N]
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("EQX_ON_ERROR", "off")

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.sessions import line, open_trainer
from benchmarks.step import make_batch
from chomp.config import Config, load_config
from chomp.data.batch import Batch
from chomp.model.llama import LlamaModel
from chomp.step.state import init_state
from chomp.step.train_step import compile_train_step
from chomp.train.blueprint import build_blueprint

LLAMA = Path(__file__).parent.parent / "configs" / "quickstart_llama.yaml"
COMMON = ("optim.name=adamw", "optim.weight_decay=0", "data.isolate_documents=false", "train.allow_cpu=true")
# The second is a sixth of `nano-125m`, of its layers as of its vocabulary.
SHAPES = {
    "quickstart": ("model.vocab_size=384",),
    "nano-125m": (
        "model.preset=nano-125m",
        "model.model_dim=768",
        "model.num_layers=2",
        "model.num_heads=12",
        "model.num_kv_heads=12",
        "model.ffn_hidden_dim=2176",
        "model.vocab_size=8384",
        "train.batch_size=1",
        "train.seq_len=1024",
    ),
}
LOSS_TOLERANCE = 1e-4

Params = dict[str, Any]
Step = Callable[[Any, Any], tuple[Any, Any]]


def as_dictionaries(model: LlamaModel) -> Params:
    """Copies of the parameters, under the transcription's names."""
    layers = [
        {
            "attention_norm": block.attn_norm.weight,
            **{name: getattr(block.attn, name).weight for name in ("wq", "wk", "wv", "wo")},
            "ffn_norm": block.ffn_norm.weight,
            **{name: getattr(block.ffn, name).weight for name in ("gate", "up", "down")},
        }
        for block in model.blocks
    ]
    params = {"embed": model.embed.weight, "layers": layers, "norm": model.norm.weight}
    if model.lm_head is not None:
        params["head"] = model.lm_head.weight
    return jax.tree.map(jnp.copy, params)


def plain_loss(params: Params, ids: jax.Array, heads: int, kv_heads: int, base: float, eps: float) -> jax.Array:
    """Mean next-token cross-entropy of `ids`, `[B, T]`."""

    def normed(x: jax.Array, weight: jax.Array) -> jax.Array:
        return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + eps) * weight

    def turned(x: jax.Array) -> jax.Array:
        half = x.shape[-1] // 2
        angles = jnp.arange(x.shape[1])[:, None] * base ** (-jnp.arange(half) / half)
        cos, sin = jnp.cos(angles)[None, :, None], jnp.sin(angles)[None, :, None]
        a, b = x[..., :half], x[..., half:]
        return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def layer(x: jax.Array, p: Params) -> jax.Array:
        rows, length, dim = x.shape
        h = normed(x, p["attention_norm"])
        q = turned((h @ p["wq"].T).reshape(rows, length, heads, -1))
        k = turned((h @ p["wk"].T).reshape(rows, length, kv_heads, -1))
        v = (h @ p["wv"].T).reshape(rows, length, kv_heads, -1)
        k, v = (jnp.repeat(part, heads // kv_heads, axis=2) for part in (k, v))
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / jnp.sqrt(q.shape[-1])
        scores = jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -jnp.inf)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, -1), v)
        x = x + mixed.reshape(rows, length, dim) @ p["wo"].T
        h = normed(x, p["ffn_norm"])
        return x + (jax.nn.silu(h @ p["gate"].T) * (h @ p["up"].T)) @ p["down"].T

    x = params["embed"][ids]
    for one in params["layers"]:
        x = layer(x, one)
    head = params["head"] if "head" in params else params["embed"]
    logits = normed(x, params["norm"])[:, :-1] @ head.T
    picked = jnp.take_along_axis(logits, ids[:, 1:, None], -1)[..., 0]
    return jnp.mean(jax.nn.logsumexp(logits, -1) - picked)


def plain_step(config: Config, model: LlamaModel) -> tuple[Step, Any]:
    """The transcription's step and its state."""
    attention = model.blocks[0].attn
    optim, settings = config.optim, (attention.heads, attention.kv_heads, model.rates.base, model.norm.eps)
    update = optax.chain(
        optax.clip_by_global_norm(optim.grad_clip_norm),
        optax.adamw(optim.lr, optim.adam.b1, optim.adam.b2, optim.adam.eps, weight_decay=optim.weight_decay),
    )

    def step(state: Any, ids: jax.Array) -> tuple[Any, jax.Array]:
        params, moments = state
        loss, grads = jax.value_and_grad(plain_loss)(params, ids, *settings)
        updates, moments = update.update(grads, moments, params)
        return (optax.apply_updates(params, updates), moments), loss

    params = as_dictionaries(model)
    return jax.jit(step, donate_argnums=0), (params, update.init(params))


def chomp_step(config: Config, batch: Batch) -> tuple[Step, Any, LlamaModel]:
    """chomp's own step, its state, and the model that the state begins with."""
    blueprint = build_blueprint(config, jax.default_backend())
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), batch)
    compiled = compile_train_step(blueprint.train_step(), blueprint.state, shapes)
    state = init_state(blueprint.model_def, blueprint.optimizer, 0)
    model = blueprint.model_def.combine(state.params)
    assert isinstance(model, LlamaModel)
    return compiled, state, model


def compare(shape: str, repeats: int) -> None:
    """Print both steps' times at one shape."""
    config = load_config(LLAMA, (*SHAPES[shape], *COMMON)).config
    batch = make_batch(config, 200)
    ours, our_state, model = chomp_step(config, batch)
    plain, plain_state = plain_step(config, model)
    ids = jnp.asarray(batch.input_ids[0])
    seconds: dict[str, list[float]] = {"plain": [], "chomp": []}
    losses: dict[str, float] = {}
    for _ in range(repeats + 1):
        started = time.perf_counter()
        plain_state, loss = jax.block_until_ready(plain(plain_state, ids))
        seconds["plain"].append(time.perf_counter() - started)
        started = time.perf_counter()
        our_state, metrics = jax.block_until_ready(ours(our_state, batch))
        seconds["chomp"].append(time.perf_counter() - started)
        losses = losses or {"plain": float(loss), "chomp": float(metrics.loss)}
    if abs(losses["plain"] - losses["chomp"]) > LOSS_TOLERANCE:
        raise SystemExit(f"{shape}: the transcription computes something else: first losses {losses}")
    print(f"{shape}: {' x '.join(map(str, ids.shape))} tokens, first loss {losses['chomp']:.4f}")
    for name, taken in seconds.items():
        print(line(f"  {name}", taken[1:]))
    ratios = [one / other for one, other in zip(seconds["plain"][1:], seconds["chomp"][1:], strict=True)]
    print(f"  speed of chomp's over the plain one's, median of pairs {statistics.median(ratios):.3f} (goal 1.0)")


def data_wait(repeats: int) -> None:
    """Print how long a step of the quickstart's Llama waits for its batch when text is a token file."""
    with tempfile.TemporaryDirectory() as folder:
        ids = np.random.default_rng(0).integers(3, 259, 4_000_000).astype("<u4")
        ids.tofile(Path(folder) / "tokens.bin")
        overrides = (
            "data.backend=tokens",
            f"data.tokens_path={folder}/tokens.bin",
            "data.tokens_dtype=uint32",
            "train.steps=1000000",
            "train.eval_every=0",
            "train.generate_every=0",
            "checkpoint.enabled=false",
        )
        waits, steps = [], []
        with open_trainer(*overrides, config=LLAMA) as trainer:
            assert trainer.program is not None
            for _ in range(repeats + 1):
                started = time.perf_counter()
                batch = next(trainer.batches)
                waits.append(time.perf_counter() - started)
                trainer.state, metrics = trainer.program.step(trainer.state, batch)
                jax.block_until_ready((trainer.state, metrics))
                steps.append(time.perf_counter() - started)
    share = statistics.median(wait / step for wait, step in zip(waits[1:], steps[1:], strict=True))
    print(f"token file: a step waits {1e3 * statistics.median(waits[1:]):.2f} ms for its batch, {share:.2%} (goal 1 %)")


def main() -> None:
    """Measure both shapes, then the wait."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    for shape in SHAPES:
        compare(shape, options.repeats)
    data_wait(4 * options.repeats)


if __name__ == "__main__":
    main()
