"""Choosing and ordering runs by anything that is known of them: settings, results, notes, metrics.

A key is a name of FIELDS, the dotted path of a setting (`optim.lr`), or a number of the newest metrics row
(`grad_norm`). A filter is a line of conditions such as `optim.lr>1e-3 state=crashed tag=base`, which must all hold;
other words are text that the names, the note or a tag contains.
"""

from __future__ import annotations

import fnmatch
import math
import operator
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chomp.errors import ConfigError
from chomp.record.formatting import count, narrow, one_line, size
from chomp.record.json_text import number
from chomp.record.summary import RunSummary

Value = Any
Compare = Callable[[Any, Any], bool]


@dataclass(frozen=True)
class Field:
    """A fact of a run.

    Attributes:
        read: its value; None where it is missing, a tuple where there may be several.
        descends: whether greater values come first when runs are sorted by it.
        order: of these values, the first comes first, and values that are not among them come last.
    """

    read: Callable[[RunSummary], Value]
    descends: bool = False
    order: tuple[str, ...] = ()


# What may need its owner first.
_STATES = ("running", "crashed", "unreadable", "new", "stopped", "data_exhausted", "completed")

FIELDS: Mapping[str, Field] = {
    "name": Field(lambda run: run.name),
    "label": Field(lambda run: run.notes.name or None),
    "note": Field(lambda run: run.notes.note or None),
    "tag": Field(lambda run: run.notes.tags),
    "state": Field(lambda run: (run.status.state, run.status.word), order=_STATES),
    "reason": Field(lambda run: run.status.reason or None),
    "step": Field(lambda run: run.step, descends=True),
    "steps": Field(lambda run: run.total_steps, descends=True),
    "tokens": Field(lambda run: run.tokens_seen or None, descends=True),
    "loss": Field(lambda run: run.loss),
    "eval": Field(lambda run: run.best.loss if run.best else None),
    "bpb": Field(lambda run: run.best.bpb if run.best else None),
    "eval_step": Field(lambda run: run.best.step if run.best else None),
    "last_eval": Field(lambda run: run.eval_loss),
    "time": Field(lambda run: run.last_t or None, descends=True),
    "started": Field(lambda run: run.started_t or None, descends=True),
    "parameters": Field(lambda run: run.parameters, descends=True),
    "checkpoints": Field(lambda run: len(run.checkpoints), descends=True),
    "attempts": Field(lambda run: run.attempts, descends=True),
    "parent": Field(lambda run: run.origin.run if run.origin else None),
    "device": Field(lambda run: run.device or None),
    "size": Field(lambda run: run.bytes, descends=True),
}


# Fields that people read in another form than programs do.
_CELLS: Mapping[str, Callable[[Any], str]] = {
    **dict.fromkeys(("loss", "eval", "bpb", "last_eval"), narrow),
    **dict.fromkeys(("step", "steps", "eval_step"), "{:,}".format),
    **dict.fromkeys(("tokens", "parameters"), count),
    **dict.fromkeys(("time", "started"), lambda t: time.strftime("%Y-%m-%d %H:%M", time.localtime(t))),
    "size": size,
}
# Metrics of which more is better.
_RATES = frozenset({"tokens_per_sec", "mfu", "packing_utilization"})
_COMPARE: Mapping[str, Compare] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_CONDITION = re.compile(r"(?P<key>[A-Za-z_][\w.]*)(?P<sign><=|>=|!=|==|=|<|>)(?P<value>.*)\Z", re.DOTALL)
# A word, in which quotes hold spaces together; a quote without its end goes to the end of the line.
_WORD = re.compile(r"(?:\"[^\"]*\"?|[^\s\"])+")
_OUTSIDE_QUOTES = r"(?=(?:[^\"]*\"[^\"]*\")*[^\"]*\Z)"
_SPACED_SIGN = re.compile(rf"\s*(<=|>=|!=|==|=|<|>)\s*{_OUTSIDE_QUOTES}")
_NONE = frozenset({"", "null", "none"})


def value_of(run: RunSummary, key: str) -> Value:
    """What a run has under a key; None where it has nothing."""
    if key in FIELDS:
        return FIELDS[key].read(run)
    return run.settings[key] if key in run.settings else run.metrics.get(key)


def require_key(key: str, runs: Iterable[RunSummary]) -> str:
    """Return `key` if some run, or any configuration, may have it.

    Raises:
        ConfigError: with the nearest known key.
    """
    if key in FIELDS or any(key in run.settings or key in run.metrics for run in runs):
        return key
    from chomp.config.spec import setting_at, settings
    from chomp.config.suggest import nearest

    if setting_at(key):
        return key
    known = [*FIELDS, *settings(), *{name for run in runs for name in run.metrics}]
    leaves = [path for path in known if path.rpartition(".")[2] == key]
    near = leaves[0] if leaves else nearest(key, known)
    hint = f"; did you mean {near}?" if near else f"; known are settings such as optim.lr, and {', '.join(FIELDS)}"
    raise ConfigError(f"no run has {one_line(key)!r}{hint}")


