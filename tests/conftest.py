"""Settings that hold for every test: one compilation cache, no GPU, no hub."""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path

import pytest
from jaxlib import xla_client

ROOT = Path(__file__).parent.parent


def keep_bytecode() -> None:
    """Keep what Python compiles in a folder of our own where the environment forbids to write it beside the modules.

    A child imports two thousand modules, and an installer that compiles none leaves that to each of them: five seconds
    of a start that otherwise takes three.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(ROOT / ".pytest_cache" / "bytecode")
        sys.dont_write_bytecode = False


keep_bytecode()

# Tracing makes many objects that stay: the collector looks over them less often, which spares a tenth of the time.
gc.set_threshold(50_000, 20, 100)
# The same programs are compiled by many tests and by their child processes: compile each once.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("EQX_ON_ERROR", "off")
# Most of the time goes into compiling programs that run for an instant, so here and in every child they are compiled
# with little optimisation, in half the time. What has to be as users have it runs in a child whose
# environment is `tests.engine.optimized()`; JAX_DISABLE_MOST_OPTIMIZATIONS=0 in the environment is all of it so.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def compile_quickly() -> None:
    """XLA's older code generator for CPUs takes half the time again: for the programs of this process only.

    XLA reads the flag here, once. It does not stay in the environment, where every engine would report it, and first
    start a process to find out whether the installed XLA knows it.
    """
    given = os.environ.get("XLA_FLAGS")
    os.environ["XLA_FLAGS"] = f"--xla_cpu_use_fusion_emitters=false {given or ''}".rstrip()
    xla_client.CompileOptions()
    if given is None:
        del os.environ["XLA_FLAGS"]
    else:
        os.environ["XLA_FLAGS"] = given


if os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] != "0":
    compile_quickly()

# What a shell script starts in the background, or nohup starts, ignores these two, and so would the engines that the
# tests start: they are told of signals as an engine in a terminal is.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_itemcollected(item: pytest.Item) -> None:
    """What soaks is slow too, so that `-m "not slow"` leaves both out."""
    if item.get_closest_marker("soak"):
        item.add_marker(pytest.mark.slow)
