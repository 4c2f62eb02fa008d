"""What all processes of a run must have in common, compared before anything is compiled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from chomp.errors import ChompError, ConfigError, DataError, DeviceError
from chomp.parallel.world import World

# At most so many differing values are named.
MOST_NAMED = 3
# What is compared, the error that a difference is, and what a user does about it.
KINDS: dict[str, tuple[type[ChompError], str]] = {
    "number of processes": (ConfigError, "start every process with the same --processes"),
    "versions": (DeviceError, "install the same versions on every host"),
    "configuration": (ConfigError, "start every process with the same configuration and overrides"),
    "tokenizer": (DataError, "give every host the same tokenizer files"),
    "text": (DataError, "give every host the same text"),
    "evaluation": (DataError, "give every host the same evaluation sets and tasks"),
    "devices": (DeviceError, "give every process the same number of the same devices"),
}


def digest(value: Any) -> str:
    """A short hash of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def require_equal(world: World, kind: str, facts: Mapping[str, Any]) -> None:
    """Compare what each process found with what the leader found.

    Args:
        kind: one of `KINDS`.
        facts: JSON values by name.

    Raises:
        ChompError: they differ; the same in every process, of the class that belongs to `kind`.
    """
    if world.is_alone:
        return
    leader = world.share(dict(facts))
    here = json.loads(json.dumps(dict(facts)))
    differing = [name for name in sorted({*leader, *here}) if leader.get(name) != here.get(name)]
    found = [[name, leader.get(name), here.get(name)] for name in differing]
    complaints = {index: each for index, each in enumerate(world.meet(found)) if each}
    if complaints:
        raise_difference(world, kind, complaints)


def raise_difference(world: World, kind: str, complaints: Mapping[int, list[list[Any]]]) -> None:
    """Raise the error about processes that differ from the leader.

    Args:
        complaints: by process, (name, the leader's value, its value).
    """
    error, advice = KINDS[kind]
    index, found = min(complaints.items())
    named = "; ".join(
        f"{name} is {_shown(theirs)}, not {_shown(leaders)}" for name, leaders, theirs in found[:MOST_NAMED]
    )
    more = f" (and {len(found) - MOST_NAMED} more)" if len(found) > MOST_NAMED else ""
    others = [str(world.members[other]) for other in sorted(complaints) if other != index]
    also = f"; {', '.join(others[:MOST_NAMED])} differ{'s' * (len(others) == 1)} too" if others else ""
    raise error(f"{world.members[index]} differs from {world.members[0]} in its {kind}: {named}{more}{also}; {advice}")


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:60]}… (digest {digest(value)})"
