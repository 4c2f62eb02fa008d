"""The maths of a Llama as other programs compute it, in float64, from the files that they read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Shape:
    """Numbers of a Llama.

    Attributes:
        neighbours: which channels are turned together.
        slowing: what divides the rate of each pair; None: nothing does.
    """

    layers: int
    heads: int
    kv_heads: int
    eps: float
    theta: float
    neighbours: bool
    slowing: np.ndarray | None = None


Layer = Callable[[np.ndarray], np.ndarray]
Added = Callable[[int, np.ndarray, Layer], np.ndarray]


def plainly(place: int, x: np.ndarray, layer: Layer) -> np.ndarray:
    """One residual stream."""
    return x + layer(x)


def llama3_slowing(width: int, theta: float, factor: float, original: int) -> np.ndarray:
    """As transformers defines it for `rope_type: llama3` with factors of 1 and 4, pair by pair."""
    slowing = []
    for pair in range(width // 2):
        rate = theta ** (-2 * pair / width)
        wavelength = 2 * np.pi / rate
        if wavelength < original / 4:
            scaled = rate
        elif wavelength > original:
            scaled = rate / factor
        else:
            smooth = (original / wavelength - 1) / (4 - 1)
            scaled = (1 - smooth) * rate / factor + smooth * rate
        slowing.append(rate / scaled)
    return np.array(slowing)


def turned(x: np.ndarray, shape: Shape) -> np.ndarray:
    """Rotary positions of `[T, heads, width]`: neighbours (llama.cpp) or halves (transformers) are one plane."""
    length, _, width = x.shape
    rates = shape.theta ** (-np.arange(0, width, 2) / width)
    angles = np.arange(length)[:, None, None] * (rates if shape.slowing is None else rates / shape.slowing)
    cos, sin = np.cos(angles), np.sin(angles)
    first, second = (x[..., 0::2], x[..., 1::2]) if shape.neighbours else np.split(x, 2, axis=-1)
    one, other = first * cos - second * sin, first * sin + second * cos
    return np.stack([one, other], -1).reshape(x.shape) if shape.neighbours else np.concatenate([one, other], -1)


def logits(
    ids: np.ndarray,
    weights: Mapping[str, np.ndarray],
    names: Mapping[str, str],
    shape: Shape,
    added: Added = plainly,
    streams: int = 1,
) -> np.ndarray:
    """Logits `[T, vocabulary]` of one text.

    Args:
        weights: by name.
        names: embed, norm, head, and with `{}` for a layer's number: in_norm, q, k, v, o, mid_norm, gate, up, down.
        added: how a layer, in this place of the stack, is added to the residual stream, or to `streams` of them.
    """

    def weight(name: str, *number: int) -> np.ndarray:
        return np.asarray(weights[names[name].format(*number)], np.float64)

    def normal(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + shape.eps) * scale

    length, dim = len(ids), weight("embed").shape[1]
    allowed = np.tri(length, dtype=bool)

    def attention(i: int, x: np.ndarray) -> np.ndarray:
        h = normal(x, weight("in_norm", i))
        q, k, v = ((h @ weight(name, i).T).reshape(length, -1, dim // shape.heads) for name in "qkv")
        q, k = (turned(part, shape) for part in (q, k))
        k, v = (np.repeat(part, shape.heads // shape.kv_heads, axis=1) for part in (k, v))
        scores = np.einsum("thd,shd->hts", q, k) / np.sqrt(q.shape[-1])
        scores = np.where(allowed, scores, -np.inf)
        share = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hts,shd->thd", share / share.sum(-1, keepdims=True), v)
        return mixed.reshape(length, dim) @ weight("o", i).T

    def feed_forward(i: int, x: np.ndarray) -> np.ndarray:
        h = normal(x, weight("mid_norm", i))
        gate = h @ weight("gate", i).T
        return (gate / (1 + np.exp(-gate)) * (h @ weight("up", i).T)) @ weight("down", i).T

    x = weight("embed")[ids] if streams == 1 else np.stack([weight("embed")[ids]] * streams)
    for i in range(shape.layers):
        x = added(2 * i, x, functools.partial(attention, i))
        x = added(2 * i + 1, x, functools.partial(feed_forward, i))
    x = x if streams == 1 else x.mean(0)
    head = weight("head") if names["head"] in weights else weight("embed")
    return normal(x, weight("norm")) @ head.T
