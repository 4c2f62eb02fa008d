"""The `optim` section."""

from __future__ import annotations

from typing import Literal

from chomp.config.fields import SET, Condition, Section, section, setting

ElementwiseRule = Literal["adamw", "lion"]
"""Update rules that treat every scalar alike. The rule NAME is built by `chomp.optim.NAME`."""


class AdamConfig(Section):
    """AdamW, for all parameters or for those that Muon does not update."""

    b1: float = setting(0.9, "Decay of the first moment.", ge=0, lt=1)
    b2: float = setting(0.95, "Decay of the second moment.", ge=0, lt=1)
    eps: float = setting(1e-8, "Added to the root of the second moment.", gt=0)
    nesterov: bool = setting(False, "Nesterov momentum.")


class LionConfig(Section):
    """Lion, for all parameters or for those that Muon does not update: the sign of an interpolated momentum."""

    b1: float = setting(0.9, "Weight of the momentum in the update direction.", ge=0, lt=1)
    b2: float = setting(0.99, "Decay of the momentum.", ge=0, lt=1)


class MuonConfig(Section):
    """Muon: orthogonalised momentum for the projection matrices."""

    lr_scale: float = setting(30.0, "Muon's learning rate is `optim.lr` times this.", gt=0)
    momentum: float = setting(0.95, "Decay of the momentum.", ge=0, lt=1)
    nesterov: bool = setting(True, "Nesterov momentum.")
    ns_steps: int = setting(5, "Newton-Schulz iterations.", gt=0)
    ns_dtype: Literal["float32", "bfloat16"] = setting(
        "float32", "Newton-Schulz iterations are computed in this; `bfloat16` is faster on GPUs."
    )
    weight_decay_mult: float = setting(1.0, "Muon's weight decay is `optim.weight_decay` times this.", ge=0)
    consistent_rms: float | None = setting(
        None, "Scale updates to this root mean square; 0.2 matches AdamW; null does not scale.", gt=0, unset="off"
    )
    rest: ElementwiseRule = setting("adamw", "Update rule of the parameters that Muon does not update.")
    allow_all_2d: bool = setting(False, "Use Muon for every matrix, not only for the listed projections.")
    allow_tied_embed: bool = setting(False, "Use Muon for an embedding that is also the output head.")


class EmaConfig(Section):
    """Exponential moving average of the parameters, in the train state and in checkpoints."""

    decay: float = setting(
        0.0,
        "Share of the average that each update keeps, e.g. 0.999; less in the first updates; 0: no average.",
        ge=0,
        lt=1,
    )
    evaluate: bool = setting(True, "Evaluations also score the average.", when={"optim.ema.decay": SET})


def _rule(name: str) -> list[Condition]:
    """The run uses an elementwise rule for all parameters, or for those that Muon does not update."""
    return [{"optim.name": [name]}, {"optim.name": ["muon"], "optim.muon.rest": [name]}]


class OptimConfig(Section):
    """The update rule and its learning-rate schedule."""

    name: Literal[ElementwiseRule, "muon"] = setting("muon", "Update rule.", group="rule")
    lr: float = setting(1e-3, "Peak learning rate.", group="schedule", gt=0)
    schedule: Literal["cosine", "wsd"] = setting(
        "cosine", "`cosine`: warm-up, then cosine decay; `wsd`: warm-up, stable, decay.", group="schedule"
    )
    warmup_steps: int = setting(
        100, "Steps of linear warm-up; the first update is already above zero.", unit="steps", group="schedule", ge=0
    )
    decay_steps: int | None = setting(
        None,
        "`cosine`: steps of decay after warm-up, null: all remaining steps; `wsd`: steps of the final decay, null: a "
        "fifth of the run, 0: no decay, to fork decaying runs from this one.",
        unit="steps",
        group="schedule",
        ge=0,
        unset="auto",
    )
    decay_shape: Literal["linear", "cosine", "sqrt"] = setting(
        "linear", "Shape of the final decay in `wsd`.", group="schedule", when={"optim.schedule": ["wsd"]}
    )
    min_lr_ratio: float = setting(0.1, "Learning rate after decay, as a share of `lr`.", group="schedule", ge=0, le=1)
    weight_decay: float = setting(0.1, "Decoupled weight decay, on matrices only.", group="rule", ge=0)
    grad_clip_norm: float = setting(1.0, "Clip gradients to this global norm; 0 disables clipping.", group="rule", ge=0)
    adam: AdamConfig = section(AdamConfig, "AdamW.", when=_rule("adamw"))
    lion: LionConfig = section(LionConfig, "Lion.", when=_rule("lion"))
    muon: MuonConfig = section(MuonConfig, "Muon.", when={"optim.name": ["muon"]})
    ema: EmaConfig = section(EmaConfig, "Exponential moving average of the parameters.")
