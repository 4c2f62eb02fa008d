"""The engine that estimates: asked once, killed when its answer is not wanted, its failures told in one sentence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from chomp.config import Config, parse_config
from chomp_tui.config.preflight import Preflight, Question, Report, ask, fit, memory_limit
from chomp_tui.engine.helper import Helper
from tests.console.fakehelper import fake_helper

TEXT = "train:\n  steps: 2000\n"
FIGURES = {
    "parameters": 10,
    "memory": {"total": 100},
    "tokens_per_step": 1,
    "device": {"platform": "cpu", "memory_limit": None},
}


def fake(tmp_path: Path, body: str) -> Helper:
    """A helper with a script in the engine's place; that notes how often it was started, and its pid."""
    script = tmp_path / "fake.py"
    script.write_text(
        f"import json, os, sys, time\nopen({str(tmp_path / 'started')!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        f"FIGURES = {FIGURES!r}\n{body}\n"
    )
    return fake_helper(script)


def pids(tmp_path: Path) -> list[int]:
    path = tmp_path / "started"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def question(text: str = TEXT, *, compiled: bool = False, environment: dict[str, str] | None = None) -> Question:
    return ask(parse_config(text, source="t").config, text, (), environment or {}, compiled=compiled)


async def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


class Asked:
    """A preflight with a fake engine, and all its reports."""

    def __init__(self, tmp_path: Path, body: str) -> None:
        self.reports: list[Report] = []
        self.helper = fake(tmp_path, body)
        self.preflight = Preflight(self.reports.append, helper=lambda: self.helper, debounce_seconds=0)

    async def settled(self) -> Report:
        await until(lambda: self.preflight.report.state in ("done", "failed"))
        return self.preflight.report


async def test_an_answer_is_given_once_for_each_configuration(tmp_path: Path) -> None:
    asked = Asked(tmp_path, "print('chatter'); print(json.dumps(FIGURES))")
    asked.preflight.request(question())
    report = await asked.settled()
    assert [one.state for one in asked.reports] == ["computing", "done"]
    assert report.figures == FIGURES
    # A comment, a cadence of logging's neighbours, another order: the same figures.
    for text in (f"# why\n{TEXT}", f"{TEXT}debug:\n  nonfinite: skip\n"):
        asked.preflight.request(question(text))
        assert asked.preflight.report.state == "done"
    assert len(pids(tmp_path)) == 1
    asked.preflight.request(question("train:\n  steps: 3000\n"))
    assert (asked.preflight.report.state, asked.preflight.report.is_outdated) == ("computing", True)
    report = await asked.settled()
    assert not report.is_outdated
    assert len(pids(tmp_path)) == 2


async def test_the_engine_gets_file_overrides_environment_and_a_group_of_its_own(tmp_path: Path) -> None:
    body = (
        "import pathlib\n"
        "FIGURES.update(argv=sys.argv[3:], text=pathlib.Path(sys.argv[2]).read_text(), nice=os.nice(0),\n"
        "  leads=os.getpgid(0) == os.getpid(), flag=os.environ['A_FLAG'],"
        " pool=os.environ['XLA_PYTHON_CLIENT_PREALLOCATE'])\n"
        "print(json.dumps(FIGURES))"
    )
    asked = Asked(tmp_path, body)
    config = parse_config(TEXT, source="t").config
    asked.preflight.request(ask(config, TEXT, ("train.seed=3",), {"A_FLAG": "on"}, compiled=True))
    figures = (await asked.settled()).figures
    assert figures["argv"] == ["--json", "--compile", "-o", "train.seed=3"]
    assert (figures["text"], figures["flag"], figures["pool"], figures["leads"]) == (TEXT, "on", "false", True)
    assert figures["nice"] >= 10
    # Of a run that goes on from a checkpoint the child is told which.
    asked.preflight.request(ask(config, TEXT, (), {"A_FLAG": "on"}, origin=Path("runs/one/checkpoints/5")))
    figures = (await asked.settled()).figures
    assert figures["argv"] == ["--json", "--continue", "runs/one/checkpoints/5"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            "print('E0000 noise', file=sys.stderr); print('error: no text at /x', file=sys.stderr); sys.exit(3)",
            "no text at /x",
        ),
        ("print('error: bad \\x1b[31m colour', file=sys.stderr); sys.exit(2)", "bad �[31m colour"),
        ("print(f'error: {sys.argv[2]}:3: wrong', file=sys.stderr); sys.exit(2)", "the configuration:3: wrong"),
        ("sys.exit(9)", "the engine ended with code 9 and said nothing"),
        ("os.kill(os.getpid(), 9)", "the engine was killed by signal 9"),
        ("print('hello')", "could not be read"),
        ("print('{\"parameters\": ')", "could not be read"),
        ("print('{}')", "could not be read"),
        ("print('[1]')", "could not be read"),
    ],
)
async def test_a_failure_is_one_sentence(tmp_path: Path, body: str, sentence: str) -> None:
    asked = Asked(tmp_path, body)
    asked.preflight.request(question())
    report = await asked.settled()
    assert report.state == "failed"
    assert sentence in report.message
    assert "Traceback" not in report.message


async def test_a_helper_that_cannot_be_started_is_a_failure(tmp_path: Path) -> None:
    helper = Helper((str(tmp_path / "missing"),))
    preflight = Preflight(lambda _: None, helper=lambda: helper, debounce_seconds=0)
    preflight.request(question())
    await until(lambda: preflight.report.state == "failed")
    assert "could not be started" in preflight.report.message


