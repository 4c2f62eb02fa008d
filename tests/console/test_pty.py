"""The console on a real pseudo-terminal: what reaches the screen, what is left of it, and who outlives whom."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from chomp.record.event_log import read_events
from chomp.record.events import Event, RunEnded
from chomp.record.lock import live_holder
from chomp.record.rundir import RunDir
from chomp.record.tail import last_row
from tests.console.ptys import ALT_SCREEN_OFF, ALT_SCREEN_ON, CURSOR_ON, Terminal, drawn
from tests.engine import dummy_config, write_config, write_corpus

pytestmark = pytest.mark.process
MODULE = ("-P", "-m", "chomp_tui")
Opener = Callable[..., Terminal]

MODES = {
    "mouse clicks": 1000,
    "mouse moves": 1003,
    "mouse places": 1006,
    "bracketed paste": 2004,
    "focus": 1004,
}
# The cursor, and lines that are wrapped.
ON_AT_FIRST = {"25", "7"}
# Takes back the key protocol that was requested.
KEYBOARD_OFF = "\x1b[<u"

# A thread writes with the C library's own write, as a driver or a compiler would, as long as the console runs.
NATIVE = """
import ctypes, threading, time
libc = ctypes.CDLL(None)
def pester():
    while True:
        libc.write(1, b"NATIVE-OUT\\n", 11)
        libc.write(2, b"NATIVE-ERR\\n", 11)
        time.sleep(0.01)
import chomp_tui.app
mounted = chomp_tui.app.ChompApp.on_mount
def on_mount(self):
    threading.Thread(target=pester, daemon=True).start()
    print("PYTHON-OUT")
    return mounted(self)
chomp_tui.app.ChompApp.on_mount = on_mount
"""
CRASH = """
import chomp_tui.screens.device.screen
def fail(self):
    raise ValueError("a mistake of ours, in $HOME/secret")
chomp_tui.screens.device.screen.DeviceScreen.action_copy_line = fail
"""
# A signal comes while the console holds the lock of what it writes.
INTERRUPTED_WRITE = """
import os, signal
from textual.drivers._writer_thread import WriterThread
write_, are_sent = WriterThread.write, []
def write(self, text):
    if "runs yet" in text and not are_sent:
        are_sent.append(True)
        with self._queue.mutex:
            os.kill(os.getpid(), signal.{name})
    write_(self, text)
