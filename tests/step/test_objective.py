"""Terms of the objective against their formulas in numpy, and what a step makes of them."""

import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chomp.data.batch import Batch
from chomp.model.loss import loss_mask
from chomp.model.mtp import later_mask
from chomp.step.eval_step import make_eval_step
from chomp.step.train_step import StepMetrics
from chomp.train.footprint import activation_bytes
from tests.model.tiny import loss_sum, packed_batch, parts, tiny_config
from tests.step.running import copied, same, started

ALL = {"label_smoothing": 0.1, "z_loss": 0.01, "token_filter_keep": 0.4, "mtp_heads": 2, "mtp_weight": 0.5}
# With a huge epsilon Adam's first update is the gradient times 1 / EPS: at this rate, the gradient itself.
EPS = 1e6
POSITIONS, FLOAT32_BYTES = 46, 4
LINEAR = {
    "lr": EPS, "warmup_steps": 0, "weight_decay": 0.0, "grad_clip_norm": 0, "adam": {"eps": EPS, "b1": 0.0, "b2": 0.0}
}  # fmt: skip


@functools.cache
def _compiled(backend: str, objective: str, accum: int, rows: int, chunk: int | None) -> Any:
    config = tiny_config(
        backend,
        model={"loss_chunk_size": chunk},
        objective=json.loads(objective),
        optim=LINEAR,
        train={"batch_size": rows, "grad_accum": accum},
    )
    return config, *started(config, packed_batch(0, accum=accum, rows=rows))


def one_step(
    batch: Batch, objective: dict[str, Any], backend: str = "dummy", chunk: int | None = None
) -> tuple[StepMetrics, Any, Any]:
    """Metrics, the parameters before the step, and the gradient it followed."""
    accum, rows = batch.input_ids.shape[:2]
    _, step, state = _compiled(backend, json.dumps(objective), accum, rows, chunk)
    before = jax.tree.map(np.asarray, state.params)
    after, metrics = step(copied(state), batch)
    return metrics, before, jax.tree.map(lambda old, new: old - np.asarray(new), before, after.params)


def trunk(tree: Any) -> Any:
    return getattr(tree, "trunk", tree)


def log_probs(logits: np.ndarray) -> np.ndarray:
    largest = logits.max(axis=-1, keepdims=True)
    return logits - largest - np.log(np.exp(logits - largest).sum(axis=-1, keepdims=True))


class Reference:
    """The dummy model's terms in numpy, in double precision, one micro-batch at a time."""

    def __init__(self, params: Any) -> None:
        own = trunk(params)
        self.embed, self.head, self.bias = (
            np.asarray(leaf, np.float64) for leaf in (own.embed.weight, own.lm_head.weight, own.lm_head.bias)
        )
        self.heads = [np.asarray(head.transform.weight, np.float64) for head in getattr(params, "mtp", ())]

    def logits(self, ids: np.ndarray, head: int = 0) -> np.ndarray:
        states = self.embed[ids]
        if head:
            pre = states @ self.heads[head - 1].T
            states = states + pre / (1 + np.exp(-pre))
        return states @ self.head.T + self.bias

    def terms(self, ids: np.ndarray, labels: np.ndarray, segments: np.ndarray, keep: float, share: float) -> Any:
        """Sums and counts by name, position by position."""
        sums: dict[str, list[float]] = {}
        ranked = []
        logits, later = self.logits(ids), [self.logits(ids, head + 1) for head in range(len(self.heads))]
        for row in range(ids.shape[0]):
            for t in range(ids.shape[1] - 1):
                if labels[row, t + 1] < 0 or segments[row, t + 1] == 0 or segments[row, t] != segments[row, t + 1]:
                    continue
                scores = log_probs(logits[row, t])
                plain = -scores[labels[row, t + 1]]
                smoothed = (1 - share) * plain - share * scores.mean()
                sums.setdefault("loss", []).append(plain)
                sums.setdefault("smoothed_loss", []).append(smoothed)
                sums.setdefault("z_loss", []).append(float(np.log(np.exp(logits[row, t]).sum()) ** 2))
                ranked.append((plain, smoothed))
                for head, scored in enumerate(later, start=1):
                    ahead = range(t + 1, t + 2 + head)
                    if ahead[-1] < ids.shape[1] and all(
                        labels[row, k] >= 0 and segments[row, k] == segments[row, t] for k in ahead
                    ):
                        value = -log_probs(scored[row, t])[labels[row, t + 1 + head]]
                        sums.setdefault(f"mtp_loss_{head}", []).append(value)
        kept = sorted(ranked, reverse=True)[: round(keep * (ids.size - len(ids)))]
        sums["filtered_loss"] = [smoothed for _, smoothed in kept]
        return sums

    def means(self, batch: Batch, keep: float = 1.0, share: float = 0.0) -> dict[str, float]:
        together: dict[str, list[float]] = {}
        for micro in range(batch.input_ids.shape[0]):
            ids, labels, segments = (field[micro] for field in (batch.input_ids, batch.labels, batch.segment_ids))
            for name, values in self.terms(ids, labels, segments, keep, share).items():
                together.setdefault(name, []).extend(values)
        return {name: float(np.mean(values)) for name, values in together.items()}


