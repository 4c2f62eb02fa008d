"""Running the console on a terminal: from the first screen to the last line in the shell."""

from __future__ import annotations

import asyncio
import gc
import shlex
import signal
from collections.abc import Mapping
from pathlib import Path

from chomp.errors import command_name
from chomp.record.signals import NOTICE_SIGNALS
from chomp.record.user_files import keep_traceback, state_file
from chomp_tui.app import ChompApp
from chomp_tui.platform.terminal import private_terminal
from chomp_tui.state import ConsoleState, StartView

SETTLED_SECONDS = 3.0


def show(state: ConsoleState, start_view: StartView) -> int:
    """Run the console; returns the exit code. Prints how to watch live runs again, or where an error is noted."""
    app = ChompApp(state, start_view)
    error: BaseException | None = None
    with private_terminal(state_file("console.log")):
        try:
            asyncio.run(_until_closed(app))
        except Exception as failed:  # noqa: BLE001 - reported below, once the terminal is restored
            error = failed
    error = error or app._exception
    for line in live_lines(state.live):
        print(line)
    if error is not None:
        print(f"chomp-tui: an error of its own closed it; runs continue. The traceback is in {keep_traceback(error)}")
        return 1
    return app.return_code or 0


async def _until_closed(app: ChompApp) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.exit, None, 128 + number)
    for number in NOTICE_SIGNALS:
        # A cluster sends them to all processes of a job: the engines save, and the console stays.
        loop.add_signal_handler(number, int)
    # Textual prints its errors with every local variable; ours go to a file, without them.
    app.error_console.quiet = True
    # Objects of the first screen stay: the garbage collector need not visit them again while a key waits.
    loop.call_later(SETTLED_SECONDS, gc.freeze)
    await app.run_async()


def live_lines(live: Mapping[Path, int]) -> list[str]:
    """For each run whose engine still lives: that it does, and how to see it again."""
    from chomp.record.lock import is_running

    program = command_name("chomp-tui")
    return [
        f"{path} is still training (pid {pid}). Watch it again: {program} attach {shlex.quote(str(path))}"
        for path, pid in live.items()
        if is_running(pid)
    ]
