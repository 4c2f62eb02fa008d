"""The warm process that runs engine commands: its protocol, its ends, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from chomp_tui.engine.helper import Helper
from chomp_tui.engine.process import EngineError
from tests.console.fakehelper import fake_helper

pytestmark = pytest.mark.pure

SLEEPS = (
    "import os, subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "open('pids.part', 'w').write(f'{os.getpid()} {child.pid} {os.getppid()}')\n"
    "os.rename('pids.part', 'pids')\n"
    "time.sleep(600)\n"
)


async def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


async def sleeping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Helper, asyncio.Task[Any], list[int]]:
    """A helper whose command sleeps; the pids of the command, of its own child, and of the helper."""
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "script.py"
    script.write_text(f"import json, os\nif os.path.exists('answers'):\n  print('{{}}')\nelse:\n  exec({SLEEPS!r})\n")
    helper = fake_helper(script)
    task = asyncio.create_task(helper.ask([], {}))
    await until((tmp_path / "pids").exists)
    return helper, task, [int(pid) for pid in (tmp_path / "pids").read_text().split()]


async def test_what_a_command_prints_is_never_taken_for_an_answer_of_the_helper() -> None:
    noise = (
        "import os, sys\n"
        'os.write(1, b\'\\xff\\x00{"id": 1, "code": 7}\\n\'); os.write(2, b\'{"id": 1, "code": 8}\\n\')\n'
        "print('x' * 300_000); print('{\"letter\": \"\\u20ac\"}'); print(sys.argv[1:])\n"
    )
    helper = fake_helper(noise)
    assert await asyncio.gather(helper.ask(["a b", "é"], {}), helper.ask(["c"], {})) == [{"letter": "€"}] * 2
    async with helper.call(["a b", "é"], {}) as call:
        assert await call.ended == 0
    assert "['a b', 'é']" in call.out
    assert call.errors == '{"id": 1, "code": 8}\n'
    await helper.close()


async def test_what_one_command_has_read_the_next_ones_know(tmp_path: Path) -> None:
    file, reads = tmp_path / "task.jsonl", tmp_path / "reads"
    file.write_text("one\n")
    helper = fake_helper(
        "import sys\nfrom pathlib import Path\nfrom chomp.data.remembered import once\n"
        f"file, reads = Path({str(file)!r}), Path({str(reads)!r})\n"
        "once(sys.argv[1:], [file], lambda: reads.open('a').write('read '))\nprint('{}')\n"
    )
    for _ in range(3):
        await helper.ask(["task"], {})
    assert reads.read_text() == "read "
    await helper.ask(["set"], {})
    assert reads.read_text() == "read " * 2, "another question"
    file.write_text("one\ntwo\n")
    for _ in range(2):
        await helper.ask(["task"], {})
    assert reads.read_text() == "read " * 3, "another content"
    await helper.close()


async def test_lines_go_in_and_out_while_a_command_runs_and_a_signal_reaches_it() -> None:
    helper = fake_helper(
        "import sys, time\nfor line in sys.stdin:\n  print(line.upper(), end='', flush=True)\n"
        "  if line == 'last\\n':\n    try:\n      time.sleep(600)\n    except KeyboardInterrupt:\n      sys.exit(4)\n"
    )
    seen: list[bytes] = []
    async with helper.call([], {}, has_input=True, on_line=seen.append) as call:
        call.write("one\n")
        await until(lambda: seen == [b"ONE"])
        call.write("last\n")
        await until(lambda: seen == [b"ONE", b"LAST"])
        call.signal(signal.SIGINT)
        assert await call.ended == 4
    await helper.close()


async def test_text_that_a_command_does_not_read_holds_up_no_other_command() -> None:
    helper = fake_helper(
        "import sys, time\nif sys.argv[1] == 'deaf': time.sleep(600)\n"
        "print('{\"read\": %d}' % len(sys.stdin.readline()))\n"
    )
    async with helper.call(["deaf"], {}, has_input=True) as deaf:
        deaf.write("x" * 1_000_000 + "\n")
        async with helper.call(["good"], {}, has_input=True) as good:
            good.write("y" * 1_000_000 + "\n")
            assert await good.ended == 0
        assert good.out == '{"read": 1000001}\n'
    await helper.close()


async def test_a_helper_that_was_killed_takes_its_commands_along_and_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper, task, pids = await sleeping(tmp_path, monkeypatch)
    os.kill(pids[2], signal.SIGKILL)
    with pytest.raises(EngineError, match="killed by signal 9"):
        await task
    for pid in pids:
        await until(lambda pid=pid: is_gone(pid))  # type: ignore[misc]
    Path("answers").touch()
    assert await helper.ask([], {}) == {}
    await helper.close()


async def test_a_console_that_was_killed_leaves_neither_helper_nor_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # What is left of a killed console: the ends of its pipes are closed.
    fake = Path(__file__).with_name("fakehelper.py")
    helper = subprocess.Popen(
        [sys.executable, str(fake), "str", SLEEPS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert helper.stdin is not None
    assert helper.stdout is not None
    assert json.loads(helper.stdout.readline()) == {"ready": True}
    helper.stdin.write('{"id": 1, "arguments": []}\n')
    helper.stdin.flush()
    await until((tmp_path / "pids").exists)
    helper.stdin.close()
    assert helper.wait(30) == 0
    for pid in map(int, (tmp_path / "pids").read_text().split()[:2]):
        await until(lambda pid=pid: is_gone(pid))  # type: ignore[misc]
    helper.stdout.close()


async def test_a_request_that_is_given_up_while_the_helper_starts_costs_nothing(tmp_path: Path) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text("import time; time.sleep(600)")
    helper = Helper((sys.executable, str(slow)))
    task = asyncio.create_task(helper.ask(["never"], {}))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task], timeout=10)
    assert task.cancelled()
    await asyncio.wait_for(helper.close(), 10)


async def test_other_variables_are_another_process_and_the_idle_one_ends() -> None:
    helper = fake_helper("import json, os; print(json.dumps({'flag': os.environ.get('A_FLAG'), 'of': os.getppid()}))")
    plain, again = await helper.ask([], {}), await helper.ask([], {})
    assert plain == again
    flagged = await helper.ask([], {"A_FLAG": "on"})
    assert flagged["flag"] == "on"
    await until(lambda: is_gone(plain["of"]))
    await helper.close()
    assert is_gone(flagged["of"])


async def test_a_helper_that_nothing_is_asked_of_leaves_and_the_next_request_starts_another(tmp_path: Path) -> None:
    script = tmp_path / "leaving.py"
    fake = Path(__file__).with_name("fakehelper.py")
    answers = "import json, os; print(json.dumps({'of': os.getppid()}))"
    script.write_text(
        "import runpy, sys\nimport chomp.cli.helper as helper\nhelper.IDLE_SECONDS = 0.5\n"
        f"sys.argv = [{str(fake)!r}, 'str', {answers!r}]\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    helper = Helper((sys.executable, str(script)))
    first = await helper.ask([], {})
    await until(lambda: is_gone(first["of"]))
    second = await helper.ask([], {})
    assert second["of"] != first["of"]
    await helper.close()