@pytest.mark.parametrize("chunk", [None, 7])
def test_every_term_is_its_formula(chunk: int | None) -> None:
    batch = packed_batch(3, accum=2)
    metrics, params, _ = one_step(batch, ALL, chunk=chunk)
    expected = Reference(params).means(batch, keep=0.4, share=0.1)
    assert float(metrics.loss) == pytest.approx(expected.pop("loss"), rel=2e-6)
    assert {name: float(value) for name, value in metrics.terms.items()} == pytest.approx(expected, rel=2e-6)


def test_the_filter_keeps_a_fixed_number_and_all_of_too_few() -> None:
    """46 positions: a share of 0.4 keeps 18; of a micro-batch with fewer loss tokens all, and none that has no loss."""
    batch = packed_batch(3, accum=2)
    few = batch.labels.copy()
    few[1, :, 4:] = -100
    batch = batch._replace(labels=few)
    left = int(loss_mask(few[1], batch.segment_ids[1]).sum())
    assert 0 < left < 18 < loss_mask(few[0], batch.segment_ids[0]).sum()
    metrics, params, _ = one_step(batch, {"token_filter_keep": 0.4})
    expected = Reference(params).means(batch, keep=0.4)
    assert float(metrics.terms["filtered_loss"]) == pytest.approx(expected["filtered_loss"], rel=2e-6)
    assert float(metrics.loss) == pytest.approx(expected["loss"], rel=2e-6)


@pytest.mark.parametrize(
    ("objective", "parts_of_it"),
    [
        ({"label_smoothing": 0.2}, {"smoothed_loss": 1.0}),
        ({"z_loss": 0.05}, {"loss": 1.0, "z_loss": 0.05}),
        ({"token_filter_keep": 0.3}, {"filtered_loss": 1.0}),
        ({"mtp_heads": 2, "mtp_weight": 0.5}, {"loss": 1.0, "mtp_loss_1": 0.25, "mtp_loss_2": 0.25}),
        (ALL, {"filtered_loss": 1.0, "z_loss": 0.01, "mtp_loss_1": 0.25, "mtp_loss_2": 0.25}),
    ],
    ids=["smoothing", "z_loss", "filter", "mtp", "all"],
)
def test_the_gradient_is_that_of_the_weighed_sum_of_the_meters(
    objective: dict[str, Any], parts_of_it: dict[str, float]
) -> None:
    """By central differences of the formulas in numpy, along a random direction through all parameters."""
    batch = packed_batch(5, accum=2)
    metrics, params, gradient = one_step(batch, objective)
    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), params)
    keep, share = objective.get("token_filter_keep", 1.0), objective.get("label_smoothing", 0.0)

    def at(distance: float) -> float:
        moved = jax.tree.map(lambda leaf, way: leaf.astype(np.float64) + distance * way, params, direction)
        means = Reference(moved).means(batch, keep, share)
        return sum(weight * means[name] for name, weight in parts_of_it.items())

    slope = (at(1e-6) - at(-1e-6)) / 2e-6
    ways = zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    assert sum(float((part * way).sum()) for part, way in ways) == pytest.approx(slope, rel=1e-3)
    assert set(metrics.terms) == (parts_of_it.keys() | set(metrics.terms)) - {"loss"}


