"""Values of options that every command reads alike: paths that are not empty, finite numbers, text that is UTF-8."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

# Of seconds and temperatures: 30 years; timers of the operating system overflow at ten times that.
MOST = 1e9


class UserPath(click.Path):
    """A path; an empty text is none, as an unset variable of a shell leaves it, and would mean the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("an empty path was given", param, ctx)
        return super().convert(value, param, ctx)


class FiniteFloat(click.FloatRange):
    """A number within limits; `nan` would pass any comparison, and what follows overflows with a huge one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        if number > MOST:
            self.fail(f"{value} is more than {MOST:,.0f}", param, ctx)
        return number


class Devices(click.ParamType):
    """`0,1`, as a tuple of names."""

    name = "devices"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        # It imports the probe of GPUs, for which the console's first frame does not wait.
        from chomp.device.choice import split_devices

        try:
            return split_devices(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Utf8Text(click.ParamType):
    """Text of the command line; bytes that are not UTF-8 arrive there as lone surrogates."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            str(value).encode()
        except UnicodeEncodeError as error:
            self.fail(f"the text is not UTF-8 at character {error.start:,}", param, ctx)
        return str(value)


PATH = UserPath(path_type=Path)
PATH_TEXT = UserPath()
TEXT = Utf8Text()
SECONDS = FiniteFloat(min=0, min_open=True)

devices_option = click.option(
    "--devices",
    type=Devices(),
    default=(),
    metavar="0,1",
    help="Compute on these devices alone; default: all visible GPUs.",
)
average_option = click.option(
    "--ema", "average", is_flag=True, help="Use the moving average of the parameters (optim.ema.decay)."
)
queue_option = click.option(
    "--queue",
    "folder",
    type=PATH,
    default="queue",
    show_default=True,
    envvar="CHOMP_QUEUE",
    help="Folder of the jobs; also CHOMP_QUEUE.",
)
