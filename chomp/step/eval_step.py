"""Losses of a batch without touching any state."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from chomp.data.batch import Batch
from chomp.model.base import model_inputs
from chomp.model.build import ModelDef
from chomp.model.loss import loss_mask
from chomp.parallel.gather import whole
from chomp.parallel.mesh import ONE_DEVICE, Placement
from chomp.parallel.sums import eval_sums_on_mesh


class EvalSums(NamedTuple):
    """Sums that the host adds up over batches.

    Attributes:
        loss: fp32 sum of negative log-likelihoods in nats over the batch's loss tokens.
        tokens: int32 loss tokens in the batch.
        row_loss: `[batch]` the same sum by row.
        row_tokens: `[batch]` loss tokens by row.
    """

    loss: Float[Array, ""]
    tokens: Int[Array, ""]
    row_loss: Float[Array, " batch"]
    row_tokens: Int[Array, " batch"]


EvalStep: TypeAlias = Callable[[PyTree, Batch], EvalSums]


def make_eval_step(model_def: ModelDef, *, isolate: bool, placement: Placement = ONE_DEVICE) -> EvalStep:
    """Return the compiled (params, batch) -> `EvalSums` for batches of fields `[batch, seq]`, without dropout.

    Bits per byte of a pass is `sum(loss) / ln 2` over the bytes of the `chomp.model.loss.scored_tokens` of the same
    batches, counted on the host.

    Args:
        model_def: the model.
        isolate: `data.isolate_documents`.
        placement: the mesh, over which the rows of a batch are shared out.
    """

    def eval_step(params: PyTree, batch: Batch) -> EvalSums:
        inputs = model_inputs(batch, isolate)
        losses, tokens = model_def.combine(whole(params, but=model_def.layer)).token_losses(inputs)
        counted = loss_mask(inputs.labels, inputs.segment_ids)
        return EvalSums(losses.sum(dtype=jnp.float32), tokens, losses.sum(axis=1), counted.sum(axis=1, dtype=jnp.int32))

    if placement.mesh is None:
        return jax.jit(eval_step)
    return jax.jit(eval_sums_on_mesh(eval_step, placement, model_def.gathered_dtype))
