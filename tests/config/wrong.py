"""Reads text that must be refused and gives back what the user would see."""

import pytest

from chomp.config import InvalidConfig, parse_config


def refusal(text: str, *overrides: str) -> list[str]:
    """The lines of the error for a file called c.yaml, without the counting first line."""
    with pytest.raises(InvalidConfig) as caught:
        parse_config(text, source="c.yaml", overrides=overrides)
    assert caught.value.exit_code == 2
    lines = str(caught.value).splitlines()
    if len(lines) > 1:
        assert lines[0] == f"{len(lines) - 1} problems"
        lines = [line.removeprefix("  ") for line in lines[1:]]
    assert len(lines) == len(caught.value.problems)
    return lines
