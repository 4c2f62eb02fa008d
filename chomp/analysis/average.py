"""`chomp average`: a run whose only checkpoint is the mean of others.

Averages of late checkpoints are often better than the last one (Izmailov et al. 2018, arXiv 1803.05407; for language
models Kaddour 2022, arXiv 2209.14981).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from chomp.analysis.scoring import open_heldout
from chomp.checkpoint.average import mean_of, write_parameters
from chomp.config.compat import compare
from chomp.errors import CheckpointError, DataError, RunDirError
from chomp.generate.load import describe, load_trained, require_average
from chomp.model.build import build_model
from chomp.model.device import first_device
from chomp.model.paths import named_leaves
from chomp.record.event_log import EventWriter
from chomp.record.events import Evaluated, RunEnded
from chomp.record.fork import building_run, copy_description
from chomp.record.formatting import plural
from chomp.record.manifest import MANIFEST, CheckpointInfo, list_checkpoints, verify
from chomp.record.origin import Origin, write_origin
from chomp.record.rundir import RunDir, open_run, open_run_around
from chomp.train.evaluate import EvalResult


@dataclass(frozen=True)
class Source:
    """One checkpoint to average, and its run."""

    run: RunDir
    info: CheckpointInfo


def find_sources(paths: Sequence[Path], last: int | None) -> list[Source]:
    """The checkpoints that are named, each once, by steps; of a run all, or the last ones.

    Args:
        paths: runs and checkpoints (RUN/checkpoints/STEP).
        last: how many of each run.

    Raises:
        RunDirError: a path is no run.
        CheckpointError: there is no checkpoint.
    """
    found: dict[Path, Source] = {}
    for path in paths:
        run = open_run_around(path)
        infos = list_checkpoints(run.checkpoints)
        if run.path != path:
            infos = [info for info in infos if info.step == int(path.name)]
        elif last is not None:
            infos = infos[-last:]
        if not infos:
            raise CheckpointError(f"{path} has no checkpoint")
        found |= {info.path.resolve(): Source(run, info) for info in infos}
    return sorted(found.values(), key=lambda source: source.info.step)


def average_checkpoints(
    sources: Sequence[Source], new: Path, *, moving: bool, evaluate: bool, say: Callable[[str], None]
) -> tuple[RunDir, EvalResult | None]:
    """Write the run `new`: the settings of the newest source, the mean of all sources' parameters, and its evaluation.

    Args:
        sources: from `find_sources`.
        new: nothing may be there yet.
        moving: average the moving averages of the parameters.
        evaluate: score the held-out text.
        say: takes the reason if it cannot be scored.

    Raises:
        RunDirError: `new` exists or cannot be written.
        CheckpointError: a source is damaged, or of another model.
    """
    if len(sources) < 2 and not moving:
        raise CheckpointError(
            f"{sources[0].info.path} is the only checkpoint: there is nothing to average; keep more with "
            "checkpoint.keep_every, name several, or take its moving average with --ema"
        )
    _require_alike(sources, moving)
    newest = sources[-1]
    words = f"average of {plural(len(sources), 'checkpoint')}" + (" (moving averages)" if moving else "")
    try:
        with building_run(new, [source.run for source in sources]) as folder:
            run = copy_description(newest.run, newest.info, folder)
            _write_mean(sources, run, moving)
            result = _score(run, say) if evaluate else None
            _write_events(run, newest.info.step, words, result)
            _write_origin(sources, run)
    except OSError as error:
        raise RunDirError(f"cannot write {new}: {error.strerror}: {error.filename or new}") from error
    return open_run(new), result


def _require_alike(sources: Sequence[Source], moving: bool) -> None:
    """Refuse checkpoints that are damaged, or whose parameters are of another model or of other token ids."""
    newest = sources[-1].info
    for source in sources:
        info = source.info
        problems = verify(info.path)
        if problems:
            raise CheckpointError(f"checkpoint {info.path} is damaged: {'; '.join(problems)}")
        if moving:
            require_average(info)
        here, there = (
            {"model": one.meta["identity"]["model"], "tokenizer_digest": one.meta["identity"]["tokenizer_digest"]}
            for one in (info, newest)
        )
        differing = [one.path for one in compare(here, there) if one.severity == "incompatible"]
        if differing:
            raise CheckpointError(
                f"checkpoint {info.path} cannot be averaged with {newest.path}: {', '.join(differing)} "
                f"differ{'s' * (len(differing) == 1)}; name checkpoints of one model"
            )


def _write_mean(sources: Sequence[Source], run: RunDir, moving: bool) -> None:
    newest = sources[-1].info
    config = describe(newest.path).config
    like = dict(named_leaves(build_model(config.model, deterministic=True, backend=first_device().platform).abstract()))
    item, stored = "params", like
    if moving:
        item, stored = "ema", {name: jax.ShapeDtypeStruct(leaf.shape, jnp.float32) for name, leaf in like.items()}
    means = mean_of([source.info for source in sources], item, stored)
    arrays = {name: means[name].astype(leaf.dtype, copy=False) for name, leaf in like.items()}
    run.checkpoints.mkdir()
    write_parameters(run.checkpoints / str(newest.step), arrays, _meta(sources, item))


def _meta(sources: Sequence[Source], item: str) -> dict[str, Any]:
    """The description of the newest source without what is true of that checkpoint alone."""
    kept = ("identity", "versions", "device", "parameters", "tokens_seen", "tokens_read", "accepted")
    newest = sources[-1].info
    return {
        "step": newest.step,
        "saved_at": round(time.time(), 3),
        **{name: newest.meta[name] for name in kept if name in newest.meta},
        "averaged": [
            {"run": str(one.run.path.resolve()), "step": one.info.step, "item": item, "manifest_sha256": _digest(one)}
            for one in sources
        ],
    }


def _score(run: RunDir, say: Callable[[str], None]) -> EvalResult | None:
    trained = load_trained(run.path)
    try:
        with open_heldout(trained) as scoring:
            return scoring(trained.params)
    except DataError as error:
        say(f"the average was not scored: {error}")
        return None


def _write_events(run: RunDir, step: int, words: str, result: EvalResult | None) -> None:
    """Make the run one that lists show: with its evaluation, and ended."""
    events = EventWriter(run.events)
    try:
        if result is not None:
            events.write(
                Evaluated(
                    step=step,
                    loss=result.loss,
                    perplexity=result.perplexity,
                    bpb=result.bpb,
                    unigram_loss=result.unigram_loss,
                    tokens=result.tokens,
                    seconds=round(result.seconds, 3),
                )
            )
        events.write(RunEnded(status="completed", reason=words, step=step))
    finally:
        events.close()


def _write_origin(sources: Sequence[Source], run: RunDir) -> None:
    newest, place = sources[-1], sources[-1].run.path.resolve()
    runs = tuple(dict.fromkeys(str(source.run.path.resolve()) for source in sources))
    now = round(time.time(), 3)
    write_origin(run, Origin(place.name, str(place), newest.info.step, _digest(newest), now, len(sources), runs))


def _digest(source: Source) -> str:
    return hashlib.sha256((source.info.path / MANIFEST).read_bytes()).hexdigest()
