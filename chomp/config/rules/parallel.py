"""Rules of `parallel`: a mesh that can exist."""

from __future__ import annotations

from collections.abc import Iterator

from chomp.config.problems import Problem
from chomp.config.schema import Config


def _axes(config: Config) -> Iterator[Problem]:
    parallel = config.parallel
    for name in ("data", "fsdp"):
        if getattr(parallel, name) == 0:
            yield Problem(f"parallel.{name}", "is 0, and an axis has at least one device; write 1, or -1 for the rest")
    if parallel.data == parallel.fsdp == -1:
        yield Problem(
            "parallel.fsdp",
            "is -1 and so is parallel.data, but only one of them can be the number of devices that the other leaves; "
            "give one a number",
            also=("parallel.data",),
        )


RULES = (_axes,)
