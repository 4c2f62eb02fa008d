"""The parts of a report about one run, each as HTML; empty where the run has nothing of the kind."""

from __future__ import annotations

import time
from collections.abc import Iterable

from chomp.config.spec import setting_at
from chomp.record.comparison import setting_text
from chomp.record.events import Sampled
from chomp.record.formatting import count, duration, is_finite, loss, one_line, size
from chomp.record.manifest import list_checkpoints
from chomp.record.run_record import RunRecord
from chomp.record.scores import cells, newest, of_average
from chomp.report.html import Cell, escaped, pairs, table

# Names of machines and receivers are the user's own affair.
PRIVATE = ("notify.", "logging.")
MOST_WARNINGS = 50
MOST_EARLIER_SAMPLES = 100
LONGEST_SAMPLE = 10_000
MOST_SETTINGS = 500
TIMES = {
    "train": "training",
    "data_wait": "waiting for data",
    "eval": "evaluation",
    "sample": "samples",
    "save": "saving",
    "compile": "compilation",
    "startup": "start-up",
    "paused": "paused",
    "lost": "lost: trained again after a resume",
}


def heading(run: RunRecord, job: str = "", *, is_alone: bool = True) -> str:
    """State, note, tags, the job that trained it, and the main figures.

    Args:
        is_alone: whether the page has the name that the user gave the run as its title.
    """
    summary, notes = run.summary, run.summary.notes
    status = summary.status
    tone = status.tone if status.tone in ("good", "bad") else "muted"
    reason = f": {status.reason}" if status.reason else ""
    named = f"{run.name if is_alone else notes.name} · " if notes.name else ""
    parts = [f'<p class="{tone}">{escaped(one_line(named + status.word + reason))}</p>']
    if summary.origin is not None:
        origin = summary.origin
        parts.append(f"<p>{origin.kind.capitalize()} {escaped(one_line(origin.run))} at step {origin.step:,}.</p>")
    if job:
        parts.append(f"<p>{escaped(one_line(job))}</p>")
    if notes.tags:
        parts.append(f"<p>{''.join(f'<span class=tag>{escaped(tag)}</span>' for tag in notes.tags)}</p>")
    parts += [f"<p>{escaped(line)}</p>" for line in notes.note.splitlines()]
    if notes.problem:
        parts.append(f'<p class="bad">notes.yaml cannot be read: {escaped(notes.problem)}</p>')
    tiles = "".join(
        f"<div><dt>{name}</dt><dd>{escaped(value)} <small>{more}</small></dd></div>"
        for name, value, more in _tiles(run)
    )
    return f'{"".join(parts)}<dl class="tiles">{tiles}</dl>'


def _tiles(run: RunRecord) -> Iterable[tuple[str, str, str]]:
    """Name, value, and what is said beside it."""
    summary, best = run.summary, run.summary.best
    yield "step", f"{summary.step:,}", f"of {summary.total_steps:,}" if summary.total_steps else ""
    if summary.tokens_seen:
        yield "loss tokens", count(summary.tokens_seen), ""
    if best is not None:
        yield "best eval loss", loss(best.loss), f"at step {best.step:,}"
        if is_finite(best.bpb):
            yield "bits per byte", f"{best.bpb:.4f}", ""
    if summary.loss is not None:
        yield "last train loss", loss(summary.loss), ""
    if summary.parameters:
        yield "parameters", count(summary.parameters), ""
    if summary.device:
        yield "device", one_line(summary.device), ""
    spent = run.view.budget
    if spent:
        yield "time", duration(sum(spent.values())), ""


def scores(run: RunRecord) -> str:
    """The newest scores of evaluation sets and tasks."""
    found = newest(run.view.scores)
    if not found:
        return ""
    shown = [score for own in found.values() for score in (own, of_average(own)) if score is not None]
    rows = [[one_line(score.name), *cells(score)] for score in shown]
    head = ["", "step", "loss", "accuracy", "by length", "bits per byte"]
    return f"<h2>Evaluation sets and tasks</h2>{table(head, rows)}"


