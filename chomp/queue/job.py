"""One job of the queue, and its file: YAML that people may read and edit."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from chomp.config.misfits import first_misfit
from chomp.errors import ChompError

State = Literal["waiting", "held", "running", "done", "failed", "stopped"]
ENDED: tuple[State, ...] = ("done", "failed", "stopped")
LARGEST_FILE = 1 << 22


class QueueError(ChompError):
    """The queue cannot do what the user commands."""

    exit_code = 2


class JobFileError(QueueError):
    """A job's file holds no job; the text names the file and what is wrong in it."""


# A time without a zone, as a person writes it, is local.
Time = Annotated[datetime, AfterValidator(lambda value: value.astimezone())]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Wish(_Record):
    """What becomes of a running job once its engine has saved and ended.

    Attributes:
        then: its next state; `removed` deletes the job, never the run.
        why: in words, for the job's `reason`.
    """

    then: Literal["waiting", "held", "done", "removed"]
    why: str = ""


class Attempt(_Record):
    """One engine of a job.

    Attributes:
        began: when the runner started it.
        devices: what it was given: `cpu`, or identifiers of GPUs.
        place: the same for people.
        events_bytes: size of the run's event log at that time; what comes after is of this attempt.
        log_bytes: the same of its log file.
        ended: when the runner saw that it had ended.
        how: how it ended.
    """

    began: Time
    devices: list[str]
    place: str = ""
    events_bytes: int = 0
    log_bytes: int = 0
    ended: Time | None = None
    how: str = ""


class Job(_Record):
    """What to train, when, and what became of it.

    Paths are relative to the folder around the queue where they lie in it, so that both can be moved together.

    Attributes:
        id: its number, which the file's name has.
        reason: why it is held, or how it ended.
        order: its place; the lowest starts first.
        after: jobs that must be done first.
        not_before: the earliest time of its start.
        for_seconds: how long it may train, all its attempts together.
        gpus: how many it needs; 0 trains on the CPU, and 1 does where there is no GPU, unless the job is `gpu_only`.
        gpu_only: whether the user named the number of GPUs; more than one are never replaced by the CPU.
        restarts: how often it is resumed after it was killed.
        kills: how often it was killed.
        used_seconds: how long its ended attempts took.
        has_begun: whether an attempt has begun to train, so that the next one continues it.
        folder: the engine's working directory.
        runs: where the run's directory is made.
        run_dir: the run's directory; None until the first start chooses a free name in `runs`.
        config: text of the configuration file when the job was added; None to use the settings of the resumed run.
        source: path of that file.
        note: of the run, with its `tags`.
        sweep: the sweep whose trial number `trial` this is.
    """

    id: int = Field(exclude=True, gt=0)
    name: str = Field(min_length=1)
    state: State = "waiting"
    reason: str = ""
    order: float
    urgent: bool = False
    added: Time
    after: list[int] = []
    not_before: Time | None = None
    for_seconds: float | None = Field(None, gt=0)
    gpus: int = Field(1, ge=0)
    gpu_only: bool = False
    restarts: int = Field(3, ge=0)
    kills: int = 0
    used_seconds: float = 0.0
    has_begun: bool = False
    wish: Wish | None = None
    sweep: str | None = None
    trial: int | None = None
    folder: str
    runs: str
    run_dir: str | None = None
    source: str = ""
    overrides: list[str] = []
    resume: str = "none"
    accept: list[str] = []
    note: str = ""
    tags: list[str] = []
    environment: dict[str, str] = {}
    attempts: list[Attempt] = []
    config: str | None = None

    @property
    def is_ended(self) -> bool:
        """Whether nothing more will happen to it unless the user releases it."""
        return self.state in ENDED

    @property
    def requires_gpus(self) -> bool:
        """Whether it waits where there are no GPUs, and never trains on the CPU."""
        return self.gpus > 1 or (self.gpu_only and self.gpus > 0)

    @property
    def title(self) -> str:
        """Number and name, for messages."""
        return f"{self.id} ({self.name})"

    def with_(self, **changes: Any) -> Job:
        """The same job with other values."""
        return self.model_copy(update=changes)


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as one."""


def _text(dumper: _Dumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def to_yaml(job: Job) -> bytes:
    """The text of a job's file; values that are the defaults are left out."""
    values = job.model_dump(exclude_defaults=True)
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120).encode()


def from_yaml(path: Path, number: int) -> Job:
    """The job in a file.

    Raises:
        JobFileError: it holds none.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    if len(data) > LARGEST_FILE:
        raise JobFileError(f"{path}: {len(data):,} bytes are more than a job's file may have ({LARGEST_FILE:,})")
    try:
        values = yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise JobFileError(f"{path}: {_first_line(error)}") from None
    if not isinstance(values, dict):
        raise JobFileError(f"{path}: expected the settings of a job (KEY: VALUE)")
    try:
        return Job.model_validate({**values, "id": number})
    except ValidationError as error:
        raise JobFileError(f"{path}: {first_misfit(error, Job)}") from None


def _first_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error).partition("\n")[0] or type(error).__name__
    return f"line {mark.line + 1}: {what}" if mark is not None else what
