"""Notes on values that are allowed and hardly ever meant."""

from __future__ import annotations

from collections.abc import Iterator

from chomp.config.rules.arithmetic import wsd_decay_steps
from chomp.config.schema import Config

# Adam's usual rates lie between 1e-5 and 1e-2; the update of each parameter is about as large as the rate.
HIGHEST_RATE = 1.0
# Every parameter moves by the whole rate: Chen et al. 2023 (arXiv 2302.06675) take a third to a tenth of Adam's.
HIGH_LION_RATE = 5e-4
LONGEST_WARMUP_SHARE = 0.5


def _rate(config: Config) -> Iterator[str]:
    optim = config.optim
    if optim.lr > HIGHEST_RATE:
        yield f"optim.lr is {optim.lr:g}: above 1 training diverges; 1e-4 to 1e-2 are usual"
    elif optim.name == "muon" and optim.lr * optim.muon.lr_scale > HIGHEST_RATE:
        rate = optim.lr * optim.muon.lr_scale
        yield (
            f"Muon's learning rate is {rate:g} (optim.lr {optim.lr:g} x optim.muon.lr_scale "
            f"{optim.muon.lr_scale:g}): above 1 training diverges; 0.02 is usual"
        )
    elif optim.name == "lion" and optim.lr > HIGH_LION_RATE:
        yield f"optim.lr is {optim.lr:g}, much for Lion: a third to a tenth of Adam's rate is usual, e.g. 1e-4"
    if optim.min_lr_ratio == 1 and optim.decay_steps != 0:
        yield "optim.min_lr_ratio is 1: the learning rate never falls"
    if optim.weight_decay > 1:
        yield f"optim.weight_decay is {optim.weight_decay:g}; 0.1 is usual, and more than 1 removes what is learnt"


def _schedule(config: Config) -> Iterator[str]:
    optim, steps = config.optim, config.train.steps
    if config.train.epochs is not None:
        return
    decay = (
        wsd_decay_steps(config) if optim.schedule == "wsd" else optim.decay_steps or max(1, steps - optim.warmup_steps)
    )
    if 0 < decay < optim.warmup_steps:
        yield (
            f"the decay of the learning rate ({decay:,} steps) is shorter than its warm-up "
            f"({optim.warmup_steps:,} steps)"
        )
    elif optim.warmup_steps > LONGEST_WARMUP_SHARE * steps:
        yield f"optim.warmup_steps is {optim.warmup_steps:,} of {steps:,} steps: most of the run is warm-up"


def _moments(config: Config) -> Iterator[str]:
    adam, lion = config.optim.adam, config.optim.lion
    names = (config.optim.name, config.optim.muon.rest if config.optim.name == "muon" else "")
    for name, rule in (("adam", adam), ("lion", lion)):
        if any(used.startswith(name) for used in names) and rule.b2 < rule.b1:
            yield f"optim.{name}.b2 ({rule.b2:g}) is below optim.{name}.b1 ({rule.b1:g}); they may be exchanged"


def _cadences(config: Config) -> Iterator[str]:
    train, steps = config.train, config.train.steps
    if train.epochs is not None:
        return
    for name, every in (("eval_every", train.eval_every), ("generate_every", train.generate_every)):
        if every > steps:
            yield f"train.{name} is {every:,}, more than train.steps: it happens only at the end"


NOTES = (_rate, _schedule, _moments, _cadences)
