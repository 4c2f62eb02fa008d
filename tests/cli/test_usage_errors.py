"""A command line that is not understood ends in the same word as every other complaint."""

from __future__ import annotations

import pytest

from chomp.cli import main


@pytest.mark.parametrize(
    ("arguments", "last"),
    [
        (["fork"], "error: Missing argument 'RUN'."),
        (["trian"], "error: No such command 'trian'. Did you mean train?"),
        (["ctl", "run", "--Error: "], "error: No such option '--Error: '."),
        (["explain", ".", "abc"], "error: Invalid value for 'STEP': 'abc' is not a whole number."),
        (["generate", ".", "--temperature", "x"], "error: Invalid value for '--temperature': 'x' is not a number."),
    ],
)
def test_errors_of_usage_are_told_as_all_others(
    arguments: list[str], last: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(main, "leave", codes.append)
    main.run(main.cli, arguments)
    said = capsys.readouterr()
    assert (codes, said.out) == ([2], "")
    assert said.err.startswith("Usage: ")
    assert said.err.splitlines()[-1] == last


def test_without_a_command_the_help_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "leave", lambda code: None)
    main.run(main.cli, [])
    said = capsys.readouterr()
    assert "Commands:" in said.out + said.err
    assert "rror:" not in said.out + said.err
