"""Which checkpoints stay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chomp.config.run import CheckpointConfig
from chomp.record.manifest import CheckpointInfo


@dataclass(frozen=True)
class Retention:
    """Two tiers: the newest few roll; multiples of `keep_every`, the best and the tagged stay.

    Attributes:
        best_by: the evaluation set or task by which the best are chosen; None: the held-out text.
        text: digest of what that scores; checkpoints with scores of other text are not among the best.
    """

    max_to_keep: int
    keep_every: int = 0
    keep_best: int = 0
    best_by: str | None = None
    text: str | None = None

    def surplus(self, infos: Sequence[CheckpointInfo]) -> list[CheckpointInfo]:
        """The checkpoints that no tier keeps, given all of them oldest first."""
        kept = {info.step for info in infos[-self.max_to_keep :]}
        kept |= {info.step for info in infos if info.tags}
        if self.keep_every:
            kept |= {info.step for info in infos if info.step and info.step % self.keep_every == 0}
        ranks = ((self._rank(info), info.step) for info in infos)
        measured = [(rank, -step) for rank, step in ranks if rank is not None]
        kept |= {-step for _, step in sorted(measured)[: self.keep_best]}
        return [info for info in infos if info.step not in kept]

    def stays(self, step: int, rank: float | None, infos: Sequence[CheckpointInfo]) -> bool:
        """Whether a checkpoint saved now, beside these, would be kept for good."""
        if self.keep_every and step and step % self.keep_every == 0:
            return True
        if rank is None or not math.isfinite(rank):
            return False
        others = [self._rank(info) for info in infos if info.step != step]
        return sum(other < rank for other in others if other is not None) < self.keep_best

    def _rank(self, info: CheckpointInfo) -> float | None:
        return info.rank(self.best_by, self.text)


def build_retention(config: CheckpointConfig, best_by: str | None = None, text: str | None = None) -> Retention:
    """The tiers of the `checkpoint` section.

    Args:
        best_by: `evaluation.best`.
        text: digest of what that scores.
    """
    return Retention(config.max_to_keep, config.keep_every, config.keep_best, best_by, text)
