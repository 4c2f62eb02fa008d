"""A run beside a list: its losses as a picture, its facts and settings, its newest sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from textual.content import Content

from chomp.record.formatting import count, plural, sanitize, since, size
from chomp.record.summary import RunSummary
from chomp_tui.chart.sparkline import sparkline
from chomp_tui.widgets.looks import fact, facts, loss_text, status_line

# Of the height of a panel beside a list, and the least.
CURVE_SHARE, LEAST_CURVE_LINES = 4, 8
SOURCES = "data.mixture.sources."


def curve_lines(height: int) -> int:
    """Lines of the picture in a panel of `height` lines."""
    return max(LEAST_CURVE_LINES, height // CURVE_SHARE)


def run_detail(run: RunSummary, now: float, width: int, height: int = 0) -> Content:
    """The facts of a run, most important first.

    Args:
        now: Unix time.
        width: cells of a line.
        height: lines of the panel where it is beside the list; then there is room for a picture of the losses, for
            speed and settings, and the sample keeps its lines. 0 for a low panel.
    """
    engine = f"pid {run.pid}, last event {since(run.age_seconds(now))} ago" if run.is_live else ""
    head = [status_line(run.status, engine)]
    if height:
        head += [Content(""), *loss_picture(run.losses, width, curve_lines(height))]
    named = [
        ("notes", f"notes.yaml cannot be read: {run.notes.problem}" if run.notes.problem else ""),
        ("name", run.notes.name),
        ("tags", " ".join(f"#{tag}" for tag in run.notes.tags)),
        ("note", run.notes.note),
        ("eval", _evaluations(run)),
        ("saved", _checkpoints(run)),
        ("forked", _origin(run)),
        ("where", f"{run.path}{f', {size(run.bytes)}' if run.bytes is not None else ''}"),
        ("engine", _engine(run)),
    ]
    if not height:
        return facts([*named, ("sample", " ".join(run.sample.split()))], width, head)
    shown = facts([*named, ("speed", _speed(run.metrics)), *setting_facts(run.settings)], width, head)
    return Content("\n\n").join([shown, sample_lines(run.sample)]) if run.sample else shown


def loss_picture(losses: Sequence[float], width: int, height: int) -> list[Content]:
    """The losses from the first step to the last, `height` lines of `width` cells, and their ends; empty for few."""
    if width < 1 or len(losses) < 2:
        return []
    span = f"{loss_text(losses[0])} → {loss_text(losses[-1])}"
    drawn = Content.styled(sparkline(losses, width, height=height), "$chart-smooth")
    return [drawn, fact("loss", span, width), Content("")]


def sample_lines(text: str) -> Content:
    """A sample as it was written, under its heading."""
    return Content.assemble(("newest sample", "$muted"), "\n", sanitize(text))


def setting_facts(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a run trains, with what and on what, from its settings by dotted path; settings it lacks are left out."""
    return [(name, ", ".join(parts(settings))) for name, parts in _SETTINGS.items()]


def _model(settings: Mapping[str, Any]) -> Iterator[str]:
    yield from _texts(settings, "model.backend", "{}")
    layers = settings.get("model.num_layers")
    if isinstance(layers, int):
        yield from _texts(settings, "model.model_dim", f"{plural(layers, 'layer')} of {{}}")
    yield from _texts(settings, "data.tokenizer.kind", "{} tokens")
    yield from _texts(settings, "model.init_from", "from {}")


def _batch(settings: Mapping[str, Any]) -> Iterator[str]:
    # Where it follows from `train.batch_tokens` the setting itself is unset.
    times = settings.get("derived.train.grad_accum", settings.get("train.grad_accum"))
    rows: list[Any] = [times] if isinstance(times, int) and times > 1 else []
    rows += [settings.get("train.batch_size"), settings.get("train.seq_len")]
    if None not in rows:
        yield f"{' × '.join(map(str, rows))} tokens"
    yield from _texts(settings, "train.seed", "seed {}")


def _update(settings: Mapping[str, Any]) -> Iterator[str]:
    yield from _texts(settings, "optim.name", "{}")
    yield from _texts(settings, "optim.lr", "lr {}")
    yield from _texts(settings, "optim.warmup_steps", "warm-up {}")
    yield from _texts(settings, "optim.schedule", "{}")


def _text(settings: Mapping[str, Any]) -> Iterator[str]:
    sources = {path.removeprefix(SOURCES).partition(".")[0]: None for path in settings if path.startswith(SOURCES)}
    if sources:
        yield f"mixture of {', '.join(sources)}"
    else:
        yield from _texts(settings, "data.backend", "{}")
        yield from _texts(settings, "data.hf_dataset", "{}")
    yield from _texts(settings, "data.packing_mode", "{} packing")


_SETTINGS = {"model": _model, "batch": _batch, "update": _update, "text": _text}


def _texts(settings: Mapping[str, Any], path: str, form: str) -> Iterator[str]:
    # A damaged file may hold anything.
    value = settings.get(path)
    if value is not None:
        yield form.format(f"{value:g}" if isinstance(value, float) else value)


def _speed(metrics: Mapping[str, float]) -> str:
    forms = {"tokens_per_sec": "{:,.0f} tokens/s", "mfu": "MFU {:.1%}", "peak_memory_gb": "{:.1f} GiB at most"}
    return " · ".join(form.format(metrics[name]) for name, form in forms.items() if name in metrics)


def _origin(run: RunSummary) -> str:
    """What it was forked from; the place only of a run that lies elsewhere."""
    if run.origin is None:
        return ""
    place = Path(run.origin.path)
    is_beside = place.parent == run.path.absolute().parent
    how = f"average of {plural(run.origin.averaged, 'checkpoint')}, " if run.origin.averaged else ""
    return f"{how}from step {run.origin.step:,} of {run.origin.run}" + ("" if is_beside else f" ({place})")


def _evaluations(run: RunSummary) -> str:
    if run.best is None:
        return ""
    bits = f", {run.best.bpb:.4f} bits per byte" if run.best.bpb is not None else ""
    newest = f"; newest {loss_text(run.eval_loss)}" if run.eval_loss is not None else ""
    return f"best {run.best.loss:.4f} at step {run.best.step:,}{bits}{newest}"


def _checkpoints(run: RunSummary) -> str:
    if not run.checkpoints:
        return "no checkpoint yet" if run.is_live else "no checkpoint"
    shown = ", ".join(f"{step:,}" for step in run.checkpoints[-5:])
    more = len(run.checkpoints) - 5
    return f"step {shown}" + (f" and {more} earlier" if more > 0 else "")


def _engine(run: RunSummary) -> str:
    parts = [run.device]
    if run.parameters is not None:
        parts.append(f"{count(run.parameters)} parameters")
    if run.attempts:
        parts.append(f"attempt {run.attempts}")
    return " · ".join(part for part in parts if part)
