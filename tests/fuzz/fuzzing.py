"""Puts damaged inputs to chomp and judges how it ends: whatever an input holds, a user reads one sentence.

`CHOMP_FUZZ=1000` in the environment sets the inputs of each kind in the tests marked soak; `CHOMP_FUZZ_ONLY=57` runs
that one input of each kind.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import click

from chomp.errors import ChompError
from tests.fuzz.damage import damage, restore
from tests.in_process import run

# The table of docs/architecture.md.
EXIT_CODES = (0, 1, 2, 3, 4, 5, 6, 138, 140, 152)
# A machine that tests run on may be busy.
BOUND_SECONDS = 30.0
MOST_CHARACTERS = 20_000
SIGNS_OF_A_FAULT = ("Traceback (most recent call last)", "is a fault of chomp", "panicked at")


@dataclass(frozen=True)
class Ended:
    """How a command, or what it calls, ended, and what it said."""

    code: int
    said: str = ""


class TooSlowError(BaseException):
    """The bound of time is over; no handler of chomp takes it for an error of its own."""


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        make: writes intact files into an empty folder.
        use: does with the folder what a command does with it; may draw, too.
        count: inputs in `make test`.
        damages: whether files are damaged first; otherwise `use` draws the input.
        settle: what is done to the damaged files before they are used.
    """

    name: str
    make: Callable[[Path], object]
    use: Callable[[Path, Random], Ended]
    count: int
    damages: bool = True
    settle: Callable[[Path, Random], None] = lambda folder, random: None


@dataclass
class Tally:
    """What became of the inputs of a kind: how many by exit code, and the failures."""

    kind: str
    codes: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        codes = ", ".join(f"exit {code}: {count}" for code, count in sorted(self.codes.items()))
        return f"fuzz {self.kind}: {self.codes.total()} inputs in {self.seconds:.1f} s ({codes})"


def by_command(*args: object) -> Ended:
    """Run `chomp ARGS` here."""
    done = run(*args)
    return Ended(done.returncode, done.stdout + done.stderr)


def by_function(work: Callable[[], object]) -> Ended:
    """Call what a command calls; an error of chomp has the exit code of the command."""
    try:
        work()
    except ChompError as error:
        return Ended(error.exit_code, f"error: {error}")
    except click.ClickException as error:
        return Ended(error.exit_code, f"error: {error.format_message()}")
    return Ended(0)


def fuzz(kind: Kind, folder: Path, count: int) -> Tally:
    """Try `count` inputs of a kind; the same numbers give the same inputs."""
    intact, place = folder / "intact", folder / "input"
    intact.mkdir()
    place.mkdir()
    kind.make(intact)
    tally, started = Tally(kind.name), time.monotonic()
    only = os.environ.get("CHOMP_FUZZ_ONLY")
    for number in [int(only)] if only else range(count):
        random = Random(f"{kind.name} {number}")
        restore(place, intact)
        files = sorted(path for path in place.rglob("*") if path.is_file())
        done = damage(files, random) if kind.damages else "drawn"
        kind.settle(place, random)
        before = digests(place)
        ended, problem = judged(kind, place, random)
        if problem is None and digests(place) != before:
            problem = "an input file was changed"
        tally.codes[ended.code] += 1
        if problem is not None:
            tally.failures.append(f"{kind.name} {number} ({done}): {problem}")
    tally.seconds = time.monotonic() - started
    return tally


def judged(kind: Kind, place: Path, random: Random) -> tuple[Ended, str | None]:
    """How an input ended, and what is wrong with that."""
    try:
        with bounded(BOUND_SECONDS):
            ended = kind.use(place, random)
    except TooSlowError:
        return Ended(-1), f"more than {BOUND_SECONDS:.0f} s"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return Ended(-1), "".join(traceback.format_exception(error)[-6:])
    if ended.code not in EXIT_CODES:
        return ended, f"exit code {ended.code}: {ended.said[-500:]}"
    if any(sign in ended.said for sign in SIGNS_OF_A_FAULT):
        return ended, ended.said[-2000:]
    if ended.code and not ended.said.strip():
        return ended, f"exit code {ended.code} without a word"
    if ended.code and len(ended.said) > MOST_CHARACTERS:
        return ended, f"{len(ended.said):,} characters: {ended.said[:500]}"
    return ended, None


@contextlib.contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Raise `TooSlowError` in this thread when the time is over."""

    def over(number: int, frame: object) -> None:
        raise TooSlowError

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def digests(folder: Path) -> dict[str, str]:
    """What each path in a folder is: a file by its bytes, a link by its target."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_file() and os.access(path, os.R_OK):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder" if path.is_dir() else "unreadable"
    return found
