"""Each page of `make bench` still runs, with as little work as it can be told; its figures mean nothing then."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.__main__ import PAGES
from tests.conftest import ROOT

pytestmark = [pytest.mark.process, pytest.mark.soak]

LITTLE = {
    "start": "--rounds 1",
    "loop": "--rounds 1 --steps 1",
    "saves": "--rounds 1",
    "step": "--shape quickstart --repeats 2",
    "mesh": "--devices 1 --devices 2 --model llama --turns 2",
    "parts": "--shape quickstart --repeats 1",
    "llama": "--repeats 1",
    "pytorch": "--shape byte-0.7m --repeats 1",
    "data": "--rounds 1 --seconds 0.1",
    "prepare": "--repeats 1",
    "decode": "--tokens 8 --repeats 1",
    "export": "--format gguf",
    "console_start": "--rounds 1",
    "console_home": "--runs 20 --idle 1",
    "console_tick": "--updates 2 --rows 100",
    "chart": "--repeats 1",
    "console_open": "--rows 20000 --rounds 1",
    "console_bytes": "--rows 100 --updates 1",
    "console_live": "--rounds 1 --turns 1",
}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs(page: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.{page}", *LITTLE[page].split()]
    # Without the tests' own settings: pages start engines and consoles as users do.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "CHOMP_TESTS_"))}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.strip()
