"""Rules of `train`, `objective`, `optim`, `checkpoint` and `logging`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from chomp.config.problems import Problem
from chomp.config.rules.arithmetic import vocab_size, wsd_decay_steps
from chomp.config.schema import Config
from chomp.config.train import ObjectiveConfig

# Files and folders that a run directory keeps for itself.
RESERVED_NAMES = frozenset(
    {
        "config_original.yaml",
        "config_resolved.json",
        "events.jsonl",
        "events.reserve",
        "commands.jsonl",
        "samples.jsonl",
        "tokenizer",
        "checkpoints",
        "program",
        "profile",
        "lock",
        "origin.json",
        "notes.yaml",
        "receipts.jsonl",
        "notices.jsonl",
        "tensorboard",
        "wandb",
        "wandb_id",
    }
)


def _batch(config: Config) -> Iterator[Problem]:
    train = config.train
    if train.batch_tokens is None:
        return
    if train.grad_accum is not None:
        yield Problem(
            "train.batch_tokens",
            "is set and so is train.grad_accum, but each determines the other; remove one",
            also=("train.grad_accum",),
        )
    micro = train.batch_size * train.seq_len
    if train.batch_tokens % micro:
        below, above = train.batch_tokens // micro * micro, -(-train.batch_tokens // micro) * micro
        fits = (
            f"{below} (grad_accum {below // micro}) and {above} (grad_accum {above // micro}) are"
            if below
            else (f"the smallest is {above} (grad_accum 1), or lower train.batch_size")
        )
        yield Problem(
            "train.batch_tokens",
            f"{train.batch_tokens} is not a multiple of train.batch_size x train.seq_len = "
            f"{train.batch_size} x {train.seq_len} = {micro}; {fits}",
            also=("train.batch_size", "train.seq_len"),
        )


def _schedule(config: Config) -> Iterator[Problem]:
    optim, steps = config.optim, config.train.steps
    warmup = optim.warmup_steps
    if config.train.epochs is not None:
        # The engine derives the steps and checks again.
        return
    if optim.schedule == "wsd":
        decay = wsd_decay_steps(config)
        if warmup + decay > steps:
            source = "" if optim.decay_steps is not None else ", a fifth of the run"
            yield Problem(
                "optim.warmup_steps",
                f"{warmup} of warm-up and {decay} of decay (optim.decay_steps{source}) are more "
                f"than the {steps} of train.steps; they must fit in it",
                also=("optim.decay_steps", "train.steps"),
            )
    elif optim.decay_steps == 0:
        yield Problem(
            "optim.decay_steps",
            "0 is only for optim.schedule: wsd; write null to decay in all steps after the warm-up",
            also=("optim.schedule",),
        )
    elif optim.decay_steps is None and warmup >= steps:
        advice = f"set it below {steps}" if steps > 1 else "set it to 0"
        yield Problem(
            "optim.warmup_steps",
            f"{warmup} steps of warm-up leave none of the {steps} train.steps for the decay; "
            f"{advice}, or set optim.decay_steps",
            also=("train.steps",),
        )


def _epochs(config: Config) -> Iterator[Problem]:
    data, epochs = config.data, config.train.epochs
    if epochs is None:
        return
    if data.backend == "hf" and data.hf_streaming:
        yield Problem(
            "train.epochs",
            "needs a text of known length, and a stream has none; set data.hf_streaming: false to download the "
            "dataset, or train.steps instead",
            also=("data.hf_streaming",),
        )
    if epochs > 1 and not data.repeat:
        yield Problem(
            "train.epochs",
            f"{epochs} passes need data.repeat: true; false ends the run after one",
            also=("data.repeat",),
        )


def _best(config: Config) -> Iterator[Problem]:
    checkpoint, train = config.checkpoint, config.train
    if checkpoint.keep_best and train.eval_every == 0 and config.evaluation.best is None:
        yield Problem(
            "checkpoint.keep_best",
            "needs train.eval_every above 0; without evaluation no checkpoint is better than another",
            also=("train.eval_every",),
        )
    if checkpoint.keep_best and not checkpoint.enabled:
        yield Problem(
            "checkpoint.keep_best",
            "needs checkpoint.enabled: true; or set it to 0",
            also=("checkpoint.enabled",),
        )


def _sampling(config: Config) -> Iterator[Problem]:
    train, size = config.train, vocab_size(config)
    if train.generate_top_k is not None and size is not None and train.generate_top_k > size:
        yield Problem(
            "train.generate_top_k",
            f"{train.generate_top_k} is more than the {size} ids of the vocabulary; use at most "
            f"{size}, or null for all",
            also=("model.vocab_size",),
        )
    if any(not prompt for prompt in train.generate_prompts):
        yield Problem("train.generate_prompts", "holds an empty prompt; write at least one character, or remove it")


def _file_names(config: Config) -> Iterator[Problem]:
    names = {"metrics_file": config.logging.metrics_file, "log_file": config.logging.log_file}
    for key, name in names.items():
        path = PurePath(name)
        if path.name != name or name in (".", ".."):
            yield Problem(
                f"logging.{key}", f"expected a file name inside the run directory, got {name!r}; write {path.name!r}"
            )
        elif name in RESERVED_NAMES:
            yield Problem(f"logging.{key}", f"the run directory reserves {name!r}; choose another name")
    if names["metrics_file"] == names["log_file"]:
        yield Problem(
            "logging.metrics_file",
            f"{names['metrics_file']!r} is also logging.log_file; give them different names",
            also=("logging.log_file",),
        )


def _epochs_note(config: Config) -> Iterator[str]:
    train = config.train
    if train.epochs is not None:
        also = ", and the written one is not used" if "steps" in train.model_fields_set else ""
        yield f"train.epochs is {train.epochs}: train.steps follows from the text when the run starts{also}"


def _time_note(config: Config) -> Iterator[str]:
    train = config.train
    if train.max_seconds is not None:
        saved = "is saved and can be resumed" if config.checkpoint.enabled else "is lost: checkpoint.enabled is false"
        yield (
            f"train.max_seconds ends each attempt after {train.max_seconds:g} s at the latest; a run that has not "
            f"reached step {train.steps:,} {saved}, and the learning rate follows train.steps"
        )


def _schedule_note(config: Config) -> Iterator[str]:
    optim, steps = config.optim, config.train.steps
    if optim.schedule != "cosine" or optim.decay_steps is None or config.train.epochs is not None:
        return
    end = optim.warmup_steps + optim.decay_steps
    if end > steps:
        yield f"the run stops at step {steps}, before the decay of the learning rate ends at step {end}"
    elif end < steps:
        floor = optim.lr * optim.min_lr_ratio
        yield f"the learning rate stays at {floor:.3g} from step {end} to the end at step {steps}"


def _checkpoint_note(config: Config) -> Iterator[str]:
    if not config.checkpoint.enabled:
        yield "checkpoint.enabled is false: nothing is saved and the run cannot be resumed"


def _greedy_note(config: Config) -> Iterator[str]:
    train = config.train
    if train.generate_temperature == 0 and (train.generate_top_k is not None or train.generate_top_p is not None):
        yield "train.generate_temperature is 0: the most likely token is picked, top_k and top_p are not used"


def _heads(config: Config) -> Iterator[Problem]:
    heads, length = config.objective.mtp_heads, config.train.seq_len
    if heads > length - 2:
        yield Problem(
            "objective.mtp_heads",
            f"head {heads} predicts {heads + 1} tokens ahead, and rows have {length} (train.seq_len); "
            f"use at most {length - 2}",
            also=("train.seq_len",),
        )


def _weight_note(config: Config) -> Iterator[str]:
    objective = config.objective
    # Compared with the default: a resolved configuration sets every value.
    if not objective.mtp_heads and objective.mtp_weight != ObjectiveConfig().mtp_weight:
        yield "objective.mtp_weight is not used: objective.mtp_heads is 0"


RULES = (_batch, _epochs, _schedule, _best, _sampling, _file_names, _heads)
NOTES = (_epochs_note, _time_note, _schedule_note, _checkpoint_note, _greedy_note, _weight_note)
