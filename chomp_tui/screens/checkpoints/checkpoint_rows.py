"""Checkpoints as cells of a list, as lines of detail, and what differs as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from textual.content import Content

from chomp.config.compat import Difference
from chomp.record.formatting import moment, one_line, plural, size, when
from chomp_tui.live.checkpoint_list import CheckpointRow, names
from chomp_tui.widgets.listing import Cell, Column, Row, cell
from chomp_tui.widgets.looks import facts, loss_cell, loss_text

RUN = Column("run", "run", 26, middle=True, whole=True)
COLUMNS = (
    Column("step", "step", 9, right=True, whole=True),
    Column("which", "", 8),
    Column("when", "when", 6, rank=2, right=True),
    Column("eval", "eval", 7, rank=1, right=True),
    Column("train", "train", 7, rank=3, right=True),
    Column("size", "size", 8, rank=4, right=True),
    Column("integrity", "integrity", 9),
    Column("tags", "tags", 12, rank=5, whole=True),
    Column("fits", "settings", 18, grow=1, whole=True),
)


@dataclass(frozen=True)
class Verification:
    """A verification: running (`fraction` done), or ended with its problems."""

    fraction: float | None = None
    problems: tuple[str, ...] = ()


def columns(*, with_run: bool, narrow: bool = False) -> tuple[Column, ...]:
    """The columns for one run, or for all."""
    shown = (RUN, *COLUMNS) if with_run else COLUMNS
    if not narrow:
        return shown
    # A narrow screen keeps room for the run's name and the first words of the verdict.
    least = {"run": 23, "fits": 9}
    return tuple(replace(column, width=least.get(column.key, column.width)) for column in shown)


def checkpoint_row(row: CheckpointRow, now: float, check: Verification | None) -> Row:
    """A checkpoint as a line of the list; `now` is Unix time."""
    which = (("latest " if row.is_latest else "", "muted"), ("★" if row.is_best else "", "accent"))
    return Row(
        row.key,
        {
            "run": cell(row.run.name),
            "step": cell(f"{row.step:,}", "strong"),
            "which": which,
            "when": cell(when(row.saved_at, now) if row.saved_at else "-", "muted"),
            "eval": loss_cell(row.eval_loss, "accent" if row.is_best else ""),
            "train": loss_cell(row.train_loss),
            "size": cell(size(row.bytes), "muted"),
            "integrity": integrity_cell(row, check),
            "tags": cell(", ".join(row.tags), "accent"),
            "fits": cell(*fit(row)),
        },
    )


def integrity_cell(row: CheckpointRow, check: Verification | None) -> Cell:
    """Whether its files match the manifest, if they were verified."""
    if row.damaged is not None or (check is not None and check.problems):
        return cell("✗ no", "bad")
    if check is None:
        return cell("?", "muted")
    return cell("✓ yes", "good") if check.fraction is None else cell(f"{check.fraction:4.0%}", "warn")


def fit(row: CheckpointRow) -> tuple[str, str]:
    """Whether it can continue with the compared settings: a few words and their tone."""
    differences = compared(row)
    if row.damaged is not None:
        return "damaged", "bad"
    if differences is None:
        return "unknown", "muted"
    fixed, confirm, free = (names(differences, severity) for severity in ("incompatible", "needs_accept", "allowed"))
    if fixed:
        return f"incompatible: {plural(len(fixed), 'setting')}, {', '.join(fixed)}", "bad"
    if confirm:
        return f"{plural(len(confirm), 'change')} to confirm: {', '.join(confirm)}", "warn"
    return (f"compatible: {plural(len(free), 'change')}", "good") if free else ("same", "good")


def compared(row: CheckpointRow) -> tuple[Difference, ...] | None:
    """The differences that the screen shows: from the current configuration, else from the run's own settings."""
    return row.current if row.current is not None else row.own


def fit_sentence(row: CheckpointRow) -> str:
    """The same in a sentence."""
    differences = compared(row)
    if row.damaged is not None:
        return row.damaged
    if differences is None:
        return "its settings cannot be compared: a description is missing"
    fixed, confirm, free = (names(differences, severity) for severity in ("incompatible", "needs_accept", "allowed"))
    if fixed:
        return f"cannot resume with these settings: {', '.join(fixed)} cannot change"
    if confirm:
        return f"to confirm before a resume: {', '.join(confirm)}"
    if free:
        return f"{len(free)} setting{'s differ' if len(free) > 1 else ' differs'}, compatible: {', '.join(free)}"
    return "the same settings"


def checkpoint_detail(
    row: CheckpointRow, now: float, check: Verification | None, reference: str | None, width: int
) -> Content:
    """The facts of a checkpoint, most important first, in lines of `width` cells."""
    against = f" (compared with {reference})" if row.current is not None and reference else ""
    named = [
        ("fits", f"{fit_sentence(row)}{against}"),
        ("files", _integrity_sentence(row, check)),
        ("tags", f"{', '.join(row.tags)} (kept by retention)" if row.tags else ""),
        ("where", f"{row.path}, {size(row.bytes)}"),
        ("losses", f"train {loss_text(row.train_loss)}, eval {loss_text(row.eval_loss)}"),
        ("saved", f"{moment(row.saved_at, now)}{f', on {row.device}' if row.device else ''}"),
        ("run", f"live, pid {row.pid}" if row.pid else ""),
    ]
    return facts(named, width)


def _integrity_sentence(row: CheckpointRow, check: Verification | None) -> str:
    if check is None:
        return "" if row.damaged else "integrity: not verified; v compares every byte with the manifest"
    if check.fraction is not None:
        return f"integrity: comparing, {check.fraction:.0%}"
    return f"DAMAGED: {'; '.join(check.problems)}" if check.problems else "integrity: every byte matches the manifest"


def difference_table(differences: Sequence[Difference]) -> Content:
    """The differences, the strictest verdict first."""
    order = {"incompatible": 0, "needs_accept": 1, "allowed": 2}
    verdicts = {
        "incompatible": ("cannot change", "$error"),
        "needs_accept": ("to confirm", "$warning"),
        "allowed": ("may change", "$success"),
    }
    rows = sorted(differences, key=lambda item: (order[item.severity], item.path))
    path_width = max(len(item.path) for item in rows)
    saved_width = max(len("checkpoint"), *(len(_value(item.saved)) for item in rows))
    now_width = max(len("now"), *(len(_value(item.now)) for item in rows))
    head = f"{'setting':<{path_width}}  {'checkpoint':<{saved_width}}  {'now':<{now_width}}  verdict"
    lines = [Content.styled(head, "bold $muted")]
    for item in rows:
        verdict, colour = verdicts[item.severity]
        lines.append(
            Content(
                f"{item.path:<{path_width}}  {_value(item.saved):<{saved_width}}  {_value(item.now):<{now_width}}  "
            )
            + Content.styled(verdict, colour)
            + Content.styled(f": {item.why}", "$muted")
        )
    return Content("\n").join(lines)


def change_lines(differences: Sequence[Difference]) -> str:
    """The same for a question: one short line each."""
    return "\n".join(f"{item.path}: {_value(item.saved)} → {_value(item.now)}" for item in differences)


def _value(value: object, limit: int = 24) -> str:
    text = one_line("unset" if value is None else str(value))
    return text if len(text) <= limit else text[: limit - 1] + "…"
