"""One optimizer update as a pure function, compiled once."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from chomp.config.schema import Config
from chomp.data.batch import Batch
from chomp.model.base import ModelInputs, model_inputs
from chomp.model.build import ModelDef
from chomp.optim.build import Optimizer
from chomp.optim.conditional import select
from chomp.parallel.gather import AXIS, tied, whole
from chomp.parallel.mesh import ONE_DEVICE, Placement
from chomp.parallel.sums import gradient_sums_on_mesh
from chomp.step.ema import averaged
from chomp.step.objective import Counts, LossSums, Objective, SourceSums, build_objective
from chomp.step.spikes import SpikeVerdict, SpikeWindow, make_judge, refuses_spikes
from chomp.step.state import TrainState

NO_TILES = "Couldn't find output tile sizes"
SCATTER_BYTES = "xla_gpu_reduce_scatter_combine_threshold_bytes"
# Of whole gradients that are scattered together: what XLA does by itself on eight devices.
MOST_WHOLE_BYTES = 8 * 30 * 2**20
NO_TRITON = {"xla_gpu_enable_triton_gemm": False}


class StepMetrics(NamedTuple):
    """What one step reports, all scalars on the device.

    Attributes:
        loss: mean negative log-likelihood per loss token, in nats; 0 when the batch has no loss token.
        grad_norm: global norm of the mean gradient, before clipping.
        lr: learning rate of this step's update.
        group_lrs: those of parameter groups with a rate of their own, by name: `lr_muon`.
        tokens: loss tokens in the batch.
        finite: loss and gradient norm were finite and the run was not latched by an earlier step that was not.
        skipped: steps skipped so far for not being finite.
        skipped_in_a_row: how many of the last steps were.
        terms: further numbers by their names in metrics rows. The further terms of the objective are such: each is the
            mean over its own tokens.
        spike: the verdict about loss and gradient norm, if the step judges them.
        by_source: loss and tokens by source, as sums; None without a mixture.
    """

    loss: Float[Array, ""]
    grad_norm: Float[Array, ""]
    lr: Float[Array, ""]
    group_lrs: Mapping[str, Float[Array, ""]]
    tokens: Int[Array, ""]
    finite: Bool[Array, ""]
    skipped: Int[Array, ""]
    skipped_in_a_row: Int[Array, ""]
    terms: Mapping[str, Float[Array, ""]] = MappingProxyType({})
    spike: SpikeVerdict | None = None
    by_source: SourceSums | None = None


class GradientSums(NamedTuple):
    """Sums over a batch: what is measured, and the gradient of the objective times the loss tokens."""

    measured: LossSums
    grads: PyTree


TrainStep: TypeAlias = Callable[[TrainState, Batch], tuple[TrainState, StepMetrics]]


def make_train_step(
    model_def: ModelDef, optimizer: Optimizer, config: Config, placement: Placement = ONE_DEVICE
) -> TrainStep:
    """Return (state, batch) -> (state, metrics); tracing it twice raises `RuntimeError`.

    The gradient is that of the objective (`chomp.step.objective`): without further terms, of the mean loss over all
    loss tokens of the batch, whatever its split into micro-batches. It is clipped once, by the norm that is reported. A
    step whose loss or gradient norm is not finite leaves parameters and optimizer state as they were:

    - `debug.nonfinite: halt` and `rollback`: nothing but the skip counters changes, not even `step`, and every later
      step leaves the state alone until `release_latch`; going back is the host's part;
    - `skip`: `step` advances, the skip is counted, and the next finite step sets `skipped_in_a_row` to zero.

    A spike is refused, too: under `debug.spikes: skip` only `step` advances, under `rollback` nothing does until
    `release_spike_latch`. Learning rates are multiplied by the state's `lr_factor` up to and with step
    `lr_factor_until`, whatever the policy: a run keeps its bits when the policy changes. A batch without any
    loss token is a step with loss 0 and no update (a decay without a gradient would be one).

    Args:
        model_def: the model; its `deterministic` decides about dropout.
        optimizer: for the same model.
        config: `objective`, `optim.grad_clip_norm`, `optim.ema.decay`, `data.isolate_documents` and `debug` are read.
        placement: the mesh, over which the rows of each micro-batch are shared out.
    """
    sources = len(config.data.mixture.sources)
    objective, isolate = build_objective(config.objective, model_def, sources), config.data.isolate_documents
    sum_gradients = _make_gradient_sums(objective, model_def, placement, sources)
    clip_norm, guard, halting = config.optim.grad_clip_norm, _make_guard(config), config.debug.nonfinite != "skip"

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, StepMetrics]:
        inputs = model_inputs(batch, isolate)
        counts = objective.counts(inputs)
        (total, tokens, terms, by_source), grad_sums = sum_gradients(state.params, inputs, counts, state.dropout_key())
        denominator = jnp.maximum(tokens, 1).astype(jnp.float32)
        loss = total / denominator
        grad_norm = optax.tree.norm(grad_sums) / denominator
        scale = _clip_scale(grad_norm, clip_norm) / denominator
        grads = jax.tree.map(lambda total: total * scale, grad_sums)

        latched = jnp.logical_and(halting, state.skipped_in_a_row > 0)
        good = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        guarded = guard(state, loss, grad_norm, good, latched, tokens)
        updated, rates = _updated(optimizer, state, grads, guarded.applied, config.optim.ema.decay)
        new_state = _counted(updated, good, guarded, halting)
        metrics = StepMetrics(
            loss=loss,
            grad_norm=grad_norm,
            lr=rates["lr"],
            group_lrs={name: rate for name, rate in rates.items() if name != "lr"},
            tokens=tokens,
            finite=good & ~guarded.latched,
            skipped=new_state.skipped,
            skipped_in_a_row=new_state.skipped_in_a_row,
            terms={name: term / jnp.maximum(counts[name], 1) for name, term in terms.items()},
            spike=guarded.verdict,
            by_source=by_source,
        )
        return new_state, metrics

    return eqx.debug.assert_max_traces(train_step, max_traces=1)


class Guarded(NamedTuple):
    """What becomes of a step.

    Attributes:
        applied: its update is applied.
        latched: an earlier step was bad, and nothing moves until a release.
        window: of the new state, and `verdict`, if the step judges.
        stays: not even `step` advances because of a spike; None where that cannot be.
    """

    applied: Bool[Array, ""]
    latched: Bool[Array, ""]
    window: SpikeWindow | None = None
    verdict: SpikeVerdict | None = None
    stays: Bool[Array, ""] | None = None


def _make_guard(config: Config) -> Callable[..., Guarded]:
    """Return (state, loss, gradient norm, good, latched, tokens) -> `Guarded`."""

    def plain(state: TrainState, loss: Any, grad_norm: Any, good: Any, latched: Any, tokens: Any) -> Guarded:
        return Guarded(good & ~latched & (tokens > 0), latched)

    if not refuses_spikes(config):
        return plain
    judge, goes_back = make_judge(config), config.debug.spikes == "rollback"

    def guard(state: TrainState, loss: Any, grad_norm: Any, good: Any, latched: Any, tokens: Any) -> Guarded:
        window = state.spikes
        assert window is not None, "the state was made for a step that judges"
        if goes_back:
            latched |= window.refused_in_a_row > 0
        fit = plain(state, loss, grad_norm, good, latched, tokens).applied
        judged, verdict = judge(window, loss, grad_norm, fit, state.updates)
        return Guarded(fit & ~verdict.found, latched, judged, verdict, verdict.found | latched if goes_back else None)

    return guard


def compile_train_step(train_step: TrainStep, state: TrainState, batch: Batch) -> jax.stages.Compiled:
    """Compile ahead of time with the state donated: the compiled call consumes the state it is given.

    Args:
        train_step: from `make_train_step`.
        state: shapes, from `abstract_state`.
        batch: shapes `[accum, batch, seq]`, as `jax.ShapeDtypeStruct`.

    Returns:
        The compiled call, with `memory_analysis()`; any other shape is an error, not a second compilation.
    """
    return lower_train_step(train_step, state, batch).compile()


def lower_train_step(train_step: TrainStep, state: TrainState, batch: Batch) -> jax.stages.Lowered:
    """Trace with the state donated; arguments are those of `compile_train_step`.

    On a mesh their shapes carry shardings, and the new state lies where the old one did.
    """
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    if isinstance(shardings.step, jax.sharding.NamedSharding):
        return jax.jit(
            train_step,
            donate_argnums=0,
            out_shardings=(shardings, shardings.step),
            compiler_options=_mesh_options(shardings.step.mesh, os.environ.get("XLA_FLAGS", "")),
        ).lower(state, batch)
    return jax.jit(train_step, donate_argnums=0).lower(state, batch)


def _mesh_options(mesh: Any, flags: str) -> dict[str, int]:
    """Options of the compiler for GPUs that share parameters.

    XLA waits until gradients come to 30 MiB on each device before it scatters them together. On 64 devices that is 2 GB
    of whole gradients, several times over: 30 GiB for a model of 6.6 billion parameters, where 6 GiB are enough
    (docs/scale.md).

    Args:
        flags: `XLA_FLAGS`, which may hold a choice of the user.
    """
    parts = mesh.shape[AXIS]
    if parts <= 8 or SCATTER_BYTES in flags or mesh.devices.flat[0].platform == "cpu":
        return {}
    return {SCATTER_BYTES: MOST_WHOLE_BYTES // parts}


def compile_lowered(lowered: jax.stages.Lowered) -> tuple[jax.stages.Compiled, dict[str, bool]]:
    """Compile for the device it was lowered for.

    For some products XLA finds no tiles of a Triton kernel that a GPU can run, and gives up (jax 0.10.2, compute
    capability 8.9): cuBLAS then computes all of them.

    Returns:
        The program, and the options of the compiler without which there is none.
    """
    try:
        return lowered.compile(), {}
    except jax.errors.JaxRuntimeError as error:
        if NO_TILES not in str(error):
            raise
        return lowered.compile(compiler_options=dict(NO_TRITON)), NO_TRITON


def _make_gradient_sums(
    objective: Objective, model_def: ModelDef, placement: Placement, sources: int
) -> Callable[[PyTree, ModelInputs, Counts, PRNGKeyArray], GradientSums]:
    """Return (params, inputs, counts, key) -> sums over all micro-batches, with fp32 gradients.

    A single micro-batch goes through the same scan: XLA removes a loop of one turn (equal bits, time and temporary
    memory were measured on CPU).
    """

    def one(params: PyTree, inputs: ModelInputs, counts: Counts, key: PRNGKeyArray) -> GradientSums:
        def sums(params: PyTree) -> tuple[Float[Array, ""], LossSums]:
            return objective.sums(whole(params, but=model_def.layer), inputs, counts, key)

        (_, measured), grads = jax.value_and_grad(sums, has_aux=True)(params)
        return GradientSums(measured, jax.tree.map(lambda grad: grad.astype(jnp.float32), grads))

    def sum_gradients(params: PyTree, inputs: ModelInputs, counts: Counts, key: PRNGKeyArray) -> GradientSums:
        def add(sums: GradientSums, item: tuple[Int[Array, ""], ModelInputs]) -> tuple[GradientSums, None]:
            index, micro = item
            own_key = jax.random.fold_in(key, index)
            return jax.tree.map(jnp.add, sums, one(tied(params, micro), micro, counts, own_key)), None

        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), params)
        terms = {name: jnp.zeros((), jnp.float32) for name in counts if name != "loss"}
        none = SourceSums(jnp.zeros(sources, jnp.float32), jnp.zeros(sources, jnp.int32)) if sources else None
        measured = LossSums(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32), terms, none)
        sums, _ = jax.lax.scan(add, GradientSums(measured, zeros), (jnp.arange(len(inputs.labels)), inputs))
        return sums

    if placement.mesh is not None:
        return gradient_sums_on_mesh(sum_gradients, placement, model_def.gathered_dtype)
    return sum_gradients


def _clip_scale(norm: Float[Array, ""], limit: float) -> Float[Array, ""]:
    """Return the factor that brings a gradient of this norm down to `limit`; 1 below it, or when `limit` is 0."""
    if limit == 0:
        return jnp.ones((), jnp.float32)
    return jnp.where(norm > limit, limit / norm, 1.0)


def _updated(
    optimizer: Optimizer, state: TrainState, grads: PyTree, applied: Bool[Array, ""], ema_decay: float
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """Return the state with new parameters, where the step is applied, and the learning rates; counters stay."""
    # The name by which `chomp.analysis.structure` knows the update rule's products.
    with jax.named_scope("optimizer"):
        updates, opt_state = optimizer.transform.update(grads, state.opt_state, state.params, applied=applied)
    rates, updates = _slowed(state, optimizer.lr(state.updates), updates)
    params = select(applied, optax.apply_updates(state.params, updates), state.params)
    average = state.ema
    if ema_decay:
        average = averaged(average, params, ema_decay, state.updates + applied.astype(jnp.int32), applied)
    return dataclasses.replace(state, params=params, opt_state=opt_state, ema=average), rates


def _slowed(state: TrainState, rates: dict[str, Float[Array, ""]], updates: PyTree) -> tuple[Any, PyTree]:
    """Return learning rates and updates for the step after `state`, both times the factor that is in force there.

    All that an optimizer adds to the parameters is proportional to its learning rate, weight decay included.
    """
    factor = jnp.where(state.step < state.lr_factor_until, state.lr_factor, 1.0)
    slower = jax.tree.map(lambda update: (update * factor).astype(update.dtype), updates)
    return {name: rate * factor for name, rate in rates.items()}, slower


def _counted(state: TrainState, good: Bool[Array, ""], guarded: Guarded, halting: bool) -> TrainState:
    """Count the step and its update, or that it was skipped."""
    latched, applied = guarded.latched, guarded.applied
    bad = ~good & ~latched
    moves = good & ~latched if halting else jnp.ones((), bool)
    if guarded.stays is not None:
        moves &= ~guarded.stays
    in_a_row: Any = jnp.where(bad, state.skipped_in_a_row + 1, jnp.where(latched, state.skipped_in_a_row, 0))
    return dataclasses.replace(
        state,
        step=state.step + moves.astype(jnp.int32),
        updates=state.updates + applied.astype(jnp.int32),
        skipped=state.skipped + bad.astype(jnp.int32),
        skipped_in_a_row=in_a_row,
        spikes=guarded.window,
    )
