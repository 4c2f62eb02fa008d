"""Settings that hold for every test: one compilation cache, no GPU, no hub."""

from __future__ import annotations

import gc
import inspect
import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import hypothesis
import pytest

from chomp.errors import printable
from tests.compiling import compile_quickly

if TYPE_CHECKING:
    from tests.references import References

ROOT = Path(__file__).parent.parent

# The same inputs each time, so that a failure is that of the change under test. `make soak` looks for others.
hypothesis.settings.register_profile("same", deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("explore", deadline=None, database=None, print_blob=True)
hypothesis.settings.load_profile("same")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Libraries log names that are not UTF-8, and a worker sends its reports as UTF-8."""
    report = yield
    report.sections = [(title, printable(text)) for title, text in report.sections]
    return report


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
# Engines make a secret there.
os.environ["XDG_STATE_HOME"] = str(ROOT / ".pytest_cache" / "state")
# Most of the time goes into compiling programs that run for an instant, so here and in every child they are compiled
# with little optimisation, in half the time. What has to be as users have it runs in a child whose
# environment is `tests.engine.optimized()`; JAX_DISABLE_MOST_OPTIMIZATIONS=0 in the environment is all of it so.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


compile_quickly()

# What a shell script starts in the background, or nohup starts, ignores these two, and so would the engines that the
# tests start: they are told of signals as an engine in a terminal is.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def references(tmp_path_factory: pytest.TempPathFactory) -> References:
    """Runs that tests compare with and copy; all workers share them."""
    from tests.references import References

    base = tmp_path_factory.getbasetemp()
    return References((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "references")


@pytest.fixture(autouse=True)
def environment_stays() -> Iterator[None]:
    """Restore variables that a command sets: engines are forked only with the environment the session began with."""
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture(scope="session", autouse=True)
def fork_servers_end() -> Iterator[None]:
    """The servers that `tests.engine` starts end with the session."""
    yield
    if "tests.engine" in sys.modules:
        sys.modules["tests.engine"].close_servers()


# What a test needs, by the fixtures and the folder of its file; a mark in the file itself comes first.
NEEDS = ("pure", "compile", "screen", "process")
COMPILING = {"checkpoint", "conformance", "export", "generate", "model", "optim", "step", "train", "analysis"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test without a mark of its own the one that its folder, or what its module uses, calls for."""
    for item in items:
        if item.get_closest_marker("soak") or item.get_closest_marker("root"):
            item.add_marker(pytest.mark.process)
        if not any(item.get_closest_marker(name) for name in NEEDS):
            item.add_marker(getattr(pytest.mark, need(item)))


def need(item: pytest.Item) -> str:
    folder = item.path.relative_to(ROOT / "tests").parts[0]
    if folder in COMPILING:
        return "compile"
    drawn = folder == "console" and inspect.iscoroutinefunction(getattr(item, "function", None))
    return "screen" if drawn else "pure"
