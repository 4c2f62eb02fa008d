"""What a resume in place from a checkpoint would do, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chomp.config.compat import Difference
from chomp_tui.live.checkpoint_list import CheckpointRow


@dataclass(frozen=True)
class ResumePlan:
    """What a resume in place would do.

    Attributes:
        refusal: one sentence if it cannot be done at all.
        set_aside: later steps, whose checkpoints are moved out of the way.
        fixed: differences that forbid it.
        to_confirm: differences that the user must confirm.
        last_step: of the run, if the checkpoint is at or behind it already: more steps are needed.
    """

    refusal: str | None = None
    set_aside: tuple[int, ...] = ()
    fixed: tuple[Difference, ...] = ()
    to_confirm: tuple[Difference, ...] = ()
    last_step: int | None = None

    @property
    def accept(self) -> tuple[str, ...]:
        """Names for `--accept`."""
        return tuple(item.path for item in self.to_confirm)


def plan_resume(row: CheckpointRow, rows: Sequence[CheckpointRow]) -> ResumePlan:
    """The plan for one checkpoint; `rows` holds at least all of its run.

    The settings are those that the run was last started with: they are what the engine takes
    when no configuration is named.
    """
    if row.pid is not None:
        return ResumePlan(f"{row.run.name} is running (pid {row.pid}): stop it first, or fork from this checkpoint")
    if row.damaged is not None:
        return ResumePlan(row.damaged)
    own = row.own or ()
    later = tuple(sorted(other.step for other in rows if other.run == row.run and other.step > row.step))
    at_end = row.total_steps is not None and row.step >= row.total_steps
    return ResumePlan(
        set_aside=later,
        fixed=tuple(item for item in own if item.severity == "incompatible"),
        to_confirm=tuple(item for item in own if item.severity == "needs_accept"),
        last_step=row.total_steps if at_end else None,
    )


def going_back_text(row: CheckpointRow, plan: ResumePlan) -> str:
    """What happens to everything beyond a checkpoint that is not the latest."""
    steps = ", ".join(f"{step:,}" for step in plan.set_aside)
    one = len(plan.set_aside) == 1
    return (
        f"It is not the latest. The checkpoint{'' if one else 's'} of step {steps} "
        f"{'is' if one else 'are'} moved to checkpoints/set-aside/, not deleted. Rows and samples beyond step "
        f"{row.step:,} are removed from metrics.jsonl and samples.jsonl; events.jsonl keeps all of them. "
        "To keep both futures, fork instead."
    )


def more_steps_problem(text: str, at: int) -> str | None:
    """What is wrong with a new number of steps for a run at step `at`."""
    if not text.strip().replace("_", "").isdecimal():
        return "expected a whole number of steps"
    return None if int(text) > at else f"must be more than {at:,}, where this checkpoint is"
