"""The engine's helper with a script in the place of `chomp`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import NoReturn

from chomp_tui.engine.helper import Helper


def fake_helper(script: Path | str) -> Helper:
    """A helper whose commands run a Python script, or the text of one, with their arguments."""
    return Helper((sys.executable, __file__, type(script).__name__, str(script)))


def _run(arguments: list[str]) -> NoReturn:
    import os

    kind, script = sys.argv[1:]
    sys.argv = ["chomp", *arguments]
    code = 0
    try:
        if kind == "str":
            exec(compile(script, "script", "exec"), {"__name__": "__main__"})
        else:
            runpy.run_path(script, run_name="__main__")
    except SystemExit as left:
        if isinstance(left.code, str):
            print(left.code, file=sys.stderr)
        code = left.code if isinstance(left.code, int) else bool(left.code)
    except BaseException:  # noqa: BLE001 - as the interpreter does with what nothing caught
        sys.excepthook(*sys.exc_info())
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    from chomp.cli.helper import serve

    serve(_run, (), ())
