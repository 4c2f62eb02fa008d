"""What a fork's changed settings mean for the checkpoint it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chomp.config import Config, derive, derived_section
from chomp.config.compat import NOT_SETTINGS, TEXT_COMPARED, Difference, Severity, compare, rule_for

WORDS: Mapping[Severity, str] = {"allowed": "may change", "needs_accept": "to confirm", "incompatible": "cannot change"}


@dataclass(frozen=True)
class ForkPlan:
    """The differences between the current settings and the checkpoint's, by verdict."""

    differences: tuple[Difference, ...] = ()

    @property
    def fixed(self) -> tuple[Difference, ...]:
        """Differences that forbid the fork."""
        return tuple(one for one in self.differences if one.severity == "incompatible")

    @property
    def to_confirm(self) -> tuple[Difference, ...]:
        """Differences that the user must confirm."""
        return tuple(one for one in self.differences if one.severity == "needs_accept")

    @property
    def accept(self) -> tuple[str, ...]:
        """Names for `--accept`."""
        return tuple(one.path for one in self.to_confirm)

    def summary(self) -> str:
        """The verdict in a few words."""
        if not self.differences:
            return "no settings differ"
        parts = [f"{len(self.fixed)} cannot change"] if self.fixed else []
        parts += [f"{len(self.to_confirm)} to confirm"] if self.to_confirm else []
        free = len(self.differences) - len(self.fixed) - len(self.to_confirm)
        return ", ".join([*parts, *([f"{free} compatible"] if free else [])])


def severity_of(path: str) -> Severity:
    """What a change of one setting would mean."""
    return rule_for(path).severity


def plan_fork(identity: Mapping[str, Any], config: Config) -> ForkPlan:
    """Compare a configuration with a checkpoint's identity, as far as that is possible before data is opened."""
    saved = {name: value for name, value in identity.items() if name not in NOT_SETTINGS}
    found = compare(saved, {**config.model_dump(), "derived": derived_section(derive(config))})
    # Where the run is written and what follows from other settings is no choice of the user.
    found = [
        one for one in found if not (one.severity == "allowed" and one.path.startswith(("derived.", "logging.run_dir")))
    ]
    # Settings that name the text; only the engine can compare the text itself.
    moved = [one for one in found if rule_for(one.path).why == TEXT_COMPARED]
    if moved:
        rule = rule_for("data_fingerprint")
        found.append(
            Difference("data_fingerprint", "the text of the checkpoint", moved[0].path, rule.severity, rule.why)
        )
    return ForkPlan(tuple(found))
