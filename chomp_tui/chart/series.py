"""A series of a chart: its data, and how it is told apart from others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Tone = Literal["raw", "smooth", "eval", "second", "dim"]


@dataclass(frozen=True, eq=False)
class Series:
    """One series.

    Attributes:
        x: ascending; a run's steps, tokens or seconds.
        y: as long as x; what is not finite is a gap.
        tone: its colour and weight: the raw, smoothed and evaluated values of one run, a second curve, or a dimmed one
            for context.
        sparse: whether every sample gets a sign of its own, as evaluations do.
        slot: the number of its run, where a chart shows several: colour, sign and stroke follow from it alone, so they
            stay when other runs come and go. The series of one run share a slot. None for a chart of one run.
        mark: its sign, one cell wide, instead of that of its slot or tone.
        rank: where the heading has no room for all series, it names those of less rank first.
        raw: what y is an average of, as long as x. The heading gives its value first, and that of y as `smoothed`.
    """

    name: str
    x: NDArray[np.generic]
    y: NDArray[np.generic]
    tone: Tone = "smooth"
    sparse: bool = False
    slot: int | None = None
    mark: str = ""
    rank: int = 0
    raw: NDArray[np.generic] | None = None
