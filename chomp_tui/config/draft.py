"""A draft of a run: its configuration, its directory, its origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chomp.config.model import FROM_TOKENIZER
from chomp.errors import CheckpointError
from chomp.record.manifest import list_checkpoints
from chomp.record.rundir import RunDir, open_run
from chomp_tui.config.document import ConfigDocument
from chomp_tui.config.documents import blank, from_run, read_document
from chomp_tui.config.fork_plan import ForkPlan, plan_fork

_FROM_TOKENIZER = frozenset(f"model.{name}" for name in FROM_TOKENIZER)


@dataclass(frozen=True)
class ForkOrigin:
    """The checkpoint that a new run starts from."""

    run: Path
    step: int


@dataclass
class Draft:
    """A run to be, while it is edited.

    Attributes:
        run_dir: where it is written; None for a fresh name.
        resume: as for `chomp train`.
        fork: the checkpoint it starts from.
        identity: the settings of that checkpoint.
        continues: folder of the checkpoint that it goes on from, forked or resumed; None for a run from nothing.
    """

    document: ConfigDocument = field(default_factory=blank)
    run_dir: Path | None = None
    resume: str = "none"
    fork: ForkOrigin | None = None
    identity: Mapping[str, Any] = field(default_factory=dict)
    continues: Path | None = None
    # What the run that was started last keeps a copy of.
    _launched_text: str | None = None

    @property
    def has_unsaved(self) -> bool:
        """Whether there are changes that no file holds."""
        return self.document.is_modified and self.document.text != self._launched_text

    @property
    def is_launched(self) -> bool:
        """Whether a run was started from it."""
        return self._launched_text is not None

    def fork_plan(self) -> ForkPlan:
        """How the settings differ from those of the checkpoint that is forked."""
        loaded = self.document.check().loaded
        return plan_fork(self.identity, loaded.config) if self.fork and loaded else ForkPlan()

    def was_launched(self) -> None:
        """The run has been started; the next one is a fresh one, under a name of its own."""
        self.run_dir, self.resume, self.fork, self.identity, self.continues = None, "none", None, {}, None
        self._launched_text = self.document.text
        self.document.forget_history()

    def origin(self) -> str:
        """One line on what it begins with besides its file; "" for nothing."""
        parts = []
        if self.fork is not None:
            parts.append(f"fork of {self.fork.run.name} at step {self.fork.step:,}: {self.fork_plan().summary()}")
        if self.resume != "none":
            parts.append(f"resumes {self.run_dir or '?'} from {self.resume}")
        # The user did not choose what the engine derived from the tokenizer.
        found = _FROM_TOKENIZER if self.fork is not None else ()
        overrides = [one for one in self.document.overrides if one.partition("=")[0] not in found]
        if overrides:
            parts.append("overrides: " + "  ".join(f"-o {one}" for one in overrides))
        return "   ".join(parts)


@dataclass(frozen=True)
class OpenRequest:
    """What to edit: a YAML file, a past run's directory, a checkpoint to fork from, or nothing yet.

    Where only a run to resume is named, it goes on with its own settings.

    Attributes:
        overrides: `KEY=VALUE` texts on top of it.
        run_dir: where the run is written; None for a fresh name.
        resume: as for `chomp train`.
        start: start the run at once if the configuration is valid.
    """

    path: Path | None = None
    overrides: tuple[str, ...] = ()
    run_dir: Path | None = None
    resume: str = "none"
    start: bool = False
    fork: ForkOrigin | None = None

    def read(self) -> Draft:
        """Read what is named. May block.

        Raises:
            ChompError: it cannot be read, or there is no such checkpoint.
        """
        identity: Mapping[str, Any] = {}
        if self.fork is not None:
            identity = _identity(self.fork)
            document = from_run(self.fork.run, values=identity, overrides=self.overrides)
        elif self.path is not None:
            document = read_document(self.path, self.overrides)
        elif self.run_dir is not None and self.resume != "none":
            document = from_run(self.run_dir, overrides=self.overrides)
        else:
            document = blank()
        return Draft(document, self.run_dir, self.resume, self.fork, identity, self._continues())

    def _continues(self) -> Path | None:
        if self.fork is not None:
            return RunDir(self.fork.run).checkpoints / str(self.fork.step)
        if self.run_dir is None or self.resume == "none":
            return None
        saved = [info for info in list_checkpoints(RunDir(self.run_dir).checkpoints) if "identity" in info.meta]
        chosen = [info for info in saved if self.resume in ("latest", str(info.step))]
        return chosen[-1].path if chosen else None


def _identity(fork: ForkOrigin) -> Mapping[str, Any]:
    for info in list_checkpoints(open_run(fork.run).checkpoints):
        if info.step == fork.step and isinstance(info.meta.get("identity"), dict):
            return info.meta["identity"]
    raise CheckpointError(f"{fork.run} has no checkpoint of step {fork.step} that says which settings it was made with")