@dataclass(frozen=True)
class Condition:
    """One comparison; `values` are the alternatives of `=` and `!=`."""

    key: str
    sign: str
    values: tuple[str, ...]

    def holds(self, run: RunSummary) -> bool:
        """Whether it is true of a run; a comparison with a value that the run lacks is not."""
        found = value_of(run, self.key)
        several = found if isinstance(found, tuple) else (found,)
        if self.sign == "!=":
            has = bool(several) or _NONE.isdisjoint(self.values)
            return has and not any(_equals(one, text) for one in several for text in self.values)
        if self.sign == "=":
            empty = not several and not _NONE.isdisjoint(self.values)
            return empty or any(_equals(one, text) for one in several for text in self.values)
        limit = _number(self.values[0])
        # A comparison with NaN, which is what a text is as a number, is false.
        return any(_COMPARE[self.sign](number(one), limit) for one in several)


@dataclass(frozen=True)
class Filter:
    """Conditions that must all hold, and texts that a run's names, note or tags must all contain."""

    conditions: tuple[Condition, ...] = ()
    words: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.conditions or self.words)

    def holds(self, run: RunSummary) -> bool:
        """Whether a run is chosen."""
        if self.words:
            text = "\n".join((run.name, run.notes.name, run.notes.note, *run.notes.tags)).lower()
            if not all(word in text for word in self.words):
                return False
        return all(condition.holds(run) for condition in self.conditions)


def parse_filter(text: str, runs: Sequence[RunSummary], *, plain_words: bool = True) -> Filter:
    """Read a line of conditions.

    Args:
        runs: those to choose from, which decide what is a key.
        plain_words: whether a word without a comparison is text to look for, or a mistake.

    Raises:
        ConfigError: in one sentence, what is wrong and what is allowed.
    """
    conditions, words = [], []
    for word in _WORD.findall(_SPACED_SIGN.sub(r"\1", text)):
        found = _CONDITION.match(word)
        if found:
            sign = "=" if found["sign"] == "==" else found["sign"]
            conditions.append(_condition(require_key(found["key"], runs), sign, found["value"]))
        elif plain_words:
            words.append(_unquoted(word).lower())
        else:
            raise ConfigError(
                f"{one_line(word)!r} is not a condition: write a key, one of = != < <= > >=, and a value, "
                "such as 'optim.lr>1e-3 state=crashed tag=base'"
            )
    return Filter(tuple(conditions), tuple(words))


def _condition(key: str, sign: str, value: str) -> Condition:
    if sign in ("=", "!="):
        parts = re.split(f",{_OUTSIDE_QUOTES}", value)
        if not all(part.strip() for part in parts):
            does = "chooses" if sign == "=" else "leaves out"
            raise ConfigError(
                f"{key}{sign}{one_line(value)}: a value is missing; {key}{sign}none {does} runs without one"
            )
        return Condition(key, sign, tuple(_unquoted(part).strip() for part in parts))
    if math.isnan(_number(value)):
        raise ConfigError(f"{key}{sign}{one_line(value)}: {sign} compares with a number, such as {key}{sign}1e-3")
    return Condition(key, sign, (value,))


def _unquoted(text: str) -> str:
    return text.replace('"', "")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _equals(value: Value, text: str) -> bool:
    """Whether a value is what a user wrote: `3e-4` and `0.0003` are one number, `true` is True, `none` is nothing."""
    if value is None:
        return text.lower() in _NONE
    if isinstance(value, bool):
        return text.lower() == str(value).lower()
    if isinstance(value, (int, float)):
        return number(value) == _number(text)
    return fnmatch.fnmatchcase(shown(value).lower(), text.lower())


def shown(value: Value) -> str:
    """A value of a setting as a list shows it: short, on one line; empty where there is none."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return one_line(", ".join(map(shown, value)))
    return one_line(str(value))


def cell_text(run: RunSummary, key: str) -> str:
    """What a run has under a key, as a cell of a table; empty where it has nothing."""
    value = value_of(run, key)
    if isinstance(value, float) and key not in _CELLS:
        return f"{value:.4g}"
    if value is None or key not in _CELLS:
        return shown(value[-1:] if key == "state" else value)
    return _CELLS[key](value)


def sorted_runs(runs: Iterable[RunSummary], key: str, *, reverse: bool = False) -> list[RunSummary]:
    """Runs ordered by a key, the best, the newest or the least first; those without a value come last."""
    runs = list(runs)
    field = FIELDS.get(key)
    descends = (field.descends if field is not None else key in _RATES) != reverse
    order = field.order if field is not None else ()
    ranked = [run for run in runs if _has(run, key)]
    ranked.sort(key=lambda run: _rank(value_of(run, key), order), reverse=descends)
    return [*ranked, *(run for run in runs if not _has(run, key))]


def _has(run: RunSummary, key: str) -> bool:
    value = value_of(run, key)
    return value is not None and value != () and not (isinstance(value, float) and math.isnan(value))


def _rank(value: Value, order: tuple[str, ...]) -> tuple[int, float, str]:
    """Numbers before texts; words that have an order in it."""
    if order:
        place = min((order.index(word) for word in value if word in order), default=len(order))
        return (0, place, shown(value).lower())
    return (1, 0.0, shown(value).lower()) if math.isnan(number(value)) else (0, number(value), "")
