"""The facts an engine reports, one frozen class per kind.

Each class is one kind of line in `events.jsonl`; its fields are the line's keys beside
`v` (format version), `t` (Unix time in seconds) and `kind`. docs/events.md explains them
to readers of the file. The annotations also say what `codec.decode` accepts: pydantic
checks them, and is imported with the first line that is decoded, not with this module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from chomp.record.json_text import LARGEST_COUNT, number

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema


@dataclass(frozen=True)
class ReadAs:
    """Metadata of a type: the schema by which pydantic reads it, made from the module `pydantic_core.core_schema`."""

    schema: Callable[[ModuleType], CoreSchema]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return self.schema(core_schema)


# Steps, tokens, bytes.
Count = Annotated[int, ReadAs(lambda cs: cs.int_schema(strict=True, ge=0, le=LARGEST_COUNT))]
# A NaN, which is written as null, is read as NaN.
Number = Annotated[
    float,
    ReadAs(
        lambda cs: cs.no_info_after_validator_function(
            number, cs.nullable_schema(cs.float_schema(strict=True, allow_inf_nan=True))
        )
    ),
]
# Names that a newer engine may have added are kept.
_OPEN = ReadAs(lambda cs: cs.str_schema(strict=True))
PhaseName = Annotated[Literal["data", "compile", "train", "eval", "sample", "save", "paused"], _OPEN]
CheckpointPhase = Annotated[Literal["saving", "committed", "failed", "deleted", "refused"], _OPEN]
EndStatus = Annotated[Literal["completed", "stopped", "data_exhausted", "crashed"], _OPEN]
InRun = Annotated[Literal["kept", "loaded"], _OPEN]
NonFiniteAction = Annotated[Literal["halt", "skip", "rollback"], _OPEN]
SpikeAction = Annotated[Literal["warn", "skip", "rollback"], _OPEN]
RollbackCause = Annotated[Literal["nonfinite", "spike", "user"], _OPEN]


@dataclass(frozen=True)
class Event:
    """A fact that happened; `t` is Unix time in seconds, 0 until it is written."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"strict": True, "allow_inf_nan": False}
    kind: ClassVar[str] = ""
    t: float = field(default=0.0, kw_only=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read an event from a dictionary; a field that has a default takes it where the value does not fit."""
        schema: Any = handler(source)
        schema["strict"] = False
        for one in schema["schema"]["fields"]:
            if one["schema"]["type"] == "default":
                one["schema"]["on_error"] = "default"
        return schema


@dataclass(frozen=True)
class RunStarted(Event):
    """An engine process took over the run directory."""

    kind: ClassVar[str] = "run_started"
    pid: int
    host: str
    attempt: Count
    resumed_from: Count | None
    versions: dict[str, str] = field(default_factory=dict)
    device: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    parameters: Count = 0
    tokens_per_step: Count = 0
    total_steps: Count = 0
    tokens_seen: Count = 0
    data: str = ""
    optimizer: str = ""
    accepted: list[str] = field(default_factory=list)
    weights: str = ""


@dataclass(frozen=True)
class Phase(Event):
    """The engine entered another phase.

    `last_row_t` is written with an attempt's first event only, if there are earlier rows: the Unix time of the newest,
    which is the last sign of an attempt that was killed. A resume may remove that row.
    """

    kind: ClassVar[str] = "phase"
    name: PhaseName
    step: Count
    last_row_t: float | None = None


@dataclass(frozen=True)
class Progress(Event):
    """How far long work of the current phase is, such as the conversion of tables."""

    kind: ClassVar[str] = "progress"
    what: str
    done: Count
    total: Count | None = None
    unit: str = ""


@dataclass(frozen=True)
class Compiled(Event):
    """The training step is ready to run; bytes are those of the compiled program.

    `cache` is the folder of the persistent compilation cache, None where it is off. `in_run` says that the program was
    `loaded` from the run directory, or is `kept` there now; None for a run that does not keep it.
    """

    kind: ClassVar[str] = "compiled"
    seconds: Number
    cache_hit: bool
    memory: dict[str, Count] = field(default_factory=dict)
    flops_per_token: float | None = None
    cache: str | None = None
    in_run: InRun | None = None

    @property
    def source(self) -> str:
        """`from …`, for a program that was not compiled anew; empty for one that was."""
        return "from the run" if self.in_run == "loaded" else "from the cache" if self.cache_hit else ""


@dataclass(frozen=True)
class Step(Event):
    """A metrics row: a line of `metrics.jsonl`. Event logs of version 1 hold it as well, flattened into the line."""

    kind: ClassVar[str] = "step"
    row: dict[str, Any]


@dataclass(frozen=True)
class Evaluated(Event):
    """One full pass over the held-out text; losses in nats per token, `bpb` in bits per UTF-8 byte.

    `unigram_loss` is the entropy of the scored tokens' frequencies; None in files of versions that did not write it.
    `ema_loss` and `ema_bpb` are those of the moving average of the parameters; None where it was not scored.
    """

    kind: ClassVar[str] = "eval"
    step: Count
    loss: Number
    perplexity: Number
    bpb: float | None
    tokens: Count
    seconds: Number
    unigram_loss: float | None = None
    ema_loss: float | None = None
    ema_bpb: float | None = None


@dataclass(frozen=True)
class SetEvaluated(Event):
    """One full pass over an evaluation set; units and `ema_` are those of `eval`."""

    kind: ClassVar[str] = "eval_set"
    name: str
    step: Count
    loss: Number
    perplexity: Number
    bpb: float | None
    tokens: Count
    seconds: Number
    ema_loss: float | None = None
    ema_bpb: float | None = None


@dataclass(frozen=True)
class TaskEvaluated(Event):
    """The scores of a task, or of all tasks of an entry together; `centered` is 0 for guesses and 1 for no mistake.

    `bpb` is in bits per UTF-8 byte of the right answers. `part_of` is the entry whose mean follows.
    Scores that begin with `ema_` are those of the moving average of the parameters; None where it was not scored.
    """

    kind: ClassVar[str] = "eval_task"
    name: str
    step: Count
    accuracy: Number
    accuracy_norm: float | None
    bpb: Number
    centered: Number
    examples: Count
    cut: Count
    seconds: Number
    part_of: str | None = None
    ema_accuracy: float | None = None
    ema_accuracy_norm: float | None = None
    ema_bpb: float | None = None
    ema_centered: float | None = None


@dataclass(frozen=True)
class Sampled(Event):
    """Text the model wrote after a prompt."""

    kind: ClassVar[str] = "sample"
    step: Count
    prompt: str
    text: str
    tokens: Count
    seconds: Number


@dataclass(frozen=True)
class Checkpoint(Event):
    """A checkpoint changed state."""

    kind: ClassVar[str] = "checkpoint"
    state: CheckpointPhase
    step: Count
    bytes: Count | None = None
    seconds: float | None = None
    blocked_seconds: float | None = None
    tags: list[str] = field(default_factory=list)
    reason: str | None = None


@dataclass(frozen=True)
class Warned(Event):
    """Something the user should look at; training continues."""

    kind: ClassVar[str] = "warning"
    topic: str
    message: str
    step: Count | None = None


@dataclass(frozen=True)
class NonFinite(Event):
    """A step's loss or gradient was not finite and did not reach the parameters.

    `documents` are the positions in `source` of the documents in its batch, `document_count` is their number: a long
    list is cut, and a stream has no positions.
    """

    kind: ClassVar[str] = "nonfinite"
    step: Count
    loss: float | None
    grad_norm: float | None
    skipped: Count
    action: NonFiniteAction
    source: str = ""
    first_read: Count | None = None
    document_count: Count = 0
    documents: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Spike(Event):
    """A step's loss or gradient norm lay far above those of the steps before it.

    A limit is the greatest value that is no spike, None where there was no judgement. Under `warn` the step is the
    first of three in a row above a limit, and its update was applied; under `skip` and `rollback` it was not. `skipped`
    counts such steps. The last four fields are those of `NonFinite`.
    """

    kind: ClassVar[str] = "spike"
    step: Count
    loss: Number
    grad_norm: Number
    action: SpikeAction
    message: str
    loss_limit: float | None = None
    grad_norm_limit: float | None = None
    skipped: Count = 0
    source: str = ""
    first_read: Count | None = None
    document_count: Count = 0
    documents: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class RolledBack(Event):
    """Because of the bad step `from_step` the engine went back to `step` and continued with the next text.

    With `skipped_step` a user made it go back: the steps up to that one are computed again, and its batch is left out.
    """

    kind: ClassVar[str] = "rollback"
    step: Count
    from_step: Count
    lr_factor: Number
    until_step: Count
    in_a_row: Count
    count: Count
    message: str
    source: str = ""
    first_read: Count | None = None
    document_count: Count = 0
    documents: list[int] = field(default_factory=list)
    skipped_step: Count | None = None
    cause: RollbackCause = "nonfinite"


@dataclass(frozen=True)
class Profiled(Event):
    """A trace of the `steps` steps up to `step`, with the costliest `operations`; docs/events.md has their fields."""

    kind: ClassVar[str] = "profile"
    step: Count
    steps: Count
    seconds: Number
    path: str
    bytes: Count = 0
    devices: Count = 1
    busy_seconds: Number = math.nan
    operations: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Acknowledged(Event):
    """The engine's answer to a command."""

    kind: ClassVar[str] = "acknowledged"
    id: str
    command: str
    ok: bool
    message: str
    step: Count


@dataclass(frozen=True)
class RunEnded(Event):
    """The engine process is about to exit."""

    kind: ClassVar[str] = "run_ended"
    status: EndStatus
    reason: str
    step: Count
    exit_code: int = 0
    time_budget_seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Unknown(Event):
    """A line of a kind this version does not know, or with required fields that do not fit, kept as it was."""

    kind: ClassVar[str] = "unknown"
    name: str
    fields: dict[str, Any]


KINDS: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (
        RunStarted, Phase, Progress, Compiled, Step, Evaluated, SetEvaluated, TaskEvaluated, Sampled, Checkpoint,
        Warned, NonFinite, Spike, RolledBack, Profiled, Acknowledged, RunEnded,
    )
}  # fmt: skip
