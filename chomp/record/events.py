"""The facts an engine reports, one frozen class per kind.

Each class is one kind of line in `events.jsonl`; its fields are the line's keys beside
`v` (format version), `t` (Unix time in seconds) and `kind`. docs/events.md explains them
to readers of the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

PhaseName = Literal["data", "compile", "train", "eval", "sample", "save", "paused"]
CheckpointPhase = Literal["saving", "committed", "failed", "deleted", "refused"]
EndStatus = Literal["completed", "stopped", "data_exhausted", "crashed"]


@dataclass(frozen=True)
class Event:
    """A fact that happened; `t` is Unix time in seconds, 0 until it is written."""

    kind: ClassVar[str] = ""
    t: float = field(default=0.0, kw_only=True)


@dataclass(frozen=True)
class RunStarted(Event):
    """An engine process took over the run directory."""

    kind: ClassVar[str] = "run_started"
    pid: int
    host: str
    attempt: int
    resumed_from: int | None
    versions: dict[str, str]
    device: dict[str, Any]
    environment: dict[str, str]
    parameters: int
    tokens_per_step: int
    total_steps: int
    tokens_seen: int = 0
    data: str = ""
    optimizer: str = ""
    accepted: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Phase(Event):
    """The engine began to do something else.

    `last_row_t`, in an attempt's first event, is the Unix time of the newest metrics row of the attempts before it: the
    last sign of life of an attempt that was killed. A resume may remove that row.
    """

    kind: ClassVar[str] = "phase"
    name: PhaseName
    step: int
    last_row_t: float | None = None


@dataclass(frozen=True)
class Compiled(Event):
    """The training step is ready to run; bytes are those of the compiled program.

    `cache` is the folder of the persistent compilation cache, None where it is off.
    """

    kind: ClassVar[str] = "compiled"
    seconds: float
    cache_hit: bool
    memory: dict[str, int]
    flops_per_token: float | None
    cache: str | None = None


@dataclass(frozen=True)
class Step(Event):
    """A metrics row: a line of `metrics.jsonl`. Event logs of version 1 hold it as well, flattened into the line."""

    kind: ClassVar[str] = "step"
    row: dict[str, Any]


@dataclass(frozen=True)
class Evaluated(Event):
    """One full pass over the held-out text; losses in nats per token, `bpb` in bits per UTF-8 byte.

    `unigram_loss` is what the frequencies of the scored tokens would cost; None in files of versions that did not say.
    """

    kind: ClassVar[str] = "eval"
    step: int
    loss: float
    perplexity: float
    bpb: float | None
    tokens: int
    seconds: float
    unigram_loss: float | None = None


@dataclass(frozen=True)
class Sampled(Event):
    """Text the model wrote after a prompt."""

    kind: ClassVar[str] = "sample"
    step: int
    prompt: str
    text: str
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Checkpoint(Event):
    """A checkpoint changed state."""

    kind: ClassVar[str] = "checkpoint"
    state: CheckpointPhase
    step: int
    bytes: int | None = None
    seconds: float | None = None
    blocked_seconds: float | None = None
    tags: list[str] = field(default_factory=list)
    reason: str | None = None


@dataclass(frozen=True)
class Warned(Event):
    """Something a person should look at; training goes on."""

    kind: ClassVar[str] = "warning"
    topic: str
    message: str
    step: int | None = None


@dataclass(frozen=True)
class NonFinite(Event):
    """A step's loss or gradient was not finite and did not reach the parameters.

    `documents` are the positions in `source` of what its batch was packed from; `document_count` says how many there
    were, for a long list is cut short and a stream has no positions.
    """

    kind: ClassVar[str] = "nonfinite"
    step: int
    loss: float | None
    grad_norm: float | None
    skipped: int
    action: Literal["halt", "skip", "rollback"]
    source: str = ""
    first_read: int | None = None
    document_count: int = 0
    documents: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class RolledBack(Event):
    """After a step that was not finite (`from_step`) the run went back to `step` and on with the text behind it."""

    kind: ClassVar[str] = "rollback"
    step: int
    from_step: int
    lr_factor: float
    until_step: int
    in_a_row: int
    count: int
    message: str
    source: str = ""
    first_read: int | None = None
    document_count: int = 0
    documents: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Acknowledged(Event):
    """The engine's answer to a command."""

    kind: ClassVar[str] = "acknowledged"
    id: str
    command: str
    ok: bool
    message: str
    step: int


@dataclass(frozen=True)
class RunEnded(Event):
    """The engine process is about to exit."""

    kind: ClassVar[str] = "run_ended"
    status: EndStatus
    reason: str
    step: int
    exit_code: int
    time_budget_seconds: dict[str, float]


@dataclass(frozen=True)
class Unknown(Event):
    """A line of a kind this version does not know, kept as it was."""

    kind: ClassVar[str] = "unknown"
    name: str
    fields: dict[str, Any]


KINDS: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (
        RunStarted,
        Phase,
        Compiled,
        Step,
        Evaluated,
        Sampled,
        Checkpoint,
        Warned,
        NonFinite,
        RolledBack,
        Acknowledged,
        RunEnded,
    )
}
