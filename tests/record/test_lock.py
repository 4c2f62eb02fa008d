"""The lock of a run directory: who holds it, and who only says so."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from chomp.errors import RunDirError
from chomp.record.lock import Holder, RunLock, is_running, live_holder, read_holder

HOLD = (
    "import sys, time; from pathlib import Path; from chomp.record.lock import RunLock; "
    "lock = RunLock(Path(sys.argv[1])); lock.acquire(); print('held', flush=True); time.sleep(60)"
)


def hold(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_taken_named_given_back(tmp_path: Path) -> None:
    lock = RunLock(tmp_path / "lock")
    lock.acquire()
    holder = live_holder(tmp_path / "lock")
    assert holder is not None
    assert (holder.pid, holder.host, holder.is_here()) == (os.getpid(), socket.gethostname(), True)
    with pytest.raises(RunDirError) as caught:
        RunLock(tmp_path / "lock").acquire()
    assert str(caught.value) == (
        f"{tmp_path} is in use by pid {os.getpid()} on {socket.gethostname()}; wait for it, "
        f"stop it with `chomp ctl {tmp_path} stop`, or choose another --run-dir"
    )
    lock.release()
    lock.release()
    assert (tmp_path / "lock").read_bytes() == b""
    assert live_holder(tmp_path / "lock") is None
    RunLock(tmp_path / "lock").acquire()


def test_a_killed_holder_leaves_its_text_and_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    process = hold(path)
    with pytest.raises(RunDirError, match=f"pid {process.pid}"):
        RunLock(path).acquire()
    process.send_signal(signal.SIGKILL)
    process.wait()
    holder = read_holder(path)
    assert holder is not None
    assert holder.pid == process.pid
    assert live_holder(path) is None
    RunLock(path).acquire()
    assert read_holder(path) == Holder(
        os.getpid(), socket.gethostname(), psutil.Process().create_time(), path.stat().st_ino
    )


def test_a_zombie_holds_nothing(tmp_path: Path) -> None:
    process = hold(tmp_path / "lock")
    process.kill()
    deadline = time.monotonic() + 10
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
    assert live_holder(tmp_path / "lock") is None
    process.wait()


def test_a_pid_that_was_given_to_another_process_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": 1000.0}))
    assert live_holder(path) is None


def test_a_copy_of_a_lock_is_held_by_no_engine(tmp_path: Path) -> None:
    path, copy = tmp_path / "lock", tmp_path / "copy"
    lock = RunLock(path)
    lock.acquire()
    shutil.copy2(path, copy)
    holder = read_holder(copy)
    assert holder is not None
    assert (holder.is_alive(), holder.wrote(path), holder.wrote(copy)) == (True, True, False)
    assert (live_holder(path), live_holder(copy)) == (holder, None)
    path.rename(tmp_path / "moved")
    assert live_holder(tmp_path / "moved") == holder
    assert not holder.wrote(path), "there is nothing"
    # An engine of before wrote no number: then the process is all that is known.
    copy.write_text(json.dumps({"pid": holder.pid, "host": holder.host, "started": holder.started}))
    assert live_holder(copy) is not None
    mine = RunLock(copy)
    mine.acquire()
    assert live_holder(copy) is not None


def test_of_another_machine_nothing_is_known(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text(json.dumps({"pid": os.getpid(), "host": "elsewhere", "started": psutil.Process().create_time()}))
    holder = read_holder(path)
    assert holder is not None
    assert not holder.is_here()
    assert live_holder(path) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"pid": "x", "host": 1}', '{"pid": 1e999, "host": "", "started": 0}']
)
def test_a_text_that_names_no_engine(text: str, tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(text)
    assert read_holder(tmp_path / "lock") is None
    assert live_holder(tmp_path / "lock") is None
    RunLock(tmp_path / "lock").acquire()


def test_a_lock_that_cannot_be_opened_is_the_caller_s_to_report(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RunLock(tmp_path / "nowhere" / "lock").acquire()


def test_a_failed_attempt_leaves_no_descriptor(tmp_path: Path) -> None:
    lock = RunLock(tmp_path / "lock")
    lock.acquire()
    before = psutil.Process().num_fds()
    for _ in range(5):
        with pytest.raises(RunDirError):
            RunLock(tmp_path / "lock").acquire()
    assert psutil.Process().num_fds() == before


def test_a_process_that_runs() -> None:
    me = psutil.Process()
    assert is_running(me.pid)
    assert is_running(me.pid, me.create_time())
    assert not is_running(me.pid, me.create_time() - 60)
    assert not is_running(2**22 + 1)
