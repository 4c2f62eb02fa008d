"""`chomp explain`: the documents of a step by their loss, with the parameters that the step began with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import numpy as np

from chomp.data.batch import Batch
from chomp.data.packing.base import Part
from chomp.data.progress import ProgressMeter
from chomp.data.tokenizers import Tokenizer
from chomp.errors import CheckpointError, ConfigError
from chomp.model.base import model_inputs
from chomp.model.loss import loss_mask
from chomp.record.event_log import read_events
from chomp.record.manifest import CheckpointInfo, list_checkpoints, newest_good
from chomp.record.rundir import RunDir
from chomp.record.tail import last_row
from chomp.record.timeline import Timeline, discarded, read_timeline
from chomp.train.recompute import Recomputation

# Tokens of the text that is shown of a document, and of the stretch of it with the highest loss.
BEGINNING, WORST = 96, 32


@dataclass(frozen=True)
class DocumentLoss:
    """A document in the batch.

    Attributes:
        number: in the order of reading, from 1; of a mixture, in that of its source.
        place: file and row, or what is known.
        start: position in the document of its first token in the batch.
        tokens: in the batch; `counted` of them count in the loss.
        loss: mean over these, in nats.
        raises: by how much the document raises the mean loss of the batch: what it adds above that mean.
        beginning: the text with which its part of the batch begins.
        worst: the text of the consecutive tokens with the highest loss.
        worst_at: the first of them, as a position in the document.
        worst_loss: their mean loss.
        source: of a mixture, the document's source; else empty.
    """

    number: int
    place: str
    start: int
    tokens: int
    counted: int
    loss: float
    raises: float
    beginning: str
    worst: str
    worst_at: int
    worst_loss: float
    source: str = ""


@dataclass(frozen=True)
class Explanation:
    """A step.

    Attributes:
        loss: of its batch, without dropout; None if no token counts.
        parameters_of: the step whose parameters are used; that before `step` if they were computed.
        checkpoint: the step of the checkpoint from which they were computed; 0 for the start.
        documents: in the batch.
        top: the first of them, those that raise the loss most first.
        why_not_exact: sentences on why parameters and losses are not, or may not be, those of the run bit for bit.
    """

    step: int
    loss: float | None
    tokens: int
    parameters_of: int
    checkpoint: int
    documents: int
    top: list[DocumentLoss]
    why_not_exact: list[str]

    @property
    def is_by_own_parameters(self) -> bool:
        """Whether the parameters were computed up to the step, and are not those of the checkpoint."""
        return self.parameters_of == self.step - 1

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; `exact` is true where nothing speaks against it."""
        return {**asdict(self), "exact": not self.why_not_exact}


@dataclass(frozen=True)
class Question:
    """Which step is explained, and how.

    Attributes:
        is_discarded: the step is one that a rollback discarded.
        most_steps: from a checkpoint further away its own parameters are used.
        top: documents named.
        devices: as `chosen_devices` takes them.
    """

    step: int
    is_discarded: bool = False
    most_steps: int = 1000
    top: int = 10
    devices: Sequence[str] = ()


def explain(run: RunDir, question: Question, say: Callable[[str], None]) -> Explanation:
    """Compute a step's batch again, and the loss of each of its documents.

    Args:
        say: gets sentences on what is done.

    Raises:
        ConfigError: the step has not been trained.
        CheckpointError: there is no checkpoint to compute it from.
        DataError: the text is not that of the run, or cannot be read.
    """
    timeline, before, described_by = _origin(run, question)
    begun_at = before.step if before is not None else 0
    work = Recomputation(run, described_by, timeline, question.devices)
    try:
        work.begin(before)
        ahead = question.step - 1 - begun_at
        where = f"the checkpoint of step {begun_at:,}" if begun_at else "the start"
        others: list[str] = []
        if ahead <= question.most_steps:
            meter = ProgressMeter(f"computing again from {where}", "steps", ahead)
            for _ in work.train(question.step - 1):
                meter.add(1)
            parameters_of = question.step - 1
        else:
            other = f"the parameters are those of {where}, {ahead:,} steps before; --most-steps {ahead} computes them"
            others.append(other)
            say(other)
            meter = ProgressMeter("reading batches", "batches", ahead)
            for _ in work.read(question.step - 1):
                meter.add(1)
            parameters_of = begun_at
        for note in dict.fromkeys([*work.notes, *work.doubts]):
            say(note)
        batch, parts = work.next_batch()
        losses = token_losses(work, batch)
        found = _explanation(work, question, (batch, parts, losses), parameters_of, begun_at)
        return replace(found, why_not_exact=[*others, *work.doubts])
    finally:
        work.close()


