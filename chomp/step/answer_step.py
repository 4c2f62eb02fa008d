"""Log-likelihoods of answers, one text in a row, in rows of a few lengths that share one program."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, PyTree

from chomp.model.base import ModelInputs
from chomp.model.build import ModelDef
from chomp.model.head import by_chunks
from chomp.parallel.gather import whole
from chomp.parallel.mesh import ONE_DEVICE, Placement
from chomp.parallel.sums import eval_sums_on_mesh


class AnswerBatch(NamedTuple):
    """Texts as rows of one length: each device has as many tokens, cut into rows.

    Attributes:
        input_ids: the rows of a device one after another; a text fills its row from the first position on.
        is_answer: which positions hold a token whose likelihood counts; never the first of a row.
        length: the number of the rows' length among those of the program, the same for all devices.
    """

    input_ids: Int[np.ndarray, "devices tokens"]
    is_answer: Bool[np.ndarray, "devices tokens"]
    length: Int[np.ndarray, " devices"]


class AnswerScores(NamedTuple):
    """What the model says of each token of a batch.

    Attributes:
        losses: fp32 negative log-likelihoods in nats, 0 where `is_answer` is false.
        likeliest: whether no other id is likelier; true where `is_answer` is false.
    """

    losses: Float[Array, "devices tokens"]
    likeliest: Bool[Array, "devices tokens"]


AnswerStep: TypeAlias = Callable[[PyTree, Any], AnswerScores]


def make_answer_step(model_def: ModelDef, lengths: Sequence[int], *, placement: Placement = ONE_DEVICE) -> AnswerStep:
    """Return the compiled (params, `AnswerBatch`) -> `AnswerScores`, without dropout.

    Models are causal and a text begins with its row, so that neither padding nor another row changes its scores.

    Args:
        model_def: the model.
        lengths: of rows; each divides the tokens of a device.
        placement: the mesh, over which the rows of a batch are shared out.
    """

    def answer_step(params: PyTree, batch: AnswerBatch) -> AnswerScores:
        model = model_def.combine(whole(params, but=model_def.layer))

        def score(length: int, ids: Array, counted: Array) -> AnswerScores:
            rows = ids.reshape(-1, length)
            hidden = model.hidden_states(ModelInputs(rows, rows))
            flat = hidden[:, :-1].reshape(-1, hidden.shape[-1])

            def reduce(some: Float[Array, "n dim"], targets: Int[Array, " n"]) -> tuple[Array, Array]:
                logits = model.unembed(some)
                chosen = jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
                return jax.nn.logsumexp(logits, axis=-1) - chosen, chosen >= logits.max(axis=-1)

            losses, likeliest = by_chunks(reduce, flat, rows[:, 1:].reshape(-1), model_def.config.loss_chunk_size)
            shape = (len(rows), length - 1)
            losses = jnp.pad(losses.reshape(shape), ((0, 0), (1, 0))).reshape(ids.shape)
            likeliest = jnp.pad(likeliest.reshape(shape), ((0, 0), (1, 0))).reshape(ids.shape)
            return AnswerScores(jnp.where(counted, losses, 0.0), likeliest | ~counted)

        branches = [lambda ids, counted, length=length: score(length, ids, counted) for length in lengths]
        return jax.lax.switch(batch.length[0], branches, jnp.asarray(batch.input_ids), jnp.asarray(batch.is_answer))

    if placement.mesh is None:
        return jax.jit(answer_step)
    # Every process reads all scores.
    everywhere = NamedSharding(placement.mesh, PartitionSpec())
    return jax.jit(eval_sums_on_mesh(answer_step, placement, model_def.gathered_dtype), out_shardings=everywhere)