async def test_after_a_failure_the_same_may_be_asked_again(tmp_path: Path) -> None:
    asked = Asked(tmp_path, "sys.exit(1)")
    asked.preflight.request(question())
    await asked.settled()
    asked.preflight.request(question())
    await until(lambda: len(pids(tmp_path)) == 2)
    await asked.preflight.close()


async def test_a_newer_question_kills_the_engine_of_the_older_one(tmp_path: Path) -> None:
    body = "time.sleep(600) if 'steps: 2000' in open(sys.argv[2]).read() else print(json.dumps(FIGURES))"
    asked = Asked(tmp_path, body)
    asked.preflight.request(question())
    await until(lambda: len(pids(tmp_path)) == 1)
    asked.preflight.request(question("train:\n  steps: 3000\n"))
    report = await asked.settled()
    assert report.state == "done"
    await until(lambda: is_gone(pids(tmp_path)[0]))


async def test_closing_kills_the_engine_and_its_children_and_leaves_no_file(tmp_path: Path, monkeypatch: Any) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    body = (
        "import subprocess\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'started')!r}, 'a').write(f'{{child.pid}}\\n')\n"
        "time.sleep(600)"
    )
    asked = Asked(tmp_path, body)
    asked.preflight.request(question())
    await until(lambda: len(pids(tmp_path)) == 2)
    assert len(list(folder.iterdir())) == 1
    await asked.preflight.close()
    for pid in pids(tmp_path):
        await until(lambda pid=pid: is_gone(pid))  # type: ignore[misc]
    assert not list(folder.iterdir())


async def test_an_invalid_configuration_holds_and_the_known_answer_comes_back(tmp_path: Path) -> None:
    asked = Asked(tmp_path, "print(json.dumps(FIGURES))")
    asked.preflight.request(question())
    limit = (await asked.settled()).limit
    assert limit is not None
    asked.preflight.hold("waits")
    assert asked.preflight.report == Report("waiting", FIGURES, True, "waits", limit=limit)
    asked.preflight.request(question())
    assert asked.preflight.report == Report("done", FIGURES, False, limit=limit)
    assert len(pids(tmp_path)) == 1


async def test_a_compiled_answer_answers_the_plain_question_and_not_the_other_way_round(tmp_path: Path) -> None:
    asked = Asked(tmp_path, "FIGURES['compiled'] = '--compile' in sys.argv; print(json.dumps(FIGURES))")
    asked.preflight.request(question())
    assert not (await asked.settled()).figures["compiled"]
    asked.preflight.request(question(compiled=True))
    assert asked.preflight.report.is_compiling
    assert (await asked.settled()).figures["compiled"]
    asked.preflight.request(question())
    assert asked.preflight.report.state == "done"
    assert len(pids(tmp_path)) == 2
    asked.preflight.request(question(environment={"XLA_FLAGS": "--x"}))
    await until(lambda: len(pids(tmp_path)) == 3)
    await asked.preflight.close()


async def test_a_launch_asks_again_and_knows_what_cannot_start(tmp_path: Path) -> None:
    body = (
        f"if os.path.exists({str(tmp_path / 'gone')!r}):\n"
        "    sys.stderr.write('error: no file matches *.txt'); sys.exit(3)\n"
        "FIGURES['start'] = {'problems': ['no GPU was found'] * ('steps: 3000' in open(sys.argv[2]).read())}\n"
        "print(json.dumps(FIGURES))"
    )
    asked = Asked(tmp_path, body)
    assert (await asked.preflight.renew(question())).problems == ()
    assert (await asked.preflight.renew(question("train:\n  steps: 3000\n"))).problems == ("no GPU was found",)
    # The same question: the answer is another one, as the files are.
    (tmp_path / "gone").touch()
    report = await asked.preflight.renew(question("train:\n  steps: 3000\n"))
    assert (report.state, report.problems) == ("failed", ("no file matches *.txt",))
    assert len(pids(tmp_path)) == 3
    # What is not known of an engine that was killed is no refusal.
    asked.helper = fake(tmp_path, "os.kill(os.getpid(), 9)")
    assert (await asked.preflight.renew(question())).problems == ()


@pytest.mark.parametrize(
    ("total", "limit", "verdict"),
    [(74, 100, "fits"), (75, 100, "tight"), (91, 100, "tight"), (92, 100, "does not fit"), (5, None, "unknown")],
)
def test_the_verdict_on_memory(total: float, limit: float | None, verdict: str) -> None:
    assert fit(total, limit) == verdict


def test_the_limit_is_the_device_s_or_what_the_machine_has_free() -> None:
    gpu = memory_limit({"device": {"platform": "gpu", "memory_limit": 8_000}}, {})
    assert gpu is not None
    assert gpu[0] == 8_000
    host = memory_limit({"device": {"platform": "cpu", "memory_limit": None}}, {})
    assert host is not None
    assert 0 < host[0] <= psutil.virtual_memory().total
    assert memory_limit({"device": {"platform": "gpu", "memory_limit": None}}, {"CUDA_VISIBLE_DEVICES": ""}) is None


def test_settings_that_change_no_figure_share_a_question() -> None:
    one, other = Config(), Config()
    assert ask(one, "a", (), {}).key == ask(other, "b", (), {}).key
