"""What every option refuses: an empty path, a number that is not finite, text that is not UTF-8."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from chomp.cli.fit import MemorySize
from chomp.cli.main import COMMANDS, cli
from chomp.cli.options import FiniteFloat, UserPath, Utf8Text
from chomp.cli.stdin import InputFile
from chomp_tui.__main__ import cli as console
from tests.in_process import run


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command of `chomp` and of `chomp-tui`, groups too."""
    context = click.Context(cli)
    waiting = [(name, cli.get_command(context, name)) for name in COMMANDS] + [("chomp-tui", console)]
    while waiting:
        name, command = waiting.pop()
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            waiting += [(f"{name} {inner}", one) for inner, one in command.commands.items()]


PARAMETERS = [(name, command, parameter) for name, command in commands() for parameter in command.params]
PATHS = [(name, parameter) for name, _, parameter in PARAMETERS if isinstance(parameter.type, click.Path | click.File)]


def test_every_option_has_a_type_that_refuses_what_cannot_be_meant() -> None:
    kinds = {type(parameter.type) for _, _, parameter in PARAMETERS}
    assert not kinds & {click.Path, click.File, click.FloatRange, type(click.FLOAT)}
    assert kinds >= {UserPath, InputFile, FiniteFloat, Utf8Text}


@pytest.mark.parametrize(("name", "parameter"), PATHS, ids=lambda value: getattr(value, "name", value))
def test_an_empty_path_is_refused(name: str, parameter: click.Parameter) -> None:
    with pytest.raises(click.BadParameter, match=r"^an empty path was given$"):
        parameter.type.convert("", parameter, None)


def test_an_unset_variable_of_a_shell_is_no_path() -> None:
    done = run("prepare-data", "", "--tokenizer", "byte", "--output", "p")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        "error: Invalid value for '[TEXT]...': an empty path was given",
    )


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (FiniteFloat(min=0), "nan", "nan is not a finite number"),
        (FiniteFloat(min=0), "inf", "inf is not a finite number"),
        (FiniteFloat(min=0), "1e999", "1e999 is not a finite number"),
        (FiniteFloat(min=0), "1e30", "1e30 is more than 1,000,000,000"),
        (FiniteFloat(min=0), "-1", "-1.0 is not in the range x>=0."),
        (Utf8Text(), "a\udcff", "the text is not UTF-8 at character 1"),
        (MemorySize(), "9" * 400 + "GiB", "is not a size; write a number with KiB, MiB, GiB or TiB, e.g. 22GiB"),
    ],
)
def test_numbers_and_texts_that_cannot_be_meant(kind: click.ParamType, value: str, said: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        kind.convert(value, None, None)
    assert caught.value.message.endswith(said)


@pytest.mark.parametrize(
    "words",
    [
        ("train", "--run-dir", "r", "--resume", "9" * 5000),
        ("fork", "r", "new", "--step", "9" * 5000),
        ("generate", "r/checkpoints/" + "9" * 5000),
        ("ctl", "r", "pause", "--timeout", "nan"),
        ("fit", "c.yaml", "--seconds", "inf"),
        ("probe", "--seconds", "nan"),
        ("generate", "r", "--temperature", "nan"),
        ("generate", "r", "--seed", str(2**64)),
        ("generate", "r", "--max-tokens", str(2**40)),
        ("prepare-data", "a.txt", "-d", "p", "--workers", "1000000"),
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_numbers_beyond_all_bounds_end_in_a_sentence(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.returncode in (1, 2, 5), done.stderr
    assert "error: " in done.stderr
    assert "fault of chomp" not in done.stderr
