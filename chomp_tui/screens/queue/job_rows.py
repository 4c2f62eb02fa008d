"""Jobs of the queue as cells of a list and as lines of detail."""

from __future__ import annotations

from textual.content import Content

from chomp.queue.folder import Unreadable
from chomp.queue.job import Job
from chomp.queue.table import JobRow
from chomp.record.formatting import duration
from chomp_tui.widgets.listing import Column, Row, cell
from chomp_tui.widgets.looks import facts, look, loss_cell, progress_bar, reason_cell, status_cell, status_line
from chomp_tui.widgets.run_detail import curve_lines, loss_picture, sample_lines, setting_facts

JOB_COLUMNS = (
    Column("id", "job", 3, right=True),
    Column("state", "state", 11),
    Column("name", "name", 16, grow=2, middle=True, whole=True),
    Column("step", "step", 13, rank=2, right=True, whole=True),
    Column("bar", "", 8, rank=7),
    Column("loss", "loss", 7, rank=4, right=True),
    Column("eval", "eval", 7, rank=1, right=True),
    Column("device", "device", 6, rank=5, whole=True),
    Column("when", "when", 12, grow=3, rank=1),
)


def job_row(row: JobRow) -> Row:
    """A job as a line of the list."""
    status, found = look(row.state, row.when), row.summary
    scored = found.eval_loss if found is not None else None
    return Row(
        str(row.job.id),
        {
            "id": cell(str(row.job.id), "muted"),
            "state": status_cell(status, " !" if row.job.urgent else ""),
            "name": cell(row.job.name, "strong" if row.job.state == "running" else ""),
            "step": cell(row.progress or "-"),
            "bar": progress_bar(found.step, found.total_steps) if found is not None else (),
            "loss": loss_cell(found.loss if found is not None else None),
            "eval": loss_cell(scored, "muted" if scored is None else "accent"),
            "device": cell(row.device, "muted"),
            "when": reason_cell(status),
        },
    )


def unreadable_row(found: Unreadable) -> Row:
    """A file that holds no job as a line of the list."""
    cells = {
        "id": cell(str(found.id), "muted"),
        "state": status_cell(look("held")),
        "name": cell("?"),
        "when": cell(found.problem, "bad"),
    }
    return Row(str(found.id), cells)


def job_detail(row: JobRow, width: int, height: int) -> Content:
    """The facts of a job, most important first; in a panel of `height` lines also what its run has come to."""
    job = row.job
    limits = [
        f"at most {duration(job.for_seconds)}" if job.for_seconds is not None else "",
        f"not before {job.not_before:%Y-%m-%d %H:%M}" if job.not_before is not None else "",
        f"after job {', '.join(map(str, job.after))}" if job.after else "",
        f"{job.gpus} GPUs" if job.gpus > 1 else "on the CPU" if job.gpus == 0 else "",
        "urgent" if job.urgent else "",
    ]
    named = [
        ("run", job.run_dir or ""),
        ("config", job.source),
        ("sets", "  ".join(f"-o {text}" for text in job.overrides)),
        ("limits", " · ".join(text for text in limits if text)),
        ("sweep", _part_of_sweep(job)),
    ]
    tries = [
        ("" if place else "tries", f"{one.began:%Y-%m-%d %H:%M} on {one.place}: {one.how or 'runs'}")
        for place, one in enumerate(reversed(job.attempts[-3:]))
    ]
    lines = [facts([*named, *tries], width, [status_line(look(row.state, row.when))])]
    if height and (run := row.summary) is not None:
        lines += [Content(""), *loss_picture(run.losses, width, curve_lines(height))]
        lines += [facts(setting_facts(run.settings), width), Content("")]
        lines += [sample_lines(run.sample)] if run.sample else []
    return Content("\n").join(lines)


def _part_of_sweep(job: Job) -> str:
    if job.sweep is None:
        return ""
    return f"{f'trial {job.trial}' if job.trial is not None else 'prefix'} of {job.sweep}"