WriterThread.write = write
"""
EDITOR = """
import os, pathlib, sys
path = pathlib.Path(sys.argv[-1])
print("an editor with", sum(map(os.isatty, range(3))), "ends of a terminal", flush=True)
print("was asked on standard error", file=sys.stderr, flush=True)
path.write_text(path.read_text().replace("steps: 1000000", f"steps: {input()}"))
"""
MAIN = "import sys; sys.argv = ['chomp-tui', *sys.argv[1:]]; from chomp_tui.__main__ import main; main()"


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opener]:
    """Opens consoles on terminals of their own, and ends them."""
    terminals: list[Terminal] = []
    (tmp_path / "configs").mkdir()
    environ = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    environ |= {"TERM": "xterm-256color", "XDG_CONFIG_HOME": str(tmp_path / "c"), "XDG_STATE_HOME": str(tmp_path / "s")}

    def open_(*args: object, before: str = "", **kwargs: object) -> Terminal:
        python = [sys.executable, *(("-P", "-c", before + MAIN) if before else MODULE)]
        made = Terminal([*python, *map(str, args)], environ=environ, folder=tmp_path, **kwargs)  # type: ignore[arg-type]
        terminals.append(made)
        return made

    yield open_
    for terminal in terminals:
        terminal.close()


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[None]:
    """Ends the engines that consoles have started."""
    yield
    for lock in tmp_path.glob("runs/*/lock"):
        holder = live_holder(lock)
        if holder is not None:
            os.kill(holder.pid, signal.SIGKILL)


def config(tmp_path: Path) -> Path:
    sections = {"train": {"steps": 1_000_000, "log_every": 10}, "checkpoint": {"save_every": 100_000}}
    return write_config(tmp_path / "tiny.yaml", dummy_config(write_corpus(tmp_path / "corpus"), **sections))


def events(run: Path) -> list[Event]:
    return list(read_events(run / "events.jsonl")) if (run / "events.jsonl").exists() else []


def last_step(run: Path) -> int:
    return (last_row(run / "metrics.jsonl") or {"step": 0})["step"]


def assert_restored(terminal: Terminal) -> None:
    """The terminal is as the shell had it."""
    assert terminal.attributes() == terminal.before
    assert terminal.text.rindex(ALT_SCREEN_OFF) > terminal.text.rindex(ALT_SCREEN_ON)
    assert CURSOR_ON in terminal.text[terminal.text.rindex(ALT_SCREEN_ON) :]
    for name, mode in MODES.items():
        on, off = f"\x1b[?{mode}h", f"\x1b[?{mode}l"
        assert on in terminal.text, f"{name} was never switched on: is its number another now?"
        assert terminal.text.rindex(off) > terminal.text.rindex(on), f"{name} is left on"
    # Every mode of the terminal that was switched on, those without a check of their own included.
    last = dict(re.findall(r"\x1b\[\?([0-9]+)([hl])", terminal.text))
    assert {mode for mode, state in last.items() if state == "h"} <= ON_AT_FIRST
    assert terminal.text.rindex(KEYBOARD_OFF) > terminal.text.rindex(ALT_SCREEN_ON)


def after(terminal: Terminal) -> str:
    """What is written where the shell goes on."""
    return terminal.text[terminal.text.rindex(ALT_SCREEN_OFF) :]


def test_keys_that_are_typed_ahead_count(opened: Opener, tmp_path: Path) -> None:
    terminal = opened("launch", config(tmp_path))
    terminal.until_shown("Checkpoints")
    terminal.press("?")
    terminal.until_shown("Esc closes, Ctrl+P finds a command")


def test_leaving_restores_the_terminal(opened: Opener) -> None:
    terminal = opened()
    terminal.until_shown("No runs yet")
    assert terminal.attributes() != terminal.before
    terminal.press("q")
    assert terminal.wait() == 0
    assert_restored(terminal)


def test_leaving_before_the_first_screen_is_there(opened: Opener) -> None:
    terminal = opened()
    terminal.until_shown("5 Checkpoints")
    terminal.press("q")
    assert terminal.wait() == 0, terminal.text[-2000:]
    assert_restored(terminal)


def test_no_byte_of_native_code_reaches_the_screen(opened: Opener, tmp_path: Path) -> None:
    terminal = opened(before=NATIVE)
    terminal.until_shown("No runs yet")
    log = tmp_path / "s" / "chomp" / "console.log"
    terminal.until(lambda: log.exists() and log.read_text().count("NATIVE-ERR") > 20)
    terminal.press("3")
    terminal.until_shown("Runs started here")
    terminal.press("q")
    assert terminal.wait() == 0
    shown = terminal.text[: terminal.text.rindex(ALT_SCREEN_OFF)]
    assert "NATIVE" not in shown
    assert "PYTHON" not in terminal.text
    assert "NATIVE-OUT" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0
    assert_restored(terminal)


def test_the_user_s_editor_gets_the_terminal_and_gives_it_back(opened: Opener, tmp_path: Path) -> None:
    editor = tmp_path / "editor.py"
    editor.write_text(EDITOR)
    visual = f"import os; os.environ['VISUAL'] = {f'{sys.executable} {editor}'!r}; "
    terminal = opened("launch", config(tmp_path), before=visual)
    terminal.until_shown("steps 1000000")
    terminal.press("e")
    terminal.until_shown("an editor with 3 ends of a terminal")
    terminal.until_shown("was asked on standard error")
    terminal.forget()
    terminal.press("4321\n")
    terminal.until_shown("steps 4321")
    terminal.until_shown("modified")
    terminal.press("q")
    terminal.until_shown("Leave with unsaved changes?")
    terminal.press("y")
    assert terminal.wait() == 0


def test_the_size_is_the_terminal_s(opened: Opener) -> None:
    terminal = opened(size=(133, 41))
    terminal.until_shown("No runs yet")
    terminal.until(lambda: "\x1b[41;" in terminal.text)
    assert "\x1b[42;" not in terminal.text
    terminal.press("q")
    terminal.wait()


def test_an_error_of_its_own_is_one_sentence_and_a_file(opened: Opener, tmp_path: Path) -> None:
    terminal = opened(before=CRASH)
    terminal.until_shown("No runs yet")
    terminal.press("3")
    terminal.until_shown("Runs started here")
    terminal.press("y")
    assert terminal.wait() == 1
    assert_restored(terminal)
    [note] = (tmp_path / "s" / "chomp").glob("crash-*.log")
    said = after(terminal)
    assert f"chomp-tui: an error of its own closed it; runs continue. The traceback is in {note}" in said.replace(
        "\r\n", ""
    )
    assert "Traceback" not in terminal.text
    assert "ValueError: a mistake of ours" in note.read_text()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=str)
def test_a_signal_ends_it_like_a_key(number: int, code: int, opened: Opener) -> None:
    terminal = opened()
    terminal.until_shown("No runs yet")
    os.kill(terminal.pid, number)
    assert terminal.wait() == code
    assert_restored(terminal)


def test_a_terminal_that_closes_ends_a_console_that_ignores_the_hang_up(opened: Opener) -> None:
    """Under `nohup`: it would read the end of its input in a loop."""
    terminal = opened(before="import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); ")
    terminal.until_shown("No runs yet")
    assert terminal.hang_up() == 128 + signal.SIGHUP


def stop(terminal: Terminal, number: int) -> None:
    """Stop it by a signal, and forget what it had painted by then."""
    os.kill(terminal.pid, number)
    terminal.until(lambda: psutil.Process(terminal.pid).status() == psutil.STATUS_STOPPED)
    while terminal.read(0.2):
        pass


def test_stopping_and_going_on_draws_the_screen_again(opened: Opener) -> None:
    terminal = opened()
    terminal.until_shown("No runs yet")
    for _ in range(2):
        stop(terminal, signal.SIGTSTP)
        assert ALT_SCREEN_OFF in terminal.text
        assert terminal.attributes() == terminal.before
        terminal.forget()
        os.kill(terminal.pid, signal.SIGCONT)
        terminal.until_shown("No runs yet")
    terminal.press("q")
    assert terminal.wait() == 0
    assert_restored(terminal)


def test_an_unannounced_stop_leaves_one_program_on_the_terminal(opened: Opener) -> None:
    terminal = opened()
    terminal.until_shown("No runs yet")
    console = psutil.Process(terminal.pid)
    threads = console.num_threads()
    for _ in range(3):
        stop(terminal, signal.SIGSTOP)
        terminal.forget()
        os.kill(terminal.pid, signal.SIGCONT)
        terminal.until_shown("No runs yet")
        # What it was painting when it was stopped comes before the terminal is taken again.
        terminal.until(lambda: terminal.attributes() != terminal.before)
    # Threads of other work come and go.
    terminal.until(lambda: console.num_threads() <= threads)
    terminal.press("q")
    assert terminal.wait() == 0
    assert_restored(terminal)


@pytest.mark.parametrize("name", ["SIGTSTP", "SIGCONT"])
def test_a_signal_in_the_middle_of_a_write_stops_no_painting(name: str, opened: Opener) -> None:
    terminal = opened(before=INTERRUPTED_WRITE.format(name=name))
    if name == "SIGTSTP":
        terminal.until(lambda: psutil.Process(terminal.pid).status() == psutil.STATUS_STOPPED)
        os.kill(terminal.pid, signal.SIGCONT)
    terminal.until(lambda: terminal.text.count(ALT_SCREEN_ON) == 2)
    terminal.until(lambda: "Norunsyet" in drawn(terminal.text.rpartition(ALT_SCREEN_ON)[2]))
    terminal.press("q")
    assert terminal.wait() == 0
    assert_restored(terminal)


def test_a_redirected_error_stream_is_refused(tmp_path: Path) -> None:
    """The screens would go into the file."""
    terminal = Terminal(
        ["/bin/sh", "-c", f"exec {sys.executable} -m chomp_tui launch 2>{tmp_path / 'words'}"],
        environ={**os.environ, "TERM": "xterm"},
        folder=Path.cwd(),
    )
    assert terminal.wait() == 2
    assert (tmp_path / "words").read_text() == (
        "error: chomp-tui needs a terminal: standard error is not a terminal, and that is where screens are drawn; "
        "to train without screens: python -m chomp_tui launch --no-ui configs/quickstart.yaml\n"
    )
    assert terminal.text == ""
    terminal.close()


def test_a_terminal_that_cannot_place_text_is_refused() -> None:
    terminal = Terminal([sys.executable, "-m", "chomp_tui"], environ={**os.environ, "TERM": "dumb"}, folder=Path.cwd())
    assert terminal.wait() == 2
    assert "TERM=dumb" in terminal.text
    terminal.close()


@pytest.mark.usefixtures("engines")
def test_an_engine_outlives_its_console_and_a_line_says_how_to_see_it_again(opened: Opener, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "one"
    terminal = opened("launch", config(tmp_path), "--start", "--run-dir", "runs/one")
    terminal.until(lambda: last_step(run) > 0)
    terminal.until_shown("4 Run")
    holder = live_holder(run / "lock")
    assert holder is not None
    terminal.press("q")
    assert terminal.wait() == 0
    assert_restored(terminal)
    expected = f"runs/one is still training (pid {holder.pid}). Watch it again: python -m chomp_tui attach runs/one"
    assert expected in after(terminal).replace("\r\n", "")
    step = last_step(run)
    terminal.until(lambda: last_step(run) > step)

    again = opened("attach", "runs/one", "--read-only")
    again.until_shown("one")
    assert again.hang_up() == -signal.SIGHUP
    assert live_holder(run / "lock") == holder


def kill(terminal: Terminal) -> int:
    os.kill(terminal.pid, signal.SIGKILL)
    return terminal.wait()


@pytest.mark.usefixtures("engines")
@pytest.mark.parametrize(
    ("end", "number"), [(Terminal.hang_up, signal.SIGHUP), (kill, signal.SIGKILL)], ids=["closed", "killed"]
)
def test_a_console_that_is_torn_away_leaves_the_engine_training(
    end: Callable[[Terminal], int], number: int, opened: Opener, tmp_path: Path
) -> None:
    """By a closed window or a lost connection, or by `kill -9`."""
    run = tmp_path / "runs" / "one"
    terminal = opened("launch", config(tmp_path), "--start", "--run-dir", "runs/one")
    terminal.until(lambda: last_step(run) > 0)
    holder = live_holder(run / "lock")
    assert holder is not None
    assert end(terminal) == -number

    step = last_step(run)
    other = opened("attach", "runs/one")
    other.until(lambda: last_step(run) > step)
    assert live_holder(run / "lock") == holder
    os.kill(holder.pid, signal.SIGTERM)
    other.until(lambda: any(isinstance(event, RunEnded) for event in events(run)))
    [ended] = [event for event in events(run) if isinstance(event, RunEnded)]
    assert ended.status == "stopped"
    assert json.loads(RunDir(run).config_resolved.read_text())["train"]["steps"] == 1_000_000
    other.press("q")
    assert other.wait() == 0, other.text[-2000:]
    assert "is still training" not in other.text
