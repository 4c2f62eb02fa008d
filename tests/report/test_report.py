"""A report: everything of a run is on the page, nothing of it is more than text, and only reports are replaced."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest

from chomp.errors import ConfigError
from chomp.record.events import Evaluated, NonFinite, SetEvaluated, TaskEvaluated
from chomp.record.formatting import short_name
from chomp.record.run_record import RunRecord, load_record
from chomp.report.figures import FORMATS
from chomp.report.html import table
from chomp.report.page import POLICY, report_page
from chomp.report.tables import metrics_csv
from chomp.report.write import write_charts_of, write_report
from tests import in_process
from tests.fakeruns import (
    FakeRun,
    append,
    ended,
    make_checkpoint,
    make_run,
    phase,
    row,
    started,
    write,
    write_run,
)
from tests.report.pages import EVIL, Page, hostile_run

FAKE = FakeRun(steps=2_000, ending="completed", nonfinite_at=(120,))


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    run = write_run(tmp_path / "demo", FAKE)
    append(run, NonFinite(1_200, None, None, 1, "skip"))
    append(run, SetEvaluated("wiki", 2_000, 2.125, 8.4, None, 5, 1.0))
    append(run, TaskEvaluated("arc", 2_000, 0.25, 0.5, 1.5, 0.0, 8, 0, 1.0))
    average = {"ema_accuracy": 0.375, "ema_accuracy_norm": None, "ema_bpb": 1.25, "ema_centered": 0.0}
    append(run, TaskEvaluated("boolq", 2_000, 0.25, 0.5, 1.5, 0.0, 8, 0, 1.0, **average))
    run.notes.write_text("name: baseline\nnote: a first try\ntags: [night, llama]\n")
    return load_record(run.path)


def test_a_page_says_everything_of_a_run(record: RunRecord) -> None:
    text = report_page([record])
    page = Page(text)
    page.check()
    assert ("content", POLICY) in page.attributes
    for said in (
        "baseline", "a first try", "night", "completed", "best eval loss", "Loss (nats per token)", "Learning rate",
        "Gradient norm", "Tokens per second", "Samples", "def read_lines(path):", "Time", "waiting for data",
        "optim.lr", "NVIDIA GeForce RTX 5090", "read failed twice, then went on", "the newest: 1,200",
        "Evaluation sets and tasks", "wiki2,0002.1250–––", "arc2,000–25.0%50.0%1.5000boolq",
        "boolq2,000–25.0%50.0%1.5000boolq of ema2,000–37.5%–1.2500",
    ):  # fmt: skip
        assert said in page.text, said
    assert page.tags.count("figure") == 4
    assert len(text) < 300_000


def test_hostile_text_is_only_text(tmp_path: Path) -> None:
    runs = [load_record(hostile_run(tmp_path))]
    other = load_record(write_run(tmp_path / "other", FakeRun(steps=600, seed=3)).path)
    for records in (runs, [*runs, other]):
        page = Page(report_page(records))
        page.check()
        assert "<script>owned=1</script>" in page.text
        assert EVIL[:60] in page.text


def test_many_rows_make_a_small_page(tmp_path: Path) -> None:
    run = write_run(tmp_path / "long", FakeRun(steps=200_000, total=200_000, log_every=10, ending="completed"))
    page = report_page([load_record(run.path)])
    assert len(page) < 600_000


@pytest.mark.parametrize(
    "events",
    [
        [phase("data")],
        [phase("data"), started(), ended("crashed", 0, "out of memory")],
        [started(), row(1), row(2, loss=None, grad_norm=None)],
        [started(), *(row(step, loss=None, lr=float("nan")) for step in range(1, 40))],
        [started(), row(5), Evaluated(5, 3.0, 20.0, None, 10, 1.0, t=1_700_000_000.0)],
    ],
    ids=["begun", "crashed", "two rows", "nothing finite", "one row"],
)
def test_a_run_with_little_in_it_has_a_page(events: list, tmp_path: Path) -> None:  # type: ignore[type-arg]
    path = write(tmp_path / "demo", events)
    for axis in ("step", "tokens", "time", "flops"):
        Page(report_page([load_record(path)], axis=axis)).check()


def twins(folder: Path, shift: float = -0.2) -> list[RunRecord]:
    """A run and its fork at step 100, whose loss is lower by `shift`."""
    rng = np.random.default_rng(0)
    losses = 3 + rng.normal(0, 0.3, 400)
    records = []
    for name, by in (("parent", 0.0), ("child", shift)):
        run = make_run(folder / name, steps=0)
        append(run, *(row(step, loss=float(losses[step - 1]) + by + rng.normal(0, 0.01)) for step in range(1, 401)))
        make_checkpoint(run, 400)
        records.append(load_record(run.path))
    return records


def test_two_runs_on_the_same_batches_have_a_verdict_and_a_chart_of_it(tmp_path: Path) -> None:
    runs = twins(tmp_path)
    page = Page(report_page(runs))
    page.check()
    assert re.search(r"child is lower than parent, beyond the noise of the steps: -0\.(19|20)", page.text)
    assert "Settings that differ" in page.text
    assert page.tags.count("figure") == 5
    assert page.tags.count("details") >= 2


def test_runs_are_named_by_their_directories_and_many_are_counted(tmp_path: Path) -> None:
    long = "x" * 30 + "-base-" + "y" * 30
    runs = [write_run(tmp_path / name, FakeRun(steps=100)) for name in ("base", "lower", long)]
    runs[1].notes.write_text("name: first try\n")
    records = [load_record(run.path) for run in runs]
    pair = report_page(records[:2])
    assert "<title>base, lower</title>" in pair
    # The name that the user gave is beside that of the directory once in the tables, and at the run's own details.
    assert '<th scope="row">name</th><td></td><td>first try</td>' in pair
    assert "<summary>lower</summary>" in pair
    assert ">first try · " in pair
    assert pair.count("first try") == 2
    three = report_page(records)
    assert "<title>3 runs</title>" in three
    short = short_name(long)
    assert (len(short), short[-26:]) == (40, long[-26:])
    assert f'class="long">{short}</th>' in three
    assert f"{short}: train" in three
    assert f"<summary>{long}</summary>" in three


def test_words_of_tables_stay_whole() -> None:
    page = table(
        ["", "a_run"], [["data.tokenizer.vocab_size", "1.89e+09"], ["files", "x" * 33], ["size", ("2 MiB", "short")]]
    )
    assert "data.<wbr>tokenizer.<wbr>vocab_<wbr>size" in page
    assert "<td>1.89e+09</td>" in page
    assert f'<td class="long">{"x" * 33}</td>' in page
    assert '<td class="short">2 MiB</td>' in page


def test_settings_about_receivers_are_in_no_report(tmp_path: Path) -> None:
    run = write_run(tmp_path / "demo", FAKE)
    text = run.config_resolved.read_text()
    run.config_resolved.write_text(text[:-1] + ', "notify": {"slack": {"url_env": "MY_VARIABLE"}}}')
    other = write_run(tmp_path / "other", FAKE)
    for paths in ([run.path], [run.path, other.path]):
        assert "MY_VARIABLE" not in report_page([load_record(path) for path in paths])


def test_a_table_has_every_number_of_rows_and_evaluations(record: RunRecord) -> None:
    lines = list(csv.DictReader(io.StringIO(metrics_csv([record]))))
    assert [int(line["step"]) for line in lines] == sorted({int(step) for step in record.view.rows["step"]})
    assert {line["run"] for line in lines} == {"demo"}
    by_step = {int(line["step"]): line for line in lines}
    assert by_step[1_200]["loss"] == ""
    evals = record.view.evals
    for place, step in enumerate(evals["step"]):
        assert float(by_step[int(step)]["eval_loss"]) == pytest.approx(evals["loss"][place])
    assert float(by_step[500]["lr"]) == record.view.rows["lr"][49]


def test_a_name_is_no_formula(tmp_path: Path) -> None:
    run = write_run(tmp_path / "=cmd|x", FakeRun(steps=20))
    assert metrics_csv([load_record(run.path)]).splitlines()[1].startswith("'=cmd|x,")


@pytest.mark.parametrize("form", FORMATS)
def test_charts_are_files_of_their_format(form: str, record: RunRecord, tmp_path: Path) -> None:
    written = write_charts_of([record], tmp_path / "charts", form)
    assert [path.name for path in written] == [f"{key}.{form}" for key in ("loss", "lr", "grad_norm", "speed")]
    begin = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[form]
    assert all(path.read_bytes().startswith(begin) for path in written)


def test_names_of_runs_are_no_formulas_of_matplotlib(tmp_path: Path) -> None:
    runs = [load_record(write_run(tmp_path / name, FakeRun(steps=300)).path) for name in ("$\\frac{", "_hidden")]
    write_charts_of(runs, tmp_path / "charts", "svg")
    text = (tmp_path / "charts" / "loss.svg").read_text()
    assert "$\\frac{: train" in text
    assert "_hidden: train" in text


JOB = "order: 1\nadded: 2026-11-29T12:00:00+00:00\nfolder: .\nruns: runs\nrun_dir: demo\n"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("name: base\n", "Job 12 (base) of the queue."),
        ("name: t4\nsweep: <b>lr\ntrial: 4\n", "Trial 4 of the sweep <b>lr, job 12 of the queue."),
    ],
)
def test_a_run_of_the_queue_names_its_job(more: str, said: str, record: RunRecord, tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "0003.yaml").write_text(f"name: earlier\n{JOB}")
    (tmp_path / "queue" / "0012.yaml").write_text(f"{more}{JOB}")
    assert in_process.run("report", "demo", cwd=tmp_path).returncode == 0
    page = Page((tmp_path / "report.html").read_text())
    page.check()
    assert said in page.text
    (tmp_path / "queue").rename(tmp_path / "gone")
    (tmp_path / "queue").write_text("no folder")
    done = in_process.run("report", "demo", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "report.html\n")
    assert "the report names no jobs: the queue queue cannot be read: Not a directory" in done.stderr


def test_the_command_writes_what_is_wanted_and_replaces_only_reports(record: RunRecord, tmp_path: Path) -> None:
    done = in_process.run("report", "demo", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "report.html\n")
    again = in_process.run("report", "demo", "--x", "tokens", cwd=tmp_path)
    assert again.returncode == 0
    text = Page((tmp_path / "report.html").read_text()).text
    assert "loss tokens" in text
    assert "of the queue" not in text
    table = in_process.run("report", "demo", "--csv", "out/rows.csv", cwd=tmp_path)
    assert table.stdout == "out/rows.csv\n"
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not a report, and is not replaced"):
        write_report([record], tmp_path / "notes.txt")
    denied = in_process.run("report", "demo", "--output", "notes.txt/x", cwd=tmp_path)
    assert denied.returncode == 5
    assert "notes.txt/x cannot be written" in denied.stderr
