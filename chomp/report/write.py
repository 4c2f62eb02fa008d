"""Writes the files of a report; a report replaces only a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from chomp.curves import DEFAULT_SPAN
from chomp.errors import ConfigError, RunDirError
from chomp.record.comparison import compare
from chomp.record.run_record import RunRecord
from chomp.record.rundir import write_whole
from chomp.report.charts import charts_of
from chomp.report.figures import require_matplotlib, write_charts
from chomp.report.page import MARK, report_page
from chomp.report.tables import metrics_csv


def write_report(
    runs: Sequence[RunRecord],
    path: Path,
    *,
    axis: str = "step",
    smoothing: int = DEFAULT_SPAN,
    jobs: Mapping[Path, str] = MappingProxyType({}),
) -> Path:
    """Write the page about `runs` to `path`, in place of an earlier report; the arguments are those of `report_page`.

    Raises:
        ConfigError: another file is there.
        RunDirError: it cannot be written.
    """
    try:
        if path.exists():
            with path.open("rb") as file:
                if file.read(len(MARK.encode())) != MARK.encode():
                    raise ConfigError(f"{path} is not a report, and is not replaced; choose another name")
        page = report_page(runs, axis=axis, smoothing=smoothing, jobs=jobs)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, page.encode("utf-8", "replace"))
    except OSError as error:
        raise _cannot_write(path, error) from error
    return path


def write_charts_of(runs: Sequence[RunRecord], folder: Path, form: str, *, axis: str = "step") -> list[Path]:
    """Write each chart of `runs` as a file into `folder`.

    Raises:
        ConfigError: matplotlib is not installed.
        RunDirError: a file cannot be written.
    """
    require_matplotlib()
    try:
        return write_charts(charts_of(runs, axis, compare(runs).paired), folder, form)
    except OSError as error:
        raise _cannot_write(folder, error) from error


def write_table(runs: Sequence[RunRecord], path: Path) -> Path:
    """Write all metrics rows and evaluations of `runs` as CSV.

    Raises:
        RunDirError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, metrics_csv(runs).encode("utf-8", "replace"))
    except OSError as error:
        raise _cannot_write(path, error) from error
    return path


def _cannot_write(path: Path, error: OSError) -> RunDirError:
    return RunDirError(f"{path} cannot be written: {error.strerror or error}")
