"""Signals and commands, without an engine."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chomp.record.commands import Command, CommandReader, discard_commands_of_others, send_command
from chomp.record.event_log import EventWriter, read_events
from chomp.record.events import Acknowledged, Event, Warned
from chomp.record.signals import HANDLED_SIGNALS
from chomp.sinks import Reporter
from chomp.train.control import (
    AbortRequestedError,
    CommandQueue,
    StopRequest,
    StopRequestedError,
    StopSwitch,
    run_interruptible,
)
from chomp.train.signals import SignalActions, SignalWatcher
from tests.engine import wait_until


class Record:
    """What the watcher said and did."""

    def __init__(self) -> None:
        self.first: list[str] = []
        self.second: list[int] = []
        self.left: list[int] = []
        self.noticed: list[int] = []
        self.continued: list[float] = []
        self.suspended = 0
        self.hangups = 0
        self.switch = StopSwitch()

    def hang_up(self) -> None:
        self.hangups += 1

    def suspend(self) -> None:
        self.suspended += 1

    def watcher(
        self, on_first: Callable[[str], None] | None = None, on_second: Callable[[int], None] | None = None
    ) -> SignalWatcher:
        actions = SignalActions(
            on_first=on_first or self.first.append,
            on_second=on_second or self.second.append,
            on_notice=self.noticed.append,
            on_hangup=self.hang_up,
            on_suspend=self.suspend,
            on_continue=self.continued.append,
            leave=self.left.append,
        )
        return SignalWatcher(self.switch, actions)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture
def record() -> Iterator[Record]:
    before = {number: signal.getsignal(number) for number in HANDLED_SIGNALS}
    yield Record()
    assert {number: signal.getsignal(number) for number in before} == before, "handlers were not put back"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_for_a_stop(number: signal.Signals, record: Record) -> None:
    with record.watcher():
        send(number)
        wait_until(lambda: record.first)
    assert record.switch.request == StopRequest(f"{number.name} received", 128 + number)
    assert record.first == [number.name]
    assert not record.left


def test_the_second_signal_ends_the_process(record: Record) -> None:
    with record.watcher():
        send(signal.SIGTERM)
        wait_until(lambda: record.first)
        time.sleep(0.15)
        send(signal.SIGINT)
        wait_until(lambda: record.left)
    assert record.second == record.left == [130]


def test_a_signal_that_a_wrapper_passes_on_is_the_same_wish(record: Record) -> None:
    with record.watcher():
        send(signal.SIGINT)
        wait_until(lambda: record.first)
        send(signal.SIGINT)
        send(signal.SIGTERM)
        time.sleep(0.1)
        assert not record.left
    assert record.first == ["SIGINT"]


def test_the_first_signal_after_a_stop_command_is_still_the_first(record: Record) -> None:
    record.switch.set(StopRequest("stop requested", 0))
    with record.watcher():
        time.sleep(0.15)
        send(signal.SIGINT)
        wait_until(lambda: record.first)
        assert not record.left
    assert record.switch.request == StopRequest("stop requested", 0)


def test_words_that_block_or_fail_do_not_deafen_the_watcher(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chomp.train.signals.LAST_MESSAGES_SECONDS", 0.1)
    never = threading.Event()
    try:
        with record.watcher(on_first=lambda name: bool(never.wait()), on_second=lambda code: bool(never.wait())):
            send(signal.SIGTERM)
            wait_until(record.switch.is_set)
            time.sleep(0.15)
            send(signal.SIGTERM)
            wait_until(lambda: record.left)
    finally:
        never.set()
    assert record.left == [143]


def test_hangup_is_told_and_stops_nothing(record: Record) -> None:
    with record.watcher():
        send(signal.SIGHUP)
        wait_until(lambda: record.hangups)
    assert not record.switch.is_set()


def test_a_hangup_that_nohup_ignores_stays_ignored(record: Record) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with record.watcher():
            send(signal.SIGHUP)
            time.sleep(0.05)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert record.hangups == 0


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_notice_of_a_cluster_ends_nothing_by_itself(number: signal.Signals, record: Record) -> None:
    with record.watcher():
        for count in (1, 2):
            send(number)
            wait_until(lambda: len(record.noticed) == count)  # noqa: B023 - waited for in the same turn
        send(signal.SIGTERM)
        wait_until(lambda: record.first)
        assert not record.left, "a SIGTERM after a notice is the first request to stop"
    assert record.noticed == [number, number]


def test_the_kernel_repeats_sigxcpu_every_second(record: Record) -> None:
    with record.watcher():
        send(signal.SIGXCPU)
        wait_until(lambda: record.noticed)
        send(signal.SIGXCPU)
        send(signal.SIGUSR1)
        wait_until(lambda: len(record.noticed) == 2)
    assert record.noticed == [signal.SIGXCPU, signal.SIGUSR1]


def test_ctrl_z_stops_the_process_also_without_a_shell(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process group without a shell ignores SIGTSTP by default; SIGSTOP is obeyed by any."""
    sent: list[int] = []
    monkeypatch.setattr("chomp.train.signals.os.kill", lambda pid, number: sent.append(number))
    with record.watcher():
        signal.raise_signal(signal.SIGTSTP)
        wait_until(lambda: sent)
        signal.raise_signal(signal.SIGCONT)
        signal.raise_signal(signal.SIGTERM)
        wait_until(lambda: record.first)
    assert (sent, record.suspended) == ([signal.SIGSTOP], 1)
    assert record.continued == [], "it was not stopped"


