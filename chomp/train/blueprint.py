"""What is trained, as shapes and rules: the parts that follow from a configuration without reading any text."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from jaxtyping import PyTree

from chomp.checkpoint.items import fill
from chomp.config import Config
from chomp.config.derive import Derived, derive
from chomp.config.mesh import micro_batches
from chomp.data.tokenizers import Tokenizer
from chomp.model.build import ModelDef, build_model
from chomp.model.mtp import trunk_of
from chomp.model.resolve import resolve_model
from chomp.optim.build import Optimizer, build_optimizer
from chomp.parallel.mesh import ONE_DEVICE, Placement
from chomp.step.state import Extras, TrainState, abstract_state, init_state
from chomp.step.train_step import TrainStep, make_train_step

if TYPE_CHECKING:
    from chomp.pretrained.weights import InitialWeights


@dataclass(frozen=True)
class Blueprint:
    """A configuration whose model is resolved, with everything that follows from it.

    Attributes:
        tokenizer: None where sizes alone matter; `config.model.vocab_size` is then set by hand.
        placement: the mesh; one device where only what one device computes matters.
        platform: JAX's name of the device's kind, which decides how some layers are computed.
    """

    config: Config
    derived: Derived
    model_def: ModelDef
    tokenizer: Tokenizer | None = None
    placement: Placement = ONE_DEVICE
    platform: str = "cpu"

    @cached_property
    def optimizer(self) -> Optimizer:
        """The update rule; its schedule is that of `derived`."""
        model_def = self.model_def
        return build_optimizer(
            self.config.optim,
            self.derived,
            model_def.abstract(),
            embedding_path=model_def.embedding_path,
            placement=self.placement,
        )

    @cached_property
    def state(self) -> TrainState:
        """Shapes and dtypes of the state."""
        return abstract_state(self.model_def, self.optimizer, Extras.of(self.config))

    @property
    def batch_shape(self) -> tuple[int, int, int]:
        """`[accum, batch, seq]` of the step; on a mesh `batch` is the rows of all devices in a micro-batch."""
        return self.accum, self.rows // self.accum, self.config.train.seq_len

    @property
    def rows(self) -> int:
        """Rows of a step, which never depend on the number of devices."""
        return self.derived.grad_accum * self.config.train.batch_size

    @property
    def accum(self) -> int:
        """Micro-batches in which a step computes its rows on the devices that there are.

        Raises:
            ConfigError: the devices cannot share the rows evenly.
        """
        return micro_batches(self.config, self.placement.count)

    @property
    def flops_per_token(self) -> float:
        """Analytic training FLOPs per token read."""
        return self.model_def.flops_per_token(self.config.train.seq_len)

    def train_step(self) -> TrainStep:
        """The step, to be compiled once."""
        return make_train_step(self.model_def, self.optimizer, self.config, self.placement)

    @cached_property
    def weights(self) -> InitialWeights | None:
        """Those of `model.init_from`, which fit the model; None where parameters are drawn.

        Raises:
            ConfigError, DataError: they do not fit, or are damaged.
        """
        if self.config.model.init_from is None:
            return None
        # With Orbax, which the step does not need.
        from chomp.pretrained.weights import open_weights

        return open_weights(self.model_def, self.config.model.init_from)

    def first_state(self) -> TrainState:
        """The state at step 0.

        Raises:
            ConfigError, DataError: the weights of `model.init_from` do not fit, or cannot be read.
        """
        weights, trunk = self.weights, None
        if weights is not None:
            trunk = fill(trunk_of(self.state.params), weights.read(self.placement))
        return self._started(trunk)

    def drawn_state(self) -> TrainState:
        """A state at step 0 whose numbers do not matter: nothing is read for it."""
        return self._started(None)

    def _started(self, trunk: PyTree | None) -> TrainState:
        seed, extras = self.config.train.seed, Extras.of(self.config)
        return init_state(self.model_def, self.optimizer, seed, self.placement, trunk, extras)

    def identity(self, data_fingerprint: dict[str, Any]) -> dict[str, Any]:
        """What a resume compares with the checkpoint's own."""
        # With Orbax, which the step does not need.
        from chomp.checkpoint.restore import identity

        assert self.tokenizer is not None
        return identity(self.config, self.derived, data_fingerprint, self.tokenizer.digest())

    def with_derived(self, derived: Derived) -> Blueprint:
        """The same model with other derived numbers, such as the schedule that a continued run keeps."""
        return dataclasses.replace(self, derived=derived)


def build_blueprint(
    config: Config, platform: str, tokenizer: Tokenizer | None = None, placement: Placement = ONE_DEVICE
) -> Blueprint:
    """Resolve the model for its tokenizer and build everything but the data.

    Args:
        platform: JAX's name of the device's kind, which decides how some layers are computed.
        tokenizer: None where `config.model` is resolved already.
        placement: the mesh.

    Raises:
        ConfigError: the model does not fit its tokenizer, or its widths do not fit together.
    """
    if tokenizer is not None:
        specials = config.data.tokenizer.auto_set_special_tokens
        model = resolve_model(config.model, tokenizer, auto_set_special_tokens=specials)
        config = config.model_copy(update={"model": model})
    derived = derive(config)
    model_def = build_model(
        config.model,
        deterministic=derived.deterministic,
        backend=platform,
        mtp_heads=config.objective.mtp_heads,
    )
    return Blueprint(config, derived, model_def, tokenizer, placement, platform)
