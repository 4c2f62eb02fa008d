"""Folders and runs that tests compare with and copy, each made once in a session."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.engine import dummy_config, write_config, write_corpus

Train = Callable[..., subprocess.CompletedProcess[str]]


class References:
    """What all workers of a session share: the first that needs a thing makes it, and the others wait for it.

    Tests read these files and change only copies.

    Attributes:
        corpus: text for configurations.
        config: a configuration for any test: 20 steps, checkpoints of steps 10, 15 and 20, samples at each.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self.corpus = self.folder("corpus", lambda folder: write_corpus(folder, documents=200))
        self.config = dummy_config(self.corpus, train={"generate_every": 5, "generate_max_tokens": 4})

    def folder(self, name: str, fill: Callable[[Path], object]) -> Path:
        """A folder of that name, which `fill` has filled."""
        folder = self._folder / name
        with folder.with_suffix(".lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.seek(0)
            if not lock.read():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                lock.write("made")
        return folder

    def run(self, train: Train, config: dict[str, Any], *options: str) -> Path:
        """The directory of the finished run of `config`, beside its `config.yaml`.

        Args:
            train: starts `chomp`; what another function starts is another run.
            options: of `chomp train`.
        """

        def fill(folder: Path) -> None:
            path = write_config(folder / "config.yaml", config)
            done = train("train", path, "--run-dir", folder / "run", *options)
            assert done.returncode == 0, done.stderr

        key = json.dumps([config, options, train.__module__, train.__qualname__], sort_keys=True)
        return self.folder(hashlib.sha256(key.encode()).hexdigest()[:16], fill) / "run"

    def copy(self, to: Path, train: Train, config: dict[str, Any], *options: str) -> Path:
        """A copy of that run, to be changed."""
        return Path(shutil.copytree(self.run(train, config, *options), to))
