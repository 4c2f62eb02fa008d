"""When the terminal calls its user, and with which bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from chomp.record.events import NonFinite
from chomp.record.fold import fold
from chomp.record.run_view import RunView
from chomp.record.rundir import RunDir
from chomp.record.status import Liveness, status
from chomp_tui.app import ChompApp
from chomp_tui.live.feed import RunUpdate
from chomp_tui.live.news import RunNews
from chomp_tui.platform.attention import attention
from chomp_tui.platform.driver import ConsoleDriver
from chomp_tui.settings import Settings
from chomp_tui.state import ConsoleState
from tests.fakeruns import T0, ended, phase, row, started

BEGUN = [phase("data"), started(), phase("train"), row(10)]
BAD = NonFinite(step=12, loss=None, grad_norm=None, skipped=1, action="skip", t=T0 + 12)


def told(news: RunNews, *events: object, pid: int | None = 7, read: float = 1.0) -> str | None:
    update = RunUpdate(
        RunDir(Path("runs/a\x1b]0;night\x07")), fold(RunView(), events), Liveness(pid), read_fraction=read
    )  # type: ignore[arg-type]
    return news.of(update, status(update.view, update.liveness, T0 + 20))


def test_an_end_a_crash_and_a_step_that_is_not_finite_are_news_once() -> None:
    news = RunNews()
    assert told(news, *BEGUN) is None
    assert (
        told(news, *BEGUN, BAD)
        == "a\N{REPLACEMENT CHARACTER}]0;night\N{REPLACEMENT CHARACTER}: loss or gradient is not finite at step 12"
    )
    assert told(news, *BEGUN, BAD) is None
    done = [*BEGUN, BAD, ended("completed", 20, "all 20 steps done", t=T0 + 15)]
    assert (told(news, *done, pid=None) or "").endswith("completed at step 20: all 20 steps done")
    assert told(news, *done, pid=None) is None
    killed = RunNews()
    assert told(killed, *BEGUN) is None
    assert "crashed at step 10: the engine ended without a last event" in (told(killed, *BEGUN, pid=None) or "")


def test_what_was_known_when_the_run_was_opened_is_no_news() -> None:
    news = RunNews()
    assert told(news, *BEGUN, read=0.5) is None
    assert told(news, *BEGUN, BAD, ended("crashed", 12, "nan", t=T0 + 13), pid=None) is None
    # A resume, which is watched from its start.
    assert told(news, *BEGUN, BAD, phase("data", t=T0 + 14)) is None
    assert "crashed" in (told(news, *BEGUN, BAD, phase("data", t=T0 + 14), pid=None) or "")


MESSAGE = "\x1b]9;chomp: one: done\x07"


@pytest.mark.parametrize(
    ("environ", "written"),
    [
        ({"TERM": "xterm-256color"}, f"\x07{MESSAGE}"),
        ({"TERM": "tmux-256color", "TMUX": "/tmp/1"}, f"\x07\x1bPtmux;\x1b{MESSAGE}\x1b\\"),
        ({"TERM": "screen-256color", "TMUX": "/tmp/1"}, f"\x07\x1bPtmux;\x1b{MESSAGE}\x1b\\"),
        ({"TERM": "screen", "STY": "1.x"}, "\x07"),
        ({"TERM": "linux"}, "\x07"),
    ],
)
def test_only_terminals_that_know_the_sequence_get_it(environ: dict[str, str], written: str) -> None:
    assert attention("one: done", environ) == written


def test_hostile_names_add_no_sequence() -> None:
    written = attention("a\x07b\x1b[2J\n" + "x" * 999, {"TERM": "xterm"})
    assert (written.count("\x1b"), written.count("\x07"), "\n" in written) == (1, 2, False)
    assert len(written) < 300


@pytest.mark.parametrize("bell", [True, False])
def test_the_setting_turns_it_off(bell: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    app, seen = ChompApp(ConsoleState(Settings(bell=bell))), list[str]()
    monkeypatch.setattr(ConsoleDriver, "write", lambda self, data: seen.append(data))
    monkeypatch.setattr(ConsoleDriver, "flush", lambda self: None)
    # Private, as in the application; a driver of its own would need a terminal.
    app._driver = ConsoleDriver.__new__(ConsoleDriver)
    app.call_attention("done")
    assert bool(seen) is bell
