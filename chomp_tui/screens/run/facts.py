"""Device, software and settings of a run."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from textual.content import Content

from chomp.record.formatting import count, device_words, elapsed, hosts_of, one_line
from chomp.record.operations import profile_lines
from chomp_tui.live.snapshot import RunSnapshot
from chomp_tui.screens.run.panel import TextPanel

Fact = tuple[str, str]


class FactsPanel(TextPanel):
    """Path, device, environment that took effect, settings, versions; drag to select, Ctrl+C copies."""

    def text(self, snapshot: RunSnapshot, width: int) -> Content:
        lines: list[Content] = []
        for title, facts in sections(snapshot):
            if not facts:
                continue
            if lines:
                lines.append(Content(""))
            lines.append(Content.styled(title, "bold $primary"))
            wide = max(len(name) for name, _ in facts) + 2 if any(name for name, _ in facts) else 0
            for name, value in facts:
                first, *more = wrap(value, max(16, width - wide)) or [""]
                lines.append(Content.assemble((f"{name:<{wide}}", "$muted"), first))
                lines += [Content(" " * wide + line) for line in more]
        return Content("\n").join(lines)


def sections(snapshot: RunSnapshot) -> Iterator[tuple[str, list[Fact]]]:
    """All facts by section, sanitized."""
    for title, facts in _sections(snapshot):
        yield title, [(one_line(name), one_line(value)) for name, value in facts]


def _sections(snapshot: RunSnapshot) -> Iterator[tuple[str, list[Fact]]]:
    started, facts = snapshot.view.started, snapshot.facts
    yield "Run", list(_run(snapshot))
    if snapshot.view.profile is not None:
        yield "Profile", [("", line) for line in profile_lines(snapshot.view.profile)]
    if started is not None:
        yield "Environment that took effect", list(started.environment.items()) or [("none", "of XLA, JAX or CUDA")]
    for section, settings in facts.settings.items():
        yield section.capitalize(), list(settings.items())
    if facts.problem is not None:
        yield "Settings", [("unreadable", facts.problem)]
    if started is not None:
        yield "Versions", list(started.versions.items())
        if started.optimizer:
            yield "Parameter groups", [("", line) for line in started.optimizer.splitlines()]


def _run(snapshot: RunSnapshot) -> Iterator[Fact]:
    view, started = snapshot.view, snapshot.view.started
    yield "path", str(snapshot.update.run.path.absolute())
    if snapshot.facts.origin is not None:
        yield snapshot.facts.origin.kind, f"{snapshot.facts.origin.path} at step {snapshot.facts.origin.step:,}"
    if started is None:
        return
    yield "device", device_words(started.device)
    yield "host", f"{started.host}, pid {started.pid}"
    hosts = hosts_of(started.device)
    for index, host in enumerate(hosts if len(hosts) > 1 else []):
        yield f"process {index}", host
    yield "parameters", count(started.parameters)
    yield "batch", f"{started.tokens_per_step:,} tokens a step"
    if started.weights:
        yield "weights", started.weights
    yield "data", started.data
    if view.compiled is not None:
        cache = f", cache {view.compiled.cache}" if view.compiled.cache else ", no cache"
        how = view.compiled.source or "from scratch"
        yield "compiled", f"{how} in {elapsed(view.compiled.seconds)}{cache}"
    if started.accepted:
        yield "accepted", ", ".join(started.accepted)
    if view.unknown_kinds:
        yield "not understood", ", ".join(f"{number} × {kind}" for kind, number in view.unknown_kinds.items())
