"""Runs that tests compare with and copy, each trained once in a session."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.engine import dummy_config, write_config, write_corpus

Train = Callable[..., subprocess.CompletedProcess[str]]


class References:
    """Finished runs by configuration; the worker that needs one first trains it, the others wait.

    Tests read these runs and change only copies.

    Attributes:
        corpus: text for configurations.
        config: a configuration for any test: 20 steps, checkpoints of steps 10, 15 and 20, samples at each.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self.corpus = folder / "corpus"
        with self._building(self.corpus) as is_new:
            if is_new:
                write_corpus(self.corpus)
        self.config = dummy_config(self.corpus, train={"generate_every": 5, "generate_max_tokens": 4})

    def run(self, train: Train, config: dict[str, Any], *options: str) -> Path:
        """The directory of the run of `config`; beside it are `config.yaml`, and `out` with what the engine printed.

        Args:
            train: starts `chomp`; runs of different ways to start it are different runs.
            options: of `chomp train`.
        """
        way = f"{train.__module__}.{train.__qualname__}"
        key = hashlib.sha256(json.dumps([config, options, way], sort_keys=True).encode()).hexdigest()[:16]
        folder = self._folder / key
        with self._building(folder) as is_new:
            if is_new:
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                path = write_config(folder / "config.yaml", config)
                done = train("train", path, "--run-dir", folder / "run", *options)
                assert done.returncode == 0, done.stderr
                (folder / "out").write_text(done.stdout)
        return folder / "run"

    def copy(self, to: Path, train: Train, config: dict[str, Any], *options: str) -> Path:
        """A copy of that run, to be changed."""
        return Path(shutil.copytree(self.run(train, config, *options), to))

    @contextmanager
    def _building(self, what: Path) -> Iterator[bool]:
        """Whether `what` is still to be made, while no other process makes it."""
        with what.with_suffix(".lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.seek(0)
            is_new = not lock.read()
            yield is_new
            if is_new:
                lock.write("made")
