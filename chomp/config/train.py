"""The `train` and `objective` sections."""

from __future__ import annotations

from typing import Literal

from chomp.config.fields import MAX_SECONDS, MAX_SEED, MAX_STEPS, SET, Section, section, setting

MOST_PROFILED = 100
"""Steps of a trace."""


class ProfileConfig(Section):
    """A trace of a few steps, for Perfetto and XProf, and the ten costliest operations in it."""

    start: int | None = setting(
        None, "First step of the trace; null: none.", unit="steps", gt=0, le=MAX_STEPS, unset="never"
    )
    steps: int = setting(
        5, "Steps in the trace.", unit="steps", gt=0, le=MOST_PROFILED, when={"train.profile.start": SET}
    )


class TrainConfig(Section):
    """How long and in what portions the model is trained."""

    seed: int = setting(0, "Seed of parameters, data order and dropout.", group="run", ge=0, le=MAX_SEED)
    steps: int = setting(1000, "Optimizer updates in the whole run.", unit="steps", group="run", gt=0, le=MAX_STEPS)
    epochs: int | None = setting(
        None,
        "Passes over the training text; `steps` is then derived when the run starts, where the length of the text is "
        "known: not for a stream.",
        unit="passes",
        group="run",
        gt=0,
        unset="not set",
    )
    max_seconds: float | None = setting(
        None,
        "End each attempt (start or resume) with a save, so that its process takes at most this time, start-up and "
        "compilation included; null never.",
        unit="seconds",
        group="run",
        gt=0,
        le=MAX_SECONDS,
        unset="never",
    )
    allow_cpu: bool = setting(False, "Allow training on the CPU if there is no GPU.", group="run")
    deterministic: bool | None = setting(
        None,
        "true: no dropout; false: dropout and recomputation; null: true if all dropout rates are 0.",
        group="run",
        unset="auto",
    )
    keep_program: Literal["auto", "always", "never"] = setting(
        "auto",
        "Keep the compiled step in the run directory for resumes, so that they run the same kernels; `auto`: on GPUs.",
        group="run",
    )
    strict_determinism: bool = setting(
        False,
        "Set XLA's flags for GPU programs that compute the same bits at each compilation and run; slower.",
        group="run",
    )

    batch_size: int = setting(8, "Sequences per micro-batch.", unit="sequences", group="batch", gt=0)
    seq_len: int = setting(512, "Tokens per row.", unit="tokens", group="batch", ge=8)
    grad_accum: int | None = setting(
        None, "Micro-batches per step; null: 1, or derived from `batch_tokens`.", group="batch", gt=0, unset="auto"
    )
    batch_tokens: int | None = setting(
        None, "Tokens per step; `grad_accum` is then derived.", unit="tokens", group="batch", gt=0, unset="auto"
    )

    log_every: int = setting(10, "Steps between metrics rows.", unit="steps", group="cadence", gt=0)
    eval_every: int = setting(0, "Steps between evaluations; 0 never.", unit="steps", group="cadence", ge=0)
    generate_every: int = setting(0, "Steps between samples; 0 never.", unit="steps", group="cadence", ge=0)

    generate_for_checkpoints: Literal["auto", "none", "kept", "all"] = setting(
        "auto",
        "Also sample when a checkpoint is saved: `kept` for permanently kept checkpoints and the last one, `all` "
        "for each; `auto` is `kept` if `generate_every` is above 0, else `none`.",
        group="samples",
    )
    generate_prompts: list[str] = setting(
        [], "Prompts to sample from; empty uses the start of a held-out document.", group="samples"
    )
    generate_input_len: int | None = setting(
        None,
        "Length of a prompt from held-out text; null: half of `seq_len`.",
        unit="tokens",
        group="samples",
        gt=0,
        unset="auto",
    )
    generate_max_tokens: int | None = setting(
        None, "Tokens per sample; null: `model.chunk_size` + 16.", unit="tokens", group="samples", gt=0, unset="auto"
    )
    generate_temperature: float = setting(
        1.0, "Sampling temperature; 0 picks the most likely token.", group="samples", ge=0
    )
    generate_top_k: int | None = setting(
        None, "Sample from the k most likely tokens.", group="samples", gt=0, unset="off"
    )
    generate_top_p: float | None = setting(
        None,
        "Sample from the most likely tokens with this total probability (nucleus sampling).",
        group="samples",
        gt=0,
        le=1,
        unset="off",
    )

    profile: ProfileConfig = section(ProfileConfig, "A trace of a few steps, and its ten costliest operations.")


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
    mtp_weight: float = setting(
        0.3,
        "Weight of the mean loss of the extra heads.",
        group="later tokens",
        gt=0,
        when={"objective.mtp_heads": SET},
    )
