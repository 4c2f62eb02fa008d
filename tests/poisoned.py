"""`chomp` with models whose loss is not a number, or many times itself, wherever a batch holds the byte 1.

It is bound to the text, not to a step.

Run as `python -m tests.poisoned ARGS`.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from chomp.__main__ import main
from chomp.model.base import LanguageModel, ModelInputs
from chomp.model.dummy import DummyModel
from chomp.model.megalodon import MegalodonModel

POISON = "\x01"
# Byte tokens stand above three special ones.
POISON_ID = ord(POISON) + 3


def poisoned(losses_of: Callable[..., Any], factor: float) -> Callable[..., Any]:
    def losses(
        model: LanguageModel, inputs: ModelInputs, **kwargs: Any
    ) -> tuple[Float[Array, "batch targets"], Int[Array, ""]]:
        plain, count = losses_of(model, inputs, **kwargs)
        return jnp.where((inputs.input_ids == POISON_ID).any(), factor, 1.0) * plain, count

    return losses


@contextmanager
def poisoned_models(factor: float = math.nan) -> Iterator[None]:
    with ExitStack() as patches:
        for kind in (DummyModel, MegalodonModel):
            for name in ("token_losses", "loss_sum"):
                patches.enter_context(mock.patch.object(kind, name, poisoned(getattr(kind, name), factor)))
        yield


if __name__ == "__main__":
    with poisoned_models():
        main()
