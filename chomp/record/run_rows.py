"""A run's view together with the rows of its `metrics.jsonl`: whatever was read first, the result is the same."""

from __future__ import annotations

import dataclasses

import numpy as np

from chomp.record.columns import Columns
from chomp.record.run_view import EVAL_COLUMNS, RunView


def with_rows(view: RunView, rows: Columns) -> RunView:
    """The view with the rows of `metrics.jsonl`, which come after those that an event log of version 1 holds."""
    if view.started is None:
        return view
    rows = _not_rolled_back(view, rows)
    if not len(rows):
        return view
    if len(view.rows):
        rows = view.rows.append({name: rows[name] for name in rows.names if rows.has_numbers(name)})
    return dataclasses.replace(
        view,
        rows=rows,
        evals=_with_tokens(view, rows),
        step=max(view.step, int(rows["step"][-1])),
        tokens_seen=max(view.tokens_seen, int(rows.last("tokens_seen") or 0)),
        last_t=max(view.last_t or 0.0, rows.last("t") or 0.0),
    )


def _not_rolled_back(view: RunView, rows: Columns) -> Columns:
    """The rows without those that the engine is about to remove: it writes the event of a rollback first."""
    told = view.rollbacks[-1] if view.rollbacks else None
    if told is None or told.t != view.last_t:
        return rows
    stays = rows.cut(told.step)
    return stays if len(stays) < len(rows) and rows["t"][len(stays)] < told.t else rows


def _with_tokens(view: RunView, rows: Columns) -> Columns:
    """The evaluations, each with the loss tokens up to its step: its row's, or at the pace of the rows before it."""
    steps = view.evals["step"]
    place = np.searchsorted(rows["step"], steps, side="right") - 1
    per_step = rows["tokens_seen"][place] / np.maximum(rows["step"][place], 1)
    assert view.started is not None
    per_step = np.where((place < 0) | np.isnan(per_step), view.started.tokens_per_step, per_step)
    columns = {name: view.evals[name] for name in EVAL_COLUMNS}
    return Columns.empty(EVAL_COLUMNS).extend({**columns, "tokens_seen": steps * per_step})
