"""First paint of `chomp-tui launch CONFIG`, against that of a Textual app which shows one line; on one pseudo-terminal.

python -m benchmarks.console_start [--rounds N]
"""

import argparse
import fcntl
import os
import pty
import select
import signal
import statistics
import struct
import sys
import tempfile
import termios
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "configs" / "quickstart.yaml"
TARGET = 1.5
BARE = """
from textual.app import App
from textual.widgets import Label
class Bare(App):
    def compose(self):
        yield Label("chomp-first-paint")
Bare().run()
"""
# By name: the command, a word of its first frame, and a word that is there once the whole screen is.
COMMANDS = {
    "bare": ([sys.executable, "-c", BARE], b"chomp-first-paint", b"chomp-first-paint"),
    "launch": ([sys.executable, "-m", "chomp_tui", "launch", str(CONFIG)], b"Checkpoints", b"Launch"),
    "home": ([sys.executable, "-m", "chomp_tui"], b"Checkpoints", b"Filter"),
}


def paints(argv: list[str], first: bytes, last: bytes, folder: str) -> tuple[float, float]:
    """Seconds from the start of a process until each of two words reaches the terminal."""
    began = time.perf_counter()
    pid, fd = pty.fork()
    if pid == 0:
        environ = {**os.environ, "TERM": "xterm-256color", "XDG_CONFIG_HOME": folder, "XDG_STATE_HOME": folder}
        os.execve(argv[0], argv, environ)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 48, 160, 0, 0))
    seen, at = b"", []
    for words in (first, last):
        while words not in seen:
            if not select.select([fd], [], [], 60)[0]:
                raise TimeoutError(f"nothing was drawn by {' '.join(argv[1:])[:60]}: {seen[-300:]!r}")
            seen += os.read(fd, 1 << 16)
        at.append(time.perf_counter() - began)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(fd)
    return at[0], at[1]


def main() -> None:
    """Measure all commands in turns and print medians and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    os.chdir(ROOT)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        for command in COMMANDS.values():
            paints(*command, folder)
        for _ in range(options.rounds):
            for name, command in COMMANDS.items():
                taken[name].append(paints(*command, folder))
    for name in taken:
        print(
            f"{name:<7} first frame {_figure(taken, name, 0)} (target below {TARGET}), whole {_figure(taken, name, 1)}"
        )


def _figure(taken: dict[str, list[tuple[float, float]]], name: str, which: int) -> str:
    """A median, and its ratio to bare Textual: within each round, because neighbours in time share the load."""
    seconds = [pair[which] for pair in taken[name]]
    ratio = statistics.median(own / bare for own, (bare, _) in zip(seconds, taken["bare"], strict=True))
    return f"{statistics.median(seconds):.2f} s, {ratio:.2f} x bare"


if __name__ == "__main__":
    main()
