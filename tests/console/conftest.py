"""What the screen tests share: style sheets are parsed once, and waits are short."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet


@pytest.fixture(scope="session", autouse=True)
def style_sheets_are_parsed_once() -> Iterator[None]:
    """An application keeps the rules of a text until its variables change; here all of them keep them together.

    Every test starts an application, and each would parse the same thousand rules. The rules of one text with other
    variables (a theme's colours) are others.
    """
    # Private: Textual has a cache of its own for one stylesheet only.
    parse = Stylesheet._parse_rules
    parsed: dict[tuple[Any, ...], list[RuleSet]] = {}

    def parse_once(self: Stylesheet, *args: Any, **options: Any) -> list[RuleSet]:
        key = (frozenset(self._variables.items()), args, frozenset(options.items()))
        if key not in parsed:
            parsed[key] = parse(self, *args, **options)
        return parsed[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stylesheet, "_parse_rules", parse_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def waits_are_short() -> Iterator[None]:
    """Tests wait for what is drawn, not for a person.

    The pilot waits after each key until the process has rested for a little more than a frame: here frames are four
    times as fast, and it rests for two of them. A followed run is looked at more often than where a person looks and
    the machine trains.
    """
    with pytest.MonkeyPatch.context() as patch:
        # Private: Textual reads the frames per second once, from the environment of the process.
        patch.setattr("textual.screen.UPDATE_PERIOD", 1 / 240)
        patch.setattr("textual._wait.SLEEP_GRANULARITY", 1 / 100)
        patch.setattr("textual._wait.SLEEP_IDLE", 1 / 100 / 20)
        patch.setattr("chomp_tui.screens.run.following.REST_SECONDS", 0.05)
        patch.setattr("chomp_tui.screens.run.following.REST_WHERE_ALL_WORK_SECONDS", 0.05)
        patch.setattr("chomp_tui.screens.configure.screen.CHECK_SECONDS", 0.03)
        yield


@pytest.fixture(autouse=True)
def no_measurement_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device screen shows the last result of `chomp probe --compare`, which the developer may have."""
    monkeypatch.setattr("chomp_tui.screens.device.measured.comparison_file", lambda: None)