def _origin(run: RunDir, question: Question) -> tuple[Timeline, CheckpointInfo | None, CheckpointInfo]:
    """The timeline of the step, the checkpoint to begin at (None: the start), and the one with its settings."""
    events, step = read_events(run.events), question.step
    infos = [info for info in list_checkpoints(run.checkpoints) if "identity" in info.meta]
    if not infos:
        raise CheckpointError(f"{run.path} has no checkpoint; explain a step once one is saved")
    reached = max(infos[-1].step, int((last_row(run.metrics) or {}).get("step", 0)))
    found = discarded(events, step) if question.is_discarded else None
    if question.is_discarded and found is None:
        raise ConfigError(f"step {step:,}: no rollback of {run.path} has discarded it; leave --discarded out")
    # The step after the last one may be the reason why the run ended.
    if found is None and step > reached + 1:
        raise ConfigError(f"step {step:,} has not been trained: {run.path} has reached step {reached:,}")
    timeline, limit = found if found is not None else (read_timeline(events), step - 1)
    before, _ = newest_good([info for info in infos if info.step <= limit])
    if before is None and run.origin.exists():
        raise CheckpointError(f"{run.path} is a fork without an intact checkpoint before step {step:,}")
    described_by = next((info for info in infos if info.step >= step), infos[-1])
    return timeline, before, before if found is not None and before is not None else described_by


def token_losses(work: Recomputation, batch: Batch) -> np.ndarray:
    """`[rows, seq]`: the loss of each token, without dropout; 0 where none is taken."""
    blueprint = work.blueprint
    model_def, isolate = blueprint.model_def, blueprint.config.data.isolate_documents
    assert work.state is not None
    params = blueprint.placement.gathered(work.state.params, model_def.gathered_dtype)
    of_rows = jax.jit(lambda params, rows: model_def.combine(params).token_losses(model_inputs(rows, isolate))[0])
    found = [
        np.asarray(of_rows(params, Batch(*(field[index] for field in batch[:4])))) for index in range(len(batch[0]))
    ]
    losses = np.zeros((batch.labels.shape[0] * batch.labels.shape[1], batch.labels.shape[2]), np.float64)
    losses[:, 1:] = np.concatenate(found)
    return losses


def _explanation(
    work: Recomputation,
    question: Question,
    found: tuple[Batch, list[Part], np.ndarray],
    parameters_of: int,
    checkpoint: int,
) -> Explanation:
    batch, parts, losses = found
    config, tokenizer = work.blueprint.config, work.blueprint.tokenizer
    assert tokenizer is not None
    counted = np.zeros(losses.shape, bool)
    labels, segments = (field.reshape(losses.shape) for field in (batch.labels, batch.segment_ids))
    counted[:, 1:] = loss_mask(labels, segments, config.data.isolate_documents)
    is_token = batch.attention_mask.reshape(losses.shape)
    flat = Flat(batch.input_ids.reshape(-1), losses.reshape(-1), counted.reshape(-1), is_token.reshape(-1), tokenizer)
    total = int(counted.sum())
    mean = float(losses.sum() / total) if total else 0.0
    documents = by_document(flat, parts, mean, total)
    chosen = documents[: question.top]
    places = work.data.places([Part(0, document.number - 1, document.start, document.source) for document in chosen])
    top = [replace(one, place=place) for one, place in zip(chosen, places, strict=True)]
    loss = mean if total else None
    return Explanation(question.step, loss, total, parameters_of, checkpoint, len(documents), top, [])


@dataclass(frozen=True)
class Flat:
    """A batch, all rows one after another: ids, the loss of each token, whether it counts, whether it is no padding."""

    ids: np.ndarray
    losses: np.ndarray
    counted: np.ndarray
    is_token: np.ndarray
    tokenizer: Tokenizer


def by_document(flat: Flat, parts: Sequence[Part], mean: float, total: int) -> list[DocumentLoss]:
    """The documents, those that raise the loss most first; without their places."""
    pieces: dict[tuple[str, int], list[tuple[int, np.ndarray]]] = {}
    ends = [*(part.at for part in parts[1:]), len(flat.ids)]
    for part, end in zip(parts, ends, strict=True):
        positions = np.flatnonzero(flat.is_token[part.at : end]) + part.at
        pieces.setdefault((part.source, part.number), []).append((part.start, positions))
    found = [
        replace(_document(flat, number, of, mean, total), source=source) for (source, number), of in pieces.items()
    ]
    return sorted(found, key=lambda one: -one.raises)


def _document(flat: Flat, number: int, pieces: list[tuple[int, np.ndarray]], mean: float, total: int) -> DocumentLoss:
    positions = np.concatenate([each for _, each in pieces])
    places = np.concatenate([start + np.arange(len(each)) for start, each in pieces])
    counts = flat.counted[positions]
    count, loss = int(counts.sum()), float(flat.losses[positions].sum())
    first, last, worst = _worst(flat.losses[positions], counts)
    decode = lambda some: flat.tokenizer.decode(flat.ids[some])  # noqa: E731
    return DocumentLoss(
        number=number + 1,
        place="",
        start=int(places[0]),
        tokens=len(positions),
        counted=count,
        loss=loss / count if count else 0.0,
        raises=(loss - count * mean) / total if total else 0.0,
        beginning=decode(positions[:BEGINNING]),
        worst=decode(positions[first:last]),
        worst_at=int(places[first]),
        worst_loss=worst,
    )


def _worst(losses: np.ndarray, counts: np.ndarray) -> tuple[int, int, float]:
    """The tokens `[first, last)` with the highest mean loss, and that mean."""
    size = min(WORST, len(losses))
    sums, counted = (np.cumsum(np.concatenate([[0.0], each])) for each in (losses, counts))
    means = (sums[size:] - sums[:-size]) / np.maximum(counted[size:] - counted[:-size], 1)
    first = int(means.argmax())
    return first, first + size, float(means[first])
