"""The shares of a mixture's sources: weights by stage, and whether the sources last."""

import math
from collections.abc import Iterator, Mapping, Sequence
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

    def left(self, read: Mapping[str, int], ended: Mapping[str, bool]) -> list[str]:
        """Sources that have a weight once so many tokens of each have been read, and have not ended."""
        return [name for name, weight in self.at(sum(read.values())).items() if weight and not ended[name]]

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
    """A source, or the whole text, that ends before the run does.

    Attributes:
        is_certain: whether it does even if the estimate of its tokens is wrong by half.
    """

    message: str
    is_certain: bool


class Course(NamedTuple):
    """How long the sources of a mixture last, in tokens of the run.

    Attributes:
        ends: where each source ends that does before the run, first ones first.
        takers: the sources that take its share from there on; empty where the text ends with it.
        text_ends: where no text is left; None if the text lasts.
    """

    ends: dict[str, float]
    takers: dict[str, list[str]]
    text_ends: float | None


def course(mixture: MixtureConfig, total: int, capacities: Mapping[str, float]) -> Course:
    """Follow the shares of a mixture whose sources end, each leaving its share to the others.

    Args:
        mixture: a checked section.
        total: tokens of the run.
        capacities: tokens of each source until it ends; infinite where it has no end, or none that is known.
    """
    shares, left = Shares(mixture), dict(capacities)
    found = Course({}, {}, None)
    at, begins = 0.0, sorted(stage.from_tokens for stage in mixture.stages.values())
    while at < total:
        weights = {name: weight for name, weight in shares.at(int(at)).items() if weight and name not in found.ends}
        if not weights:
            return found._replace(text_ends=at)
        rates = {name: weight / sum(weights.values()) for name, weight in weights.items()}
        nearest = min(left[name] / rate for name, rate in rates.items())
        until = min(next((begin for begin in begins if begin > at), math.inf), total)
        span = min(nearest, until - at)
        # Two that end together do so whatever their quotients round to.
        ended = [name for name, rate in rates.items() if left[name] / rate <= nearest * (1 + 1e-9) <= until - at]
        # A stage begins at a whole number, which no sum of parts may miss.
        at = at + span if ended else until
        for name, rate in rates.items():
            left[name] -= rate * span
        if at < total:
            found.ends.update(dict.fromkeys(ended, at))
            takers = [name for name, weight in shares.at(int(at)).items() if weight and name not in found.ends]
            found.takers.update(dict.fromkeys(ended, takers))
    return found


def shortages(data: DataConfig, total: int, step_tokens: int, sizes: Mapping[str, PassSize | None]) -> list[Shortage]:
    """Compare what the sources can give with a run's tokens.

    Args:
        total: tokens of the run.
        step_tokens: tokens of a step.
        sizes: tokens of one pass over each source; None where that is not known.
    """
    if data.mixture.exhausted == "stop":
        return list(_unmet(data, total, sizes))
    follow = [course(data.mixture, total, _capacities(data, sizes, margin)) for margin in (1.0, MARGIN)]
    lasting, longer = follow
    found = [
        Shortage(_ends(data, name, _place(lasting.ends[name], total, step_tokens), takers, sizes), name in longer.ends)
        for name, takers in lasting.takers.items()
        if takers
    ]
    if lasting.text_ends is not None:
        message = (
            f"the text of all sources of data.mixture ends {_place(lasting.text_ends, total, step_tokens)}, and the "
            "run with it: no other source with a weight is left; raise max_epochs of a source, set "
            "data.mixture.exhausted: repeat, or lower train.steps"
        )
        found.append(Shortage(message, longer.text_ends is not None))
    return found


def _capacities(data: DataConfig, sizes: Mapping[str, PassSize | None], margin: float) -> dict[str, float]:
    """Tokens of each source until it ends; `margin` times as many where they are not counted."""
    found = dict.fromkeys(data.mixture.sources, math.inf)
    for name in found:
        passes, size = passes_of(data, name), sizes.get(name)
        if passes is not None and size is not None:
            found[name] = passes * size.tokens * (1.0 if size.is_exact else margin)
    return found


def _place(tokens: float, total: int, step_tokens: int) -> str:
    step, steps = math.ceil(tokens / step_tokens), math.ceil(total / step_tokens)
    return f"after about {round(tokens):,} of {total:,} tokens, at about step {step:,} of {steps:,}"


def _ends(data: DataConfig, name: str, place: str, takers: Sequence[str], sizes: Mapping[str, PassSize | None]) -> str:
    verb = "takes" if len(takers) == 1 else "take"
    return f"{_has(data, name, sizes)}, and ends {place}: {', '.join(takers)} {verb} its share from there on"


def _has(data: DataConfig, name: str, sizes: Mapping[str, PassSize | None]) -> str:
    passes, size = passes_of(data, name), sizes[name]
    assert passes is not None
    assert size is not None
    about = "" if size.is_exact else "about "
    return (
        f"the source {name} of data.mixture has {about}{passes * size.tokens:,} tokens in "
        f"{passes} pass{'es' * (passes != 1)}"
    )


def _unmet(data: DataConfig, total: int, sizes: Mapping[str, PassSize | None]) -> Iterator[Shortage]:
    """Sources whose end is the end of the run."""
    for name, needed in Shares(data.mixture).expected(total).items():
        passes, size = passes_of(data, name), sizes.get(name)
        if passes is None or size is None or needed <= passes * size.tokens:
            continue
        margin = 1.0 if size.is_exact else MARGIN
        message = (
            f"{_has(data, name, sizes)}, and its share of the run is {round(needed):,}: the shares cannot be met to "
            "the last step; lower its weight or train.steps, raise its max_epochs, or set data.mixture.exhausted: "
            "renormalise or repeat"
        )
        yield Shortage(message, needed > margin * passes * size.tokens)