def own_settings(run: RunRecord) -> str:
    """The settings that differ from the defaults, and all of them, closed."""
    shown = {}
    for path, value in list(run.settings.items())[:MOST_SETTINGS]:
        if not path.startswith(PRIVATE):
            shown[path] = value
    if not shown:
        return ""
    changed = [
        (path, setting_text(value))
        for path, value in shown.items()
        if (setting := setting_at(path)) is not None and value != setting.default
    ]
    every = [(path, setting_text(value)) for path, value in shown.items()]
    return (
        f"<h2>Settings other than the defaults</h2>{pairs(changed) if changed else '<p>None.</p>'}"
        f"<details><summary>All settings</summary>{pairs(every)}</details>"
    )


def samples(run: RunRecord) -> str:
    """The newest samples, then the earlier ones, closed."""
    written = run.view.samples
    if not written:
        return ""
    newest = [one for one in written if one.step == written[-1].step]
    earlier = [one for one in written if one.step != written[-1].step][-MOST_EARLIER_SAMPLES:]
    closed = (
        f"<details><summary>{len(earlier):,} earlier samples</summary>{_samples(reversed(earlier))}</details>"
        if earlier
        else ""
    )
    return f"<h2>Samples</h2>{_samples(newest)}{closed}"


def _samples(written: Iterable[Sampled]) -> str:
    return "".join(
        f'<p class="muted">step {one.step:,}</p>'
        f'<pre class="sample" dir="ltr"><b>{_cut(one.prompt)}</b>{_cut(one.text)}</pre>'
        for one in written
    )


def _cut(text: str) -> str:
    """A text as HTML; a very long one loses its end."""
    return escaped(text if len(text) <= LONGEST_SAMPLE else f"{text[:LONGEST_SAMPLE]}…")


def time_budget(run: RunRecord) -> str:
    """Where the time went, as a bar and a table."""
    spent = {name: seconds for name, seconds in run.view.budget.items() if name in TIMES and seconds > 0}
    total = sum(spent.values())
    if not total:
        return ""
    order = [name for name in TIMES if name in spent]
    bar = "".join(
        f'<span class="s{place % 8}" style="flex:{spent[name]:.6g}" title="{TIMES[name]}"></span>'
        for place, name in enumerate(order)
    )
    rows = "".join(
        f'<tr><th scope="row"><span class="swatch s{place % 8}"></span> {TIMES[name]}</th>'
        f"<td>{duration(spent[name])}</td><td>{spent[name] / total:.1%}</td></tr>"
        for place, name in enumerate(order)
    )
    return f'<h2>Time</h2><div class="bar">{bar}</div><div class="scroll"><table>{rows}</table></div>'


def checkpoints(run: RunRecord) -> str:
    """The checkpoints that are on disk."""
    infos = list_checkpoints(run.run.checkpoints)
    if not infos:
        return ""
    rows: list[list[Cell]] = [
        [
            f"{one.step:,}",
            (size(one.bytes), "short"),
            loss(one.eval_loss) if one.eval_loss is not None else "–",
            (time.strftime("%Y-%m-%d %H:%M", time.localtime(one.saved_at)) if one.saved_at else "–", "short"),
            ", ".join(one.tags),
        ]
        for one in infos
    ]
    return f"<h2>Checkpoints</h2>{table(['step', 'size', 'eval loss', 'saved', 'tags'], rows)}"


def warnings(run: RunRecord) -> str:
    """The newest warnings, steps that were not finite, and spikes."""
    view = run.view
    rows = [
        [f"step {one.step:,}" if one.step is not None else "", one.topic, one_line(one.message)]
        for one in view.warnings[-MOST_WARNINGS:]
    ]
    if view.nonfinite_count:
        steps = ", ".join(f"{one.step:,}" for one in view.nonfinite[-20:])
        rows.append(["", "non-finite", f"{view.nonfinite_count:,} steps; the newest: {steps}"])
    if view.spike_count:
        steps = ", ".join(f"{one.step:,}" for one in view.spikes[-20:])
        rows.append(["", "loss spike", f"{view.spike_count:,} steps; the newest: {steps}"])
    return f"<h2>Warnings</h2>{table([], rows)}" if rows else ""


def environment(run: RunRecord) -> str:
    """Device, versions and environment variables of the newest attempt."""
    started = run.view.started
    if started is None:
        return ""
    facts = [
        ("attempts", f"{run.view.attempts:,}"),
        ("data", started.data),
        *((f"device: {name}", setting_text(value)) for name, value in started.device.items()),
        *started.versions.items(),
        *started.environment.items(),
    ]
    return f"<h2>Environment</h2>{pairs(facts)}"