def test_interruptible_work_returns_raises_and_is_left() -> None:
    switch = StopSwitch()
    assert run_interruptible(lambda: 7, switch.check) == 7
    with pytest.raises(ZeroDivisionError):
        run_interruptible(lambda: 1 // 0, switch.check)
    release = threading.Event()
    threading.Timer(0.1, lambda: switch.set(StopRequest("SIGINT received", 130))).start()
    started = time.monotonic()
    with pytest.raises(StopRequestedError):
        run_interruptible(lambda: release.wait(30), switch.check)
    assert time.monotonic() - started < 10
    release.set()


def test_a_stop_that_was_already_asked_for_starts_nothing_long() -> None:
    switch = StopSwitch()
    switch.set(StopRequest("SIGINT received", 130))
    release = threading.Event()
    with pytest.raises(StopRequestedError):
        run_interruptible(lambda: release.wait(30), switch.check)
    release.set()


@pytest.fixture
def channel(tmp_path: Path) -> tuple[Path, CommandQueue, Callable[[], list[Event]]]:
    events = tmp_path / "events.jsonl"
    path = tmp_path / "commands.jsonl"
    queue = CommandQueue(CommandReader(path, since=time.time() - 1), Reporter(EventWriter(events), []), StopSwitch())
    return path, queue, lambda: read_events(events)


def test_commands_are_read_once_and_answered(channel: tuple[Path, CommandQueue, Callable[[], list[Event]]]) -> None:
    path, queue, said = channel
    assert queue.read() == []
    asked = Command("sample", args={"prompt": "def é"})
    send_command(path, asked)
    send_command(path, Command("save"))
    commands = queue.read()
    assert [command.command for command in commands] == ["sample", "save"]
    assert commands[0] == asked
    assert queue.read() == []
    queue.answer(asked, 7, "wrote 1 sample at step 7")
    answer = said()[-1]
    assert isinstance(answer, Acknowledged)
    assert (answer.id, answer.command, answer.ok, answer.step) == (asked.id, "sample", True, 7)
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_command_of_a_signal_waits_like_others(
    channel: tuple[Path, CommandQueue, Callable[[], list[Event]]],
) -> None:
    path, queue, _ = channel
    send_command(path, Command("pause"))
    queue.give(Command("save", id="SIGUSR1"))
    queue.check(0)
    assert [command.command for command in queue.read()] == ["pause", "save"]
    assert queue.read() == []


def test_the_run_directory_is_looked_for_at_each_read(tmp_path: Path) -> None:
    looks: list[int] = []
    reporter = Reporter(EventWriter(tmp_path / "events.jsonl"), [])
    reader = CommandReader(tmp_path / "commands.jsonl", since=0.0)
    queue = CommandQueue(reader, reporter, StopSwitch(), lambda: looks.append(1))
    queue.read()
    queue.check(0)
    assert len(looks) == 2


@pytest.mark.parametrize(("name", "error"), [("stop", StopRequestedError), ("abort", AbortRequestedError)])
def test_only_the_end_is_obeyed_before_the_first_step(
    name: str, error: type[Exception], channel: tuple[Path, CommandQueue, Callable[[], list[Event]]]
) -> None:
    path, queue, said = channel
    queue.check(0)
    for waits in ("pause", "save"):
        send_command(path, Command(waits))
        queue.check(0)
    assert said() == []
    assert [command.command for command in queue.read()] == ["pause", "save"]
    send_command(path, Command("eval"))
    send_command(path, Command(name))
    with pytest.raises(error):
        queue.check(30)
    (answer,) = said()
    assert isinstance(answer, Acknowledged)
    assert (answer.command, answer.ok, answer.message, answer.step) == (name, True, "ending the run", 30)
    asked = StopRequest("stop requested", 0) if name == "stop" else None
    assert queue.switch.request == asked


def test_a_signal_is_obeyed_before_the_commands(channel: tuple[Path, CommandQueue, Callable[[], list[Event]]]) -> None:
    path, queue, said = channel
    send_command(path, Command("abort"))
    queue.switch.set(StopRequest("SIGTERM received", 143))
    with pytest.raises(StopRequestedError):
        queue.check(0)
    assert said() == []


def test_a_file_that_others_may_write_is_refused_and_that_is_said_once(
    channel: tuple[Path, CommandQueue, Callable[[], list[Event]]],
) -> None:
    path, queue, said = channel
    send_command(path, Command("abort"))
    path.chmod(0o620)
    assert queue.read() == []
    assert queue.read() == []
    warnings = [event for event in said() if isinstance(event, Warned)]
    assert [warning.message for warning in warnings] == [
        f"{path} is ignored: it must belong to uid {os.geteuid()} and be writable by it alone (chmod 600)"
    ]


def test_a_file_of_another_user_is_refused(
    channel: tuple[Path, CommandQueue, Callable[[], list[Event]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, queue, _ = channel
    send_command(path, Command("abort"))
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    assert queue.read() == []


def test_a_member_of_a_group_begins_with_commands_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's file could not be written to, and what it holds was meant for an earlier attempt."""
    path = tmp_path / "commands.jsonl"
    discard_commands_of_others(path)
    send_command(path, Command("abort"))
    discard_commands_of_others(path)
    assert path.exists(), "one's own file stays"
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    discard_commands_of_others(path)
    assert not path.exists()


HOSTILE_LINES = [
    b"\n",
    b"no json at all\n",
    b"[1, 2]\n",
    b'"text"\n',
    b"null\n",
    b"\xff\xfe\n",
    b'{"command": "abort"}\n',
    b'{"command": "abort", "id": "x", "t": "soon"}\n',
    b'{"command": "abort", "id": "x", "t": NaN}\n',
    b'{"command": "abort", "id": "x", "t": 1e9, "args": 3}\n',
    b'{"command": "abort", "id": "x", "t": 1' + b"0" * 400 + b"}\n",
    b"[" * 100_000 + b"\n",
]


def test_lines_that_are_no_commands_are_passed_over(
    channel: tuple[Path, CommandQueue, Callable[[], list[Event]]],
) -> None:
    path, queue, _ = channel
    path.touch(0o600)
    path.write_bytes(b"".join(HOSTILE_LINES))
    send_command(path, Command("save", id="good"))
    assert [command.id for command in queue.read()] == ["good"]


def test_commands_from_before_the_engine_started_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "commands.jsonl"
    send_command(path, Command("stop", t=time.time() - 1))
    reader = CommandReader(path, since=time.time())
    send_command(path, Command("save"))
    assert [command.command for command in reader.read()] == ["save"]


def test_a_stop_wakes_what_does_not_look_at_the_switch() -> None:
    switch, woken = StopSwitch(), []
    switch.on_set(lambda: woken.append("data"))
    assert woken == []
    switch.set(StopRequest("SIGTERM received", 143))
    assert woken == ["data"]
