"""The alerts of a run, newest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chomp.record.formatting import size
from chomp.record.run_view import RunView
from chomp.record.status import GONE, Status, Tone

if TYPE_CHECKING:
    from chomp_tui.live.feed import RunUpdate

MOST_WARNINGS = 20

# After so many rows a spike is no news.
SPIKE_RECENT_ROWS = 50

MEMORY_NEAR_LIMIT = 0.95
# Room for the next checkpoint beside the one before, and, before any is written, for events and logs.
DISK_CHECKPOINTS = 2.0
DISK_LEAST_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Alert:
    """One thing to look at: `word` names its kind, `text` is one sentence, `t` is Unix time in seconds.

    `text` may hold foreign text (paths, messages of the system): show it literally.
    """

    tone: Tone
    word: str
    text: str
    t: float


def alerts(update: RunUpdate, state: Status, now: float) -> tuple[Alert, ...]:
    """The alerts of a run at Unix time `now`, newest first.

    While an engine starts, the end of the one before it is no alert.
    """
    view = update.view
    found = [*_of_state(update, state, now), *_of_disk(update, now)]
    if state.word != "starting":
        found += [
            *_of_numbers(view),
            *_of_spikes(view),
            *_of_checkpoints(view),
            *_of_memory(view),
            *_of_warnings(view),
        ]
    return tuple(sorted(found, key=lambda alert: -alert.t))


def _of_state(update: RunUpdate, state: Status, now: float) -> Iterator[Alert]:
    view = update.view
    last_t = view.last_t or now
    if update.problem is not None:
        yield Alert("warn", "unreadable", update.problem, now)
    if state.word == "silent":
        yield Alert("warn", "silent", state.reason, last_t)
    elif state.word == "crashed":
        word = "gone" if state.reason == GONE else "crashed"
        yield Alert("bad", word, state.reason, view.ended.t if view.ended is not None else last_t)
    if view.refused is not None and state.word != "starting":
        yield Alert("warn", "refused", f"an attempt to resume was refused: {view.refused.reason}", view.refused.t)


def _of_numbers(view: RunView) -> Iterator[Alert]:
    """Steps that were not finite."""
    if not view.nonfinite:
        return
    newest = view.nonfinite[-1]
    if view.rollbacks and view.rollbacks[-1].from_step == newest.step:
        yield Alert("warn", "rollback", view.rollbacks[-1].message, view.rollbacks[-1].t)
        return
    if newest.action == "rollback":
        text = f"step {newest.step}: loss or gradient is not finite; the engine goes back to its last good checkpoint"
        yield Alert("bad", "non-finite", text, newest.t)
        return
    if newest.action == "halt":
        text = f"step {newest.step}: loss or gradient is not finite; the engine stops before it"
        yield Alert("bad", "non-finite", text, newest.t)
        return
    count = view.nonfinite_count
    text = f"step {newest.step}: loss or gradient is not finite; its update was skipped ({count} so far)"
    yield Alert("warn", "non-finite", text, newest.t)


def _of_spikes(view: RunView) -> Iterator[Alert]:
    """The newest spike, until enough rows have followed it."""
    if not view.spikes:
        return
    newest = view.spikes[-1]
    if view.rollbacks and view.rollbacks[-1].from_step == newest.step:
        yield Alert("warn", "rollback", view.rollbacks[-1].message, view.rollbacks[-1].t)
    elif np.count_nonzero(view.rows["step"] > newest.step) < SPIKE_RECENT_ROWS:
        more = f" ({view.spike_count} so far)" if view.spike_count > 1 else ""
        yield Alert("warn", "loss spike", f"{newest.message}{more}", newest.t)


def _of_checkpoints(view: RunView) -> Iterator[Alert]:
    """Saves that failed since the last good one, and checkpoints that were refused."""
    saved_at = max((one.t for one in view.checkpoints.values() if one.state == "committed"), default=0.0)
    for one in view.checkpoints.values():
        if one.state == "failed" and one.t >= saved_at:
            yield Alert("bad", "save failed", f"step {one.step} could not be saved: {one.reason or 'no reason'}", one.t)
        elif one.state == "refused":
            yield Alert("warn", "damaged", f"the checkpoint of step {one.step} was refused: {one.reason}", one.t)


def _of_memory(view: RunView) -> Iterator[Alert]:
    peak, limit = view.rows.last("peak_memory_gb"), view.rows.last("device_memory_limit_gb")
    if view.ended is None and peak is not None and limit and peak >= MEMORY_NEAR_LIMIT * limit:
        text = f"the device's memory is nearly full: {size(peak * 2**30)} of {size(limit * 2**30)} at its peak"
        yield Alert("warn", "memory", text, view.rows.last("t") or 0.0)


def _of_disk(update: RunUpdate, now: float) -> Iterator[Alert]:
    free, view = update.disk_free_bytes, update.view
    if free is None or update.liveness.pid is None:
        return
    sizes = [one.bytes for one in view.checkpoints.values() if one.bytes]
    needed = max(sizes, default=0)
    if free < max(DISK_CHECKPOINTS * needed, DISK_LEAST_BYTES):
        holds = f"; a checkpoint takes {size(needed)}" if needed else ""
        tone: Tone = "bad" if free < needed else "warn"
        yield Alert(tone, "disk", f"the disk is nearly full: {size(free)} free{holds}", view.last_t or now)


def _of_warnings(view: RunView) -> Iterator[Alert]:
    """The engine's own warnings of this attempt."""
    since = view.opening.t if view.opening is not None else view.started.t if view.started is not None else 0.0
    failed = {one.step for one in view.checkpoints.values() if one.state == "failed"}
    for warning in view.warnings[-MOST_WARNINGS:]:
        if warning.t >= since and not (warning.topic == "checkpoint" and warning.step in failed):
            tone: Tone = "idle" if warning.topic == "terminal" else "warn"
            yield Alert(tone, warning.topic or "warning", warning.message, warning.t)
