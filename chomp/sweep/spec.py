"""A sweep as its YAML file describes it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from chomp.config.load import read_text
from chomp.config.misfits import first_misfit
from chomp.config.overrides import BadOverride, parse_override
from chomp.config.spec import setting_at
from chomp.config.suggest import unknown_key
from chomp.config.yaml_reader import read_yaml
from chomp.errors import ConfigError
from chomp.queue.times import parse_duration

Value = bool | int | float | str | None
# Of a sweep, its runs and their tag.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$"
# More are a mistake in the space.
MOST_TRIALS = 10_000


class SweepError(ConfigError):
    """A sweep cannot be used as written."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Axis(_Record):
    """The values of one setting: exactly one of the four kinds.

    Attributes:
        choice: these values.
        linear: numbers between two, evenly spread; `range` in the file.
        log: numbers between two, their logarithms evenly spread.
        whole: whole numbers between two; `int` in the file.
        points: how many values a grid takes between two numbers.
        step: between two whole numbers.
    """

    choice: tuple[Value, ...] | None = Field(None, min_length=1)
    linear: tuple[float, float] | None = Field(None, alias="range")
    log: tuple[float, float] | None = None
    whole: tuple[int, int] | None = Field(None, alias="int")
    points: int | None = Field(None, ge=2)
    step: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _is_one(self) -> Axis:
        given = [name for name in ("choice", "linear", "log", "whole") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("needs exactly one of choice, range, log and int")
        limits = self.limits
        if limits is not None and not limits[0] < limits[1]:
            raise ValueError(f"the first of two limits must be below the second, got {list(limits)}")
        if self.log is not None and self.log[0] <= 0:
            raise ValueError("the limits of log must be above 0")
        return self

    @property
    def limits(self) -> tuple[float, float] | None:
        """The least and the greatest value; None for a choice."""
        return self.linear or self.log or self.whole

    def grid(self) -> list[Value]:
        """The values that a grid takes.

        Raises:
            ValueError: a range has no `points`.
        """
        if self.choice is not None:
            return list(self.choice)
        if self.whole is not None:
            return list(range(self.whole[0], self.whole[1] + 1, self.step))
        if self.points is None:
            raise ValueError("needs points: how many values a grid takes of it")
        shares = [place / (self.points - 1) for place in range(self.points)]
        if self.linear is not None:
            low, high = self.linear
            return [_short(low + share * (high - low)) for share in shares]
        assert self.log is not None
        low, high = map(math.log, self.log)
        return [_short(math.exp(low + share * (high - low))) for share in shares]


def _short(value: float) -> float:
    """A number of a range with the digits that a person would write."""
    return float(f"{value:.6g}")


class Prefix(_Record):
    """What all trials go on from: a checkpoint that is there, or one that the sweep trains first.

    Attributes:
        run: its run directory; `step` is the checkpoint's, None for the newest.
        steps: how many steps of the configuration the sweep trains first; or `tokens`, rounded up to whole steps.
    """

    run: str | None = None
    step: int | None = Field(None, gt=0)
    steps: int | None = Field(None, gt=0)
    tokens: int | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _is_one(self) -> Prefix:
        if sum(value is not None for value in (self.run, self.steps, self.tokens)) != 1:
            raise ValueError("needs exactly one of run, steps and tokens")
        if self.step is not None and self.run is None:
            raise ValueError("step is that of a checkpoint of run; write steps to train a prefix")
        return self


def _checked_name(name: str) -> str:
    if not re.fullmatch(NAME, name):
        raise ValueError(
            "a name begins with a letter or digit, and has letters, digits, dots, dashes and underscores, 40 at most; "
            f"got {name!r}"
        )
    return name


def _checked_space(space: dict[str, Axis]) -> dict[str, Axis]:
    if not space:
        raise ValueError("has no setting to vary; write such as optim.lr: {choice: [1e-3, 3e-3]} below it")
    return space


class Pruning(_Record):
    """When a trial is stopped early.

    Attributes:
        keep: the share of trials, the best ones at equal tokens, that go on.
        after: no earlier than after this share of the trial's tokens.
        at_least: no earlier than when so many trials have come as far.
    """

    keep: float = Field(0.5, gt=0, lt=1)
    after: float = Field(0.2, ge=0, lt=1)
    at_least: int = Field(4, ge=2)


class SweepSpec(_Record):
    """The whole file; `config` is relative to it.

    Attributes:
        trials: how many; a grid has as many as it has points.
        parallel: trials in the queue at a time.
        gpus: as of a job.
        metric: what is lowest in the best trial: at its last evaluation, or with `best_` at its best.
    """

    name: Annotated[str, AfterValidator(_checked_name)] | None = None
    config: str | None = None
    overrides: tuple[str, ...] = ()
    space: Annotated[dict[str, Axis], AfterValidator(_checked_space)]
    method: Literal["grid", "random", "tpe"] = "grid"
    trials: int | None = Field(None, ge=1, le=MOST_TRIALS)
    parallel: int = Field(1, ge=1)
    seed: int = Field(0, ge=0, lt=2**31)
    metric: Literal["eval_loss", "best_eval_loss", "eval_bpb", "best_eval_bpb"] = "eval_loss"
    prefix: Prefix | None = None
    prune: Pruning | None = None
    gpus: int | None = Field(None, ge=0)
    limit: str | None = Field(None, alias="for")
    restarts: int = Field(3, ge=0)

    @property
    def for_seconds(self) -> float | None:
        return None if self.limit is None else parse_duration(self.limit)

    @property
    def count(self) -> int:
        """How many trials there are."""
        if self.method == "grid":
            return math.prod(len(axis.grid()) for axis in self.space.values())
        assert self.trials is not None
        return self.trials

    def grid_point(self, number: int) -> dict[str, Value]:
        """The values of a trial of a grid; the last setting of the space changes first."""
        points = product(*(axis.grid() for axis in self.space.values()))
        return dict(zip(self.space, next(point for place, point in enumerate(points) if place == number), strict=True))


def parse_sweep(text: str, source: str) -> SweepSpec:
    """Read a sweep's text.

    Raises:
        ConfigError: it is none; one sentence with the place.
    """
    values = read_yaml(text, source, example="key, such as `space:`").values
    try:
        spec = SweepSpec.model_validate(values)
    except ValidationError as error:
        raise SweepError(f"{source}: {first_misfit(error, SweepSpec)}") from None
    for key, axis in spec.space.items():
        _check_axis(source, key, axis, spec)
    if spec.method != "grid" and spec.trials is None:
        raise SweepError(f"{source}: trials: method {spec.method} needs a number of trials")
    if spec.method == "grid" and spec.trials is not None:
        raise SweepError(f"{source}: trials: a grid has as many trials as points; leave it out, or name another method")
    if spec.count > MOST_TRIALS:
        raise SweepError(f"{source}: space: {spec.count:,} trials are more than {MOST_TRIALS:,}")
    is_there = spec.prefix is not None and spec.prefix.run is not None
    if (spec.config is None) != is_there:
        raise SweepError(f"{source}: needs either config (a file to train) or prefix.run (a run to continue)")
    if spec.limit is not None:
        parse_duration(spec.limit)
    return spec


def _check_axis(source: str, key: str, axis: Axis, spec: SweepSpec) -> None:
    if setting_at(key) is None:
        raise SweepError(f"{source}: space.{key}: {unknown_key(key)}")
    try:
        points = axis.grid() if spec.method == "grid" or axis.choice is not None else list(axis.limits or ())
        for value in points:
            parse_override(override(key, value))
    except BadOverride as error:
        raise SweepError(f"{source}: space.{key}: {error}") from None
    except ValueError as error:
        raise SweepError(f"{source}: space.{key}: {error}") from None


def override(key: str, value: Value) -> str:
    """A value as `-o` takes it."""
    return f"{key}={value if isinstance(value, str) else json.dumps(value)}"


def overrides_of(spec: SweepSpec, values: Mapping[str, Value]) -> tuple[str, ...]:
    """All that a trial changes in the configuration."""
    return (*spec.overrides, *(override(key, value) for key, value in values.items()))


def read_sweep(path: Path) -> tuple[SweepSpec, str]:
    """The sweep in a file, and its text.

    Raises:
        ConfigError: it cannot be read or used.
    """
    text = read_text(path)
    return parse_sweep(text, str(path)), text
