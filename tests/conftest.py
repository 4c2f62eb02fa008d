"""Settings that hold for every test: one compilation cache, no GPU, no hub."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# The same programs are compiled by many tests and by their child processes: compile each once.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("EQX_ON_ERROR", "off")
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


# What a shell script starts in the background, or nohup starts, ignores these two, and so would the engines that the
# tests start: they are told of signals as an engine in a terminal is.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_itemcollected(item: pytest.Item) -> None:
    """What soaks is slow too, so that `-m "not slow"` leaves both out."""
    if item.get_closest_marker("soak"):
        item.add_marker(pytest.mark.slow)
