"""Compiling the training step once, and noticing every compilation after that.

The persistent cache lets a second start of the same configuration load the program
instead of compiling it; see docs/training.md.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from chomp.data.batch import Batch
from chomp.parallel.mesh import ONE_DEVICE, Placement
from chomp.record.user_files import user_file
from chomp.step.train_step import lower_train_step
from chomp.train.program import Obtain, compile_only

CACHE_BYTES = 4 * 2**30
CACHE_HIT = "/jax/compilation_cache/cache_hits"
BACKEND_COMPILE = "/jax/core/compile/backend_compile_duration"


def _warn(sentence: str) -> None:
    print(f"warning: {sentence}", file=sys.stderr)


def use_compilation_cache(warn: Callable[[str], object] = _warn) -> None:
    """Turn on JAX's persistent cache in the user's cache directory: bounded, and readable by the user alone.

    A directory the user chose through `JAX_COMPILATION_CACHE_DIR` is used as it is.

    Args:
        warn: gets a sentence if new programs cannot be kept; programs are then compiled anew at each start.
    """
    problem = _turn_on_cache()
    if problem is not None:
        warn(f"compiled programs are not kept: {problem}")


def _turn_on_cache() -> str | None:
    """Turn it on; the reason if new programs cannot be kept."""
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    # Small programs add up at start-up: cache every one, not only those over a second.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if not jax.config.jax_enable_compilation_cache:  # type: ignore[attr-defined]
        return None
    if chosen is not None:
        # Empty is off, and JAX knows places that are no folders (gs://).
        is_folder = bool(chosen) and "://" not in chosen
        return _prepare(Path(chosen), "JAX_COMPILATION_CACHE_DIR", is_ours=False) if is_folder else None
    folder = user_file(os.environ, "XDG_CACHE_HOME", ".cache", "jax")
    if folder is None:
        return "this user has no home; set XDG_CACHE_HOME to a folder for caches"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    problem = _prepare(folder, "XDG_CACHE_HOME", is_ours=True)
    if problem is None:
        # With a limit JAX writes the time of each use.
        jax.config.update("jax_compilation_cache_max_size", CACHE_BYTES)
    return problem


def _prepare(folder: Path, variable: str, *, is_ours: bool) -> str | None:
    """Make the cache's folder; the reason if it cannot be written: JAX then only reads what is there."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700 if is_ours else 0o777)
        if is_ours:
            folder.chmod(0o700)
        # A read-only disk, or a folder of another user, shows when a file is made in it.
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        if folder.is_dir():
            # JAX would try, and warn, at each program.
            jax.config.update("jax_persistent_cache_min_compile_time_secs", math.inf)
        else:
            jax.config.update("jax_compilation_cache_dir", None)
        return (
            f"the cache folder {folder} cannot be written ({error.strerror}); set {variable} to a folder that you may "
            "write to"
        )


class CompileWatch:
    """Counts programs compiled and programs taken from the persistent cache, by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.compiled = 0
        self.cache_hits = 0
        self._expected = 0
        jax.monitoring.register_event_listener(self._on_event)
        jax.monitoring.register_event_duration_secs_listener(self._on_duration)

    def _on_event(self, event: str, **_: Any) -> None:
        if event == CACHE_HIT:
            with self._lock:
                self.cache_hits += 1

    def _on_duration(self, event: str, duration_secs: float, **_: Any) -> None:
        if event == BACKEND_COMPILE:
            with self._lock:
                self.compiled += 1

    def expect(self) -> None:
        """Everything compiled so far was meant to be."""
        self._expected = self.compiled

    def unexpected(self) -> int:
        """Programs compiled since the last `expect` or `unexpected`."""
        count = self.compiled - self._expected
        self.expect()
        return count

    def close(self) -> None:
        """Stop counting."""
        jax.monitoring.unregister_event_listener(self._on_event)
        jax.monitoring.unregister_event_duration_listener(self._on_duration)


@dataclass(frozen=True)
class CompiledStep:
    """A training step as one program.

    Attributes:
        cache_hit: it comes from JAX's persistent cache.
        memory: XLA's own account in bytes.
        in_run, digest, notes: as in `Obtained`.
    """

    step: Callable[..., Any]
    seconds: float
    cache_hit: bool
    memory: dict[str, int]
    in_run: Literal["kept", "loaded"] | None
    digest: str | None
    notes: tuple[str, ...]


def compile_step(
    train_step: Callable[..., Any],
    state: Any,
    shape: tuple[int, int, int],
    watch: CompileWatch,
    obtain: Obtain = compile_only,
    placement: Placement = ONE_DEVICE,
    *,
    mixture: bool,
) -> CompiledStep:
    """Make the program for batches of `shape` [accum, batch, seq], ahead of time: no later call can trace again.

    Args:
        mixture: whether batches name the sources of their rows.
        obtain: makes the program of the lowered step, or finds it.
        placement: where the arrays of the state and the rows of a batch lie.
    """
    started = time.monotonic()
    hits = watch.cache_hits
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
    batch = abstract_batch(shape, mixture=mixture)
    if placement.mesh is not None:
        abstract, batch = placement.abstract(abstract), placement.abstract_rows(batch)
    found = obtain(lower_train_step(train_step, abstract, batch))
    return CompiledStep(
        step=found.program,
        seconds=time.monotonic() - started,
        cache_hit=watch.cache_hits > hits,
        memory=memory_account(found.program),
        in_run=found.in_run,
        digest=found.digest,
        notes=found.notes,
    )


def abstract_batch(shape: tuple[int, int, int], *, mixture: bool = False) -> Batch:
    """Shapes and dtypes of a batch [accum, batch, seq], of a mixture with the sources of its rows."""
    ids, mask = jax.ShapeDtypeStruct(shape, jnp.int32), jax.ShapeDtypeStruct(shape, jnp.bool_)
    sources = jax.ShapeDtypeStruct((*shape[:2], 1), jnp.int32) if mixture else None
    return Batch(ids, ids, mask, ids, sources)  # type: ignore[arg-type]


def memory_account(program: Any) -> dict[str, int]:
    """Bytes of arguments, outputs, temporaries and aliased (donated) buffers; empty where XLA does not say."""
    analysis = program.memory_analysis()
    if analysis is None:
        return {}
    fields = ("argument", "output", "temp", "alias")
    account = {name: int(getattr(analysis, f"{name}_size_in_bytes")) for name in fields}
    account["total"] = account["argument"] + account["output"] + account["temp"] - account["alias"]
    return account
