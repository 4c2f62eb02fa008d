"""The shares of a mixture's sources: weights by stage, and whether the sources last."""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from chomp.config.data import DataConfig
from chomp.config.mixture import MixtureConfig

Weights = dict[str, int]
MARGIN = 1.5
"""By how much the estimate of a source's tokens may be wrong."""


class PassSize(NamedTuple):
    """Tokens of one pass over a source, and whether all of them were counted."""

    tokens: int
    is_exact: bool


class Shares:
    """The weights of a mixture as whole numbers, so that no sum of them rounds.

    Args:
        mixture: a checked section.
    """

    def __init__(self, mixture: MixtureConfig):
        first = {name: source.weight for name, source in mixture.sources.items()}
        later = sorted((stage.from_tokens, stage.weights) for stage in mixture.stages.values())
        self._stages = [(begin, whole_weights(weights)) for begin, weights in ((0, first), *later)]

    def at(self, tokens: int) -> Weights:
        """Weights in force once so many tokens have been read."""
        return next(weights for begin, weights in reversed(self._stages) if tokens >= begin)

    def expected(self, total: int) -> dict[str, float]:
        """Tokens of each source among the first `total`, if no source ends."""
        found = dict.fromkeys(self._stages[0][1], 0.0)
        ends = [*(begin for begin, _ in self._stages[1:]), math.inf]
        for (begin, weights), end in zip(self._stages, ends, strict=True):
            span = max(0, min(end, total) - begin)
            for name, weight in weights.items():
                found[name] += span * weight / sum(weights.values())
        return found


def passes_of(data: DataConfig, name: str) -> int | None:
    """Passes over a source until it ends; None for no end."""
    return None if data.mixture.exhausted == "repeat" else data.mixture.sources[name].max_epochs or 1


def whole_weights(weights: Mapping[str, float]) -> Weights:
    """Weights as whole numbers of the same ratio, as small as they can be: 0.75 and 0.5 are 3 and 2."""
    exact = {name: Fraction(repr(weight)) for name, weight in weights.items()}
    common = math.lcm(*(weight.denominator for weight in exact.values()))
    whole = {name: int(weight * common) for name, weight in exact.items()}
    divisor = math.gcd(*whole.values()) or 1
    return {name: weight // divisor for name, weight in whole.items()}


class Shortage(NamedTuple):
    """A source that ends before its share of the run is met.

    Attributes:
        is_certain: whether it is one even if the estimate of its tokens is wrong by half.
    """

    message: str
    is_certain: bool


def shortages(data: DataConfig, total: int, sizes: Mapping[str, PassSize | None]) -> list[Shortage]:
    """Compare what each source can give with its share of a run's tokens.

    Args:
        total: tokens of the run.
        sizes: tokens of one pass over each source; None where that is not known.
    """
    found = []
    for name, needed in Shares(data.mixture).expected(total).items():
        passes, size = passes_of(data, name), sizes.get(name)
        if passes is None or size is None or needed <= passes * size.tokens:
            continue
        margin = 1.0 if size.is_exact else MARGIN
        about = "" if size.is_exact else "about "
        what = (
            f"the source {name} of data.mixture has {about}{passes * size.tokens:,} tokens in "
            f"{passes} pass{'es' * (passes != 1)}, and its share of the run is {round(needed):,}"
        )
        if data.mixture.exhausted == "stop":
            message = (
                f"{what}: the shares cannot be met to the last step; lower its weight or train.steps, raise its "
                "max_epochs, or set data.mixture.exhausted: renormalise or repeat"
            )
        else:
            message = f"{what}: the other sources take the rest"
        found.append(Shortage(message, needed > margin * passes * size.tokens))
    return found
