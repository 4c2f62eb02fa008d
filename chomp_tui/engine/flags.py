"""Which of the recommended variables a run gets: the user's choice over `chomp.device`'s decisions. Pure.

The choice is kept as the variables themselves (`app.state.environment`) and nothing else, so what a
screen shows and what an engine gets cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from chomp.device import Decision, changes, shell_line

_OPPOSITE = {"true": "false", "false": "true", "1": "0", "0": "1"}


def is_open(decision: Decision) -> bool:
    """Whether there is anything to choose: not where the user's own environment has decided.

    An engine adds automatic flags by itself, so those can be refused only where their opposite can be said.
    """
    if decision.action == "apply":
        return opposite(decision.value) is not None
    return decision.action == "recommend"


def opposite(flag: str) -> str | None:
    """`--name=true` for `--name=false` and the like; None for what is neither."""
    name, equals, value = flag.rpartition("=")
    other = _OPPOSITE.get(value.lower())
    return f"{name}{equals}{other}" if equals and other else None


def defaults(decisions: Iterable[Decision]) -> frozenset[str]:
    """Names of the rules that are on by default: those an engine applies by itself."""
    return frozenset(decision.rule for decision in decisions if decision.action == "apply")


def switched_on(decisions: Iterable[Decision], environment: Mapping[str, str]) -> frozenset[str]:
    """Names of the rules that are on in variables chosen earlier; in none at all, the defaults."""
    decisions = list(decisions)
    if not environment:
        return defaults(decisions)
    return frozenset(decision.rule for decision in decisions if is_in(decision, environment))


def is_in(decision: Decision, environment: Mapping[str, str]) -> bool:
    """Whether the chosen variables contain what the decision asks for."""
    value = environment.get(decision.variable, "")
    if decision.appends:
        return decision.value in value.split()
    return value == decision.value


def toggled(on: frozenset[str], rule: str) -> frozenset[str]:
    """The choice with one rule switched over."""
    return on ^ {rule}


def chosen(decisions: Iterable[Decision], on: frozenset[str]) -> list[Decision]:
    """The decisions as they are to be carried out: all that is left of them says `apply`.

    An automatic one that was refused becomes its opposite; a recommended one that was not taken is gone.
    """
    result = []
    for decision in decisions:
        if not is_open(decision):
            result.append(decision)
        elif decision.rule in on:
            result.append(replace(decision, action="apply"))
        elif decision.action == "apply":
            result.append(replace(decision, value=opposite(decision.value) or decision.value))
    return result


def chosen_environment(environ: Mapping[str, str], decisions: Sequence[Decision], on: frozenset[str]) -> dict[str, str]:
    """The variables that a run gets beside the user's own, each with its whole value."""
    return changes(environ, chosen(decisions, on))


def line_to_copy(environ: Mapping[str, str], decisions: Sequence[Decision], on: frozenset[str], command: str) -> str:
    """`env NAME=VALUE … COMMAND`, which does in a shell what the choice does here."""
    return shell_line(environ, chosen(decisions, on), command)