@pytest.mark.parametrize("backend", ["dummy", "llama", "megalodon"])
def test_accumulation_equals_one_large_batch(backend: str) -> None:
    """Every term but the filter, which chooses within a micro-batch, and the gradient of their sum; in fp32."""
    objective = {name: value for name, value in ALL.items() if name != "token_filter_keep"}
    split = packed_batch(11, accum=3)
    whole = jax.tree.map(lambda field: field.reshape(1, 6, -1), split)
    metrics, params, gradient = one_step(split, objective, backend, chunk=16)
    at_once, _, expected = one_step(whole, objective, backend, chunk=None)
    assert metrics.terms.keys() == {"smoothed_loss", "z_loss", "mtp_loss_1", "mtp_loss_2"}
    for name, value in {"loss": metrics.loss, "grad_norm": metrics.grad_norm, **metrics.terms}.items():
        other = at_once.terms.get(name, getattr(at_once, name, None))
        assert float(value) == pytest.approx(float(other), rel=2e-6), name
    for got, want in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)
    model = parts(tiny_config(backend))[0].combine(trunk(params))
    plain, tokens = loss_sum(
        model, *(jnp.asarray(field[0]) for field in (whole.input_ids, whole.labels, whole.segment_ids))
    )
    assert float(metrics.loss) == pytest.approx(float(plain) / int(tokens), rel=2e-6), "the model's own loss"


def test_evaluation_is_plain() -> None:
    """The trunk with and without heads scores alike, and nothing of the objective is in it."""
    batch = packed_batch(1)
    rows = jax.tree.map(lambda field: field[0], batch)
    (without, *_), (with_heads, *_) = parts(tiny_config("llama")), parts(tiny_config("llama", objective=ALL))
    params, extended = without.init(jax.random.key(0)), with_heads.init(jax.random.key(0))
    assert same(params, extended.trunk), "heads do not change how the trunk is drawn"
    one = make_eval_step(without, isolate=True)(params, rows)
    other = make_eval_step(with_heads, isolate=True)(extended, rows)
    assert same(one, other)


def test_a_batch_without_loss_tokens_is_zero_and_moves_nothing() -> None:
    batch = packed_batch(1, accum=2)
    batch = batch._replace(labels=np.full_like(batch.labels, -100))
    metrics, _, gradient = one_step(batch, ALL)
    assert float(metrics.loss) == float(metrics.grad_norm) == 0.0
    assert all(float(value) == 0.0 for value in metrics.terms.values())
    assert not any(leaf.any() for leaf in jax.tree.leaves(gradient))


def test_a_head_is_trained_where_all_tokens_up_to_its_own_are_loss_tokens() -> None:
    """Labels alone: in a continuous row, what is left out at the start of a document ends the look ahead as well."""
    labels = np.array([[5, 6, 7, -100, 8, 9, 4, 3]])
    counted = loss_mask(labels, None, isolate=False)
    masks = [later_mask(jnp.asarray(counted), head) for head in (1, 2, 3)]
    assert [np.flatnonzero(mask).tolist() for mask in masks] == [[0, 3, 4, 5], [3, 4], [3]]
    assert all(mask.shape == counted.shape for mask in masks)
    documents = np.array([[1, 1, 1, 1, 2, 2, 2, 0]])
    isolated = loss_mask(np.abs(labels), documents)
    assert np.flatnonzero(later_mask(jnp.asarray(isolated), 1)).tolist() == [0, 1, 4]


@pytest.mark.parametrize("backend", ["dummy", "llama"])
def test_heads_are_counted(backend: str) -> None:
    (without, *_), (with_heads, *_) = (parts(tiny_config(backend, objective={"mtp_heads": n})) for n in (0, 3))
    dim, outputs = without.config.model_dim, without.outputs
    assert outputs == 61
    assert with_heads.parameter_breakdown()["prediction_heads"] == 3 * dim**2
    assert with_heads.parameter_count == without.parameter_count + 3 * dim**2
    extra = with_heads.flops_per_token(24) - without.flops_per_token(24)
    assert extra == 3 * 3 * 2 * (dim * dim + dim * outputs)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_heads_are_updated_by_the_rule_of_hidden_matrices(name: str) -> None:
    model_def, optimizer, _ = parts(tiny_config("llama", objective={"mtp_heads": 2}, optim={"name": name}))
    given = {one.path: one for one in optimizer.assigned}
    for head in range(2):
        one = given[f"mtp.{head}.transform.weight"]
        assert (one.group, one.decays) == ("muon" if name == "muon" else "adam", True)
    assert given[model_def.embedding_path].group == "adam"


def test_logits_of_extra_heads_are_not_kept() -> None:
    """With three heads more, the backward pass keeps less than one head's logits more."""
    kept = []
    for heads in (1, 4):
        config = tiny_config("dummy", model={"vocab_size": 4001}, objective={"mtp_heads": heads})
        kept.append(activation_bytes(parts(config)[0], config))
    assert kept[1] - kept[0] < FLOAT32_BYTES * POSITIONS * 4001
