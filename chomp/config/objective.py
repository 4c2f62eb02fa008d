"""The `objective` section."""

from __future__ import annotations

from chomp.config.fields import Section, setting


class ObjectiveConfig(Section):
    """What is minimised beside the next token's plain cross-entropy, which stays the `loss` of every row."""

    label_smoothing: float = setting(
        0.0,
        "Label smoothing: share of the target's probability that is spread evenly over all outputs.",
        group="next token",
        ge=0,
        lt=1,
    )
    z_loss: float = setting(
        0.0,
        "Weight of the mean squared log-normaliser of the outputs; 1e-4 is usual.",
        group="next token",
        ge=0,
    )
    token_filter_keep: float = setting(
        1.0,
        "Train only on this share of a micro-batch's positions, those with the highest cross-entropy; 1 trains on all.",
        group="next token",
        gt=0,
        le=1,
    )
    mtp_heads: int = setting(
        0,
        "Extra prediction heads; head i predicts the token i positions after the next one; 0 none.",
        group="later tokens",
        ge=0,
    )
    mtp_weight: float = setting(0.3, "Weight of the mean loss of the extra heads.", group="later tokens", gt=0)
