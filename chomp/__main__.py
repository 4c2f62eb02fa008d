"""`python -m chomp`, `chomp` and `chomp-train`."""

from __future__ import annotations

import sys


def main() -> None:
    """The `chomp` command."""
    from chomp.cli.main import cli, run

    run(cli)


def train_main() -> None:
    """`chomp-train`: `chomp train` under its older name, with `--config` for the argument."""
    from chomp.cli.main import run
    from chomp.cli.train import command

    run(command, sys.argv[1:])


if __name__ == "__main__":
    main()
