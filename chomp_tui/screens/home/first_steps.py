"""What Home says where there is no run: the way to a first one."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from textual.content import Content

from chomp.record.formatting import sanitize

FIRST_CONFIG = "quickstart.yaml"


def first_steps(runs: Path, configs: Path, names: Collection[str]) -> Content:
    """The way to a first run; `names` are the configurations that are there, and no other is named."""
    head = Content.assemble(("No runs yet", "bold"), f" in {sanitize(str(runs))}.\n\n")
    if FIRST_CONFIG in names:
        return Content.assemble(
            head,
            "Choose a configuration below and press Enter: ",
            (FIRST_CONFIG, "bold"),
            " trains anywhere in a few minutes, without network. F5 starts it.",
        )
    if names:
        return Content.assemble(head, "Choose a configuration below and press Enter; F5 then starts it.")
    return Content.assemble(
        head,
        f"There are no configurations in {sanitize(str(configs))} either. Press n to begin with the default settings, "
        "or name other folders: chomp-tui --runs FOLDER --configs FOLDER.",
    )
