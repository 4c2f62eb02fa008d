"""A report as one HTML page without scripts: nothing is fetched, and every text of a run is inert."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from types import MappingProxyType

import chomp
from chomp.curves import DEFAULT_SPAN
from chomp.record.comparison import Comparison, compare, setting_text
from chomp.record.formatting import one_line, short_name
from chomp.record.run_record import RunRecord
from chomp.report.charts import charts_of
from chomp.report.html import Cell, escaped, table
from chomp.report.sections import (
    PRIVATE,
    checkpoints,
    environment,
    heading,
    own_settings,
    samples,
    scores,
    time_budget,
    warnings,
)
from chomp.report.svg import chart_html

# The first bytes of every report, by which a later one recognises what it may replace.
MARK = "<!doctype html>\n<!-- chomp report -->\n"
# Of a page about several runs; longer names are counted.
LONGEST_TITLE = 60
# No script, no font, no picture and no connection, whatever the page contains.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def report_page(
    runs: Sequence[RunRecord],
    *,
    axis: str = "step",
    smoothing: int = DEFAULT_SPAN,
    jobs: Mapping[Path, str] = MappingProxyType({}),
    now: float | None = None,
) -> str:
    """The page about one run, or about several side by side.

    Args:
        axis: what the charts are drawn over: step, tokens, time or flops.
        smoothing: steps that the loss of one run is averaged over; 0 for none.
        jobs: what trained a run, by its path: a job of the queue or a trial of a sweep, in words.
        now: Unix time of the report, this instant by default.
    """
    found = compare(runs)
    charts = "".join(chart_html(chart) for chart in charts_of(runs, axis, found.paired, smoothing))
    title = _title(runs)
    parts = [_comparison(found) if len(runs) > 1 else heading(runs[0], jobs.get(runs[0].run.path, ""))]
    parts.append(
        f'<h2>Curves</h2><div class="charts">{charts}</div>' if charts else "<p>There are no metrics rows.</p>"
    )
    parts += [_differences(found), *_details(runs, jobs)]
    written = time.strftime("%Y-%m-%d %H:%M", time.localtime(now))
    style = resources.files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    return (
        f'{MARK}<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escaped(title)}</title>'
        f'<style>{style}</style></head><body class="{"one" if len(runs) == 1 else "many"}">'
        f"<h1>{escaped(title)}</h1>{''.join(parts)}"
        f"<footer>Written by chomp {chomp.__version__} on {written}.</footer></body></html>\n"
    )


def _title(runs: Sequence[RunRecord]) -> str:
    """The name that the user gave a single run; of several their directories, or how many they are."""
    if len(runs) == 1:
        return runs[0].summary.notes.name or runs[0].name
    names = ", ".join(run.name for run in runs)
    return names if len(names) <= LONGEST_TITLE else f"{len(runs)} runs"


def _comparison(found: Comparison) -> str:
    """Results side by side, and the verdict on two runs that read the same batches.

    A run has the name of its directory wherever it is named; the name that the user gave it is beside that here.
    """
    names = [short_name(run.name) for run in found.runs]
    labels = [run.summary.notes.name for run in found.runs]
    rows: list[list[Cell]] = [["name", *labels]] if any(labels) else []
    rows += [
        [one.name, *((text, "best" if place == one.best else "") for place, text in enumerate(one.texts))]
        for one in found.results
    ]
    verdict = ""
    if found.batches is not None:
        said = [found.batches.why, *([found.paired.verdict] if found.paired else [])]
        verdict = f'<div class="verdict">{"".join(f"<p>{escaped(one)}</p>" for one in said)}</div>'
    return f"{verdict}<h2>Results</h2>{table(['', *names], rows)}"


def _differences(found: Comparison) -> str:
    if len(found.runs) == 1:
        return ""
    rows = [[one.path, *map(setting_text, one.values)] for one in found.differences if not one.path.startswith(PRIVATE)]
    if not rows:
        return "<h2>Settings that differ</h2><p>None.</p>"
    return f"<h2>Settings that differ</h2>{table(['', *(short_name(run.name) for run in found.runs)], rows)}"


def _details(runs: Sequence[RunRecord], jobs: Mapping[Path, str]) -> Iterable[str]:
    """The rest, run by run; of several each below its name, closed."""
    for run in runs:
        made = (scores, samples, time_budget, checkpoints, warnings, own_settings, environment)
        parts = [section(run) for section in made]
        if len(runs) == 1:
            yield "".join(parts)
        else:
            head = heading(run, jobs.get(run.run.path, ""), is_alone=False)
            yield f"<details><summary>{escaped(one_line(run.name))}</summary>{head}{''.join(parts)}</details>"
