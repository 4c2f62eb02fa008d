"""Which checkpoints stay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chomp.config.run import CheckpointConfig
from chomp.record.manifest import CheckpointInfo


@dataclass(frozen=True)
class Retention:
    """Two tiers: the newest few roll; multiples of `keep_every`, the best and the tagged stay."""

    max_to_keep: int
    keep_every: int = 0
    keep_best: int = 0

    def surplus(self, infos: Sequence[CheckpointInfo]) -> list[CheckpointInfo]:
        """The checkpoints that no tier keeps, given all of them oldest first."""
        kept = {info.step for info in infos[-self.max_to_keep :]}
        kept |= {info.step for info in infos if info.tags}
        if self.keep_every:
            kept |= {info.step for info in infos if info.step and info.step % self.keep_every == 0}
        measured = [info for info in infos if info.eval_loss is not None]
        measured.sort(key=lambda info: (info.eval_loss, -info.step))
        kept |= {info.step for info in measured[: self.keep_best]}
        return [info for info in infos if info.step not in kept]

    def stays(self, step: int, eval_loss: float | None, infos: Sequence[CheckpointInfo]) -> bool:
        """Whether a checkpoint saved now, beside these, would be kept for good."""
        if self.keep_every and step and step % self.keep_every == 0:
            return True
        if eval_loss is None or not math.isfinite(eval_loss):
            return False
        others = [info.eval_loss for info in infos if info.step != step and info.eval_loss is not None]
        return sum(other < eval_loss for other in others) < self.keep_best


def build_retention(config: CheckpointConfig) -> Retention:
    """The tiers of the `checkpoint` section."""
    return Retention(max_to_keep=config.max_to_keep, keep_every=config.keep_every, keep_best=config.keep_best)
