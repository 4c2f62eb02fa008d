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
COMMANDS = {
    "bare": ([sys.executable, "-c", BARE], b"chomp-first-paint"),
    # The footer's last key: the screen is there as a whole.
    "console": ([sys.executable, "-m", "chomp_tui", "launch", str(CONFIG)], b"Launch"),
    "home": ([sys.executable, "-m", "chomp_tui"], b"Filter"),
}


def first_paint(argv: list[str], words: bytes, folder: str) -> float:
    """Seconds from the start of a process until words of its first frame reach the terminal."""
    began = time.perf_counter()
    pid, fd = pty.fork()
    if pid == 0:
        environ = {**os.environ, "TERM": "xterm-256color", "XDG_CONFIG_HOME": folder, "XDG_STATE_HOME": folder}
        os.execve(argv[0], argv, environ)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 48, 160, 0, 0))
    seen = b""
    while words not in seen:
        if not select.select([fd], [], [], 60)[0]:
            raise TimeoutError(f"nothing was drawn by {' '.join(argv[1:])[:60]}: {seen[-300:]!r}")
        seen += os.read(fd, 1 << 16)
    seconds = time.perf_counter() - began
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(fd)
    return seconds


def main() -> None:
    """Measure all commands in turns and print medians and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    os.chdir(ROOT)
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        for argv, words in COMMANDS.values():
            first_paint(argv, words, folder)
        for _ in range(options.rounds):
            for name, (argv, words) in COMMANDS.items():
                taken[name].append(first_paint(argv, words, folder))
    for name, seconds in taken.items():
        # Neighbours in time share the machine's load, so the ratio is taken within each round.
        ratio = statistics.median(own / bare for own, bare in zip(seconds, taken["bare"], strict=True))
        target = f" (target below {TARGET})" if name != "bare" else ""
        print(f"{name:<8} first paint {statistics.median(seconds):.2f} s, {ratio:.2f} x bare{target}")


if __name__ == "__main__":
    main()
