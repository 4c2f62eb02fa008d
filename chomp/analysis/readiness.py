"""Whether a run will start on this machine, and what it will need: found out before it is launched.

Each check calls what the engine itself calls at its start, so that both say the same.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from chomp.analysis.evaluation_files import read_evaluations
from chomp.analysis.text_size import SourcePlan, TextSize, measure_text, plan_sources
from chomp.checkpoint.room import LEAST_SHARE
from chomp.config import Config
from chomp.config.derive import Derived, derive, doubts
from chomp.config.evaluation import ranked_every
from chomp.config.mesh import mesh_for, micro_batches, rows_at_once
from chomp.data.shares import PassSize, shortages
from chomp.data.tokenizer import Tokenizer
from chomp.data.tokenizers import build_tokenizer, load_tokenizer
from chomp.device import cuda_packages, probe_gpus, problems, visible_gpus
from chomp.device.environment import uses_gpu
from chomp.errors import CheckpointError, ChompError, ConfigError, DeviceError, RunDirError
from chomp.model.resolve import resolve_model
from chomp.notify.channels import build_channels
from chomp.queue.devices import gpu_shortage, slots
from chomp.record.formatting import count, device_words, plural, size
from chomp.record.speeds import load_speed, speed_file, steps_within
from chomp.sinks.trackers import require_trackers

T = TypeVar("T")

# Above this many passes, more passes hardly lower the loss any further (Muennighoff et al. 2023, arXiv:2305.16264).
MOST_EPOCHS = 16
# A token costs about three times as much in training as in evaluation: forward, and backward twice that.
TRAINING_COST = 3


@dataclass(frozen=True)
class CheckpointRoom:
    """What the checkpoints of a run take, and the disk has.

    Attributes:
        count: that are kept at the end at most; one more exists while it is saved.
        each: bytes of one before compression.
        folder: where the run is written, or the nearest folder that exists.
        free: bytes on its disk.
    """

    count: int
    each: int
    folder: str
    free: int

    @property
    def needed(self) -> int:
        """Bytes at most, while the last one is saved."""
        return (self.count + 1) * self.each


@dataclass(frozen=True)
class Duration:
    """How long the run takes by the last measured speed of such steps on this machine.

    Attributes:
        seconds: of the steps that are left.
        step_seconds: that were measured; overhead_seconds are those of evaluation, samples and saves, by step.
        measured_at: Unix time.
        run: where they were measured, over so many `steps`.
    """

    seconds: float
    step_seconds: float
    overhead_seconds: float
    measured_at: float
    run: str
    steps: int


@dataclass(frozen=True)
class MeshPlan:
    """How several devices share a step.

    Attributes:
        devices: how many.
        data: copies of the parameters; fsdp: devices that share one.
        rows: that each device computes at once; grad_accum: so many times in a step.
    """

    devices: int
    data: int
    fsdp: int
    rows: int
    grad_accum: int


@dataclass(frozen=True)
class Readiness:
    """The answer.

    Attributes:
        problems: why the run cannot start, one sentence each; empty if nothing is known.
        warnings: what is doubtful.
        epochs: passes over the training text; None where its length is not known.
        mesh: None on one device.
        sources: those of a mixture, in place of `text`.
        exit_code: that of the first problem, with which `chomp train` would end; 0 without one.
    """

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    text: TextSize | None
    epochs: float | None
    checkpoints: CheckpointRoom | None
    duration: Duration | None
    mesh: MeshPlan | None = None
    sources: tuple[SourcePlan, ...] = ()
    exit_code: int = 0

    def after(self, errors: Sequence[ChompError]) -> Readiness:
        """The same with problems that are met before."""
        if not errors:
            return self
        problems = (*map(str, errors), *self.problems)
        return replace(self, problems=problems, exit_code=errors[0].exit_code)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def check_start(
    config: Config,
    derived: Derived,
    tokenizer: Tokenizer | None,
    state_bytes: int | None,
    *,
    device: str | None,
    is_here: bool = True,
    mesh: tuple[int, int] = (1, 1),
    run_dir: Path | None = None,
    step: int = 0,
) -> Readiness:
    """Look at device, text, trackers, receivers of notices, and disk.

    Args:
        config: its model is resolved.
        tokenizer: None to leave out the text.
        state_bytes: what a checkpoint saves; None where that is not known.
        device: the name of the device's kind; None for one that this machine's kind says nothing about.
        is_here: whether the run's devices have to be in this machine.
        mesh: the sizes of its axes `data` and `fsdp`.
        run_dir: where the run will be written; None for the folder that the configuration names, or `runs`.
        step: of the checkpoint from which the run continues.
    """
    found: list[ChompError] = []
    if device is not None and is_here:
        from chomp.train.session import require_device

        _try(
            lambda: require_device(
                config, [one.message for one in problems(probe_gpus(), os.environ, cuda_packages())]
            ),
            found,
        )
    _try(lambda: require_trackers(config), found)
    _try(lambda: build_channels(config.notify), found)
    _try(lambda: read_evaluations(config, tokenizer), found)
    text, sources = None, tuple[SourcePlan, ...]()
    if tokenizer is not None and derived.mixture:
        sources = _try(lambda: plan_sources(config.data, derived.total_tokens, tokenizer), found) or ()
    elif tokenizer is not None:
        text = _try(lambda: measure_text(config.data, tokenizer), found)
    folder = run_dir or Path(config.logging.run_dir or "runs").expanduser()
    room = _room(config, state_bytes, folder, found)
    warnings = [*_of_text(config, derived, text, step)] if text is not None else []
    _judge_sources(config, derived, sources, found, warnings)
    if room is not None and room.needed > room.free:
        warnings.append(_too_little(room))
    data, fsdp = mesh
    devices = data * fsdp
    words = device_words({"name": device, "count": devices, "mesh": {"data": data, "fsdp": fsdp}})
    duration = None if device is None else _duration(config, words, step)
    if duration is not None and (reached := steps_in_time(config, duration, step)) < config.train.steps:
        warnings.append(
            f"train.max_seconds: {config.train.max_seconds:g} ends this attempt at about step {reached:,} of "
            f"{config.train.steps:,}, less the time of start-up and compilation, at the measured speed"
        )
    plan = _mesh_plan(config, data, fsdp) if devices > 1 else None
    epochs = config.train.epochs or (derived.total_tokens / text.tokens if text is not None and text.tokens else None)
    return Readiness((), tuple(warnings), text, epochs, room, duration, plan, sources).after(found)


def _mesh_plan(config: Config, data: int, fsdp: int) -> MeshPlan:
    devices = data * fsdp
    return MeshPlan(devices, data, fsdp, rows_at_once(config, devices), micro_batches(config, devices))


def _judge_sources(
    config: Config, derived: Derived, sources: tuple[SourcePlan, ...], found: list[ChompError], warnings: list[str]
) -> None:
    """Add what keeps the sources of a mixture from meeting their shares, and what is doubtful about them."""
    sizes = {
        source.name: PassSize(source.text.tokens, not source.text.is_estimate) if source.text.tokens else None
        for source in sources
    }
    total, step_tokens = derived.total_tokens, derived.tokens_per_step
    for shortage in shortages(config.data, total, step_tokens, sizes) if sources else ():
        if shortage.is_certain and config.data.mixture.exhausted == "stop":
            found.append(ConfigError(shortage.message))
        else:
            warnings.append(shortage.message)
    for source in sources:
        if source.epochs is not None and source.epochs > MOST_EPOCHS and config.data.mixture.exhausted == "repeat":
            warnings.append(
                f"the run reads the source {source.name} about {source.epochs:,.0f} times; above {MOST_EPOCHS} passes "
                "the held-out loss hardly falls any further"
            )


def check_job(
    config: Config,
    *,
    gpus: int | None,
    run_dir: Path | None = None,
    snapshot: Path | None = None,
    step: int = 0,
) -> Readiness:
    """Whether a job of the queue would start on this machine, as far as that is known without JAX.

    Args:
        gpus: how many it needs; 0 trains on the CPU; None takes one, or the CPU where there is none.
        run_dir: as for `check_start`.
        snapshot: the tokenizer of the run that it continues; `step` is that of the checkpoint.
    """
    found: list[ChompError] = []
    _try(lambda: _require_gpus(config, gpus), found)
    has_snapshot = snapshot is not None and snapshot.is_dir()
    tokenizer = _try(
        lambda: load_tokenizer(snapshot) if has_snapshot and snapshot else build_tokenizer(config.data.tokenizer), found
    )
    mesh = _try(lambda: mesh_for(config, gpus or 1), found) or (1, 1)
    ready = check_start(config, derive(config), tokenizer, None, device=None, mesh=mesh, run_dir=run_dir)
    warnings = (*doubts(config), *ready.warnings)
    length = None if tokenizer is None else _job_duration(config, tokenizer, gpus, mesh, step)
    return replace(ready.after(found), warnings=warnings, duration=length)


def _job_duration(
    config: Config, tokenizer: Tokenizer, gpus: int | None, mesh: tuple[int, int], step: int
) -> Duration | None:
    """How long a job takes on the first GPUs that the runner sees, or on the CPU."""
    try:
        specials = config.data.tokenizer.auto_set_special_tokens
        model = resolve_model(config.model, tokenizer, auto_set_special_tokens=specials)
    except ConfigError:
        # The engine names it when it starts.
        return None
    probe = probe_gpus()
    cards = visible_gpus(probe, os.environ) if gpus != 0 and uses_gpu(probe, os.environ) else ()
    name = (cards[0].name if cards else None) or "cpu"
    sizes = dict(zip(("data", "fsdp"), mesh, strict=True))
    words = device_words({"name": name, "count": math.prod(mesh), "mesh": sizes})
    return _duration(config.model_copy(update={"model": model}), words, step)


def _require_gpus(config: Config, gpus: int | None) -> None:
    """Compare what a job needs with the devices that the queue's runner sees.

    Raises:
        DeviceError: they are too few, or only a CPU, which the configuration does not allow.
    """
    probe = probe_gpus()
    if short := gpu_shortage(gpus or 0, probe, os.environ):
        raise DeviceError(f"--gpus {gpus}: {short}")
    here = sum(slot.is_gpu for slot in slots(probe, os.environ, {}, {}))
    if not config.train.allow_cpu and (gpus == 0 or not here):
        why = "--gpus 0 trains on the CPU" if here else "no GPU was found"
        raise DeviceError(f"{why} and train.allow_cpu is false; set train.allow_cpu: true to train on the CPU")


def _try(check: Callable[[], T], found: list[ChompError]) -> T | None:
    """What a check gives; its error becomes a problem."""
    try:
        return check()
    except ChompError as error:
        found.append(error)
        return None


def _of_text(config: Config, derived: Derived, text: TextSize, step: int) -> list[str]:
    train, warnings = config.train, []
    trained = derived.total_tokens
    if text.tokens and train.epochs is None:
        epochs = trained / text.tokens
        if not config.data.repeat and epochs > 1:
            steps = max(1, text.tokens // derived.tokens_per_step)
            warnings.append(
                f"data.repeat is false: the text ends after about {steps:,} of {train.steps:,} steps, at "
                f"{count(text.tokens)} tokens"
            )
        elif epochs > MOST_EPOCHS:
            warnings.append(
                f"the run reads the text about {epochs:,.0f} times ({count(text.tokens)} tokens); above {MOST_EPOCHS} "
                "passes the held-out loss hardly falls any further"
            )
    if text.eval_tokens and train.eval_every and train.epochs is None:
        between = train.eval_every * derived.tokens_per_step
        if text.eval_tokens > trained:
            warnings.append(
                f"one evaluation scores about {count(text.eval_tokens)} tokens, and the whole run trains on "
                f"{count(trained)}; lower data.max_eval_samples"
            )
        elif text.eval_tokens > TRAINING_COST * between:
            warnings.append(
                f"evaluation takes longer than training: about {count(text.eval_tokens)} tokens every "
                f"{count(between)}; raise train.eval_every, or lower data.max_eval_samples"
            )
    return warnings


def _room(config: Config, each: int | None, run_dir: Path, found: list[ChompError]) -> CheckpointRoom | None:
    folder = next((one for one in (run_dir.absolute(), *run_dir.absolute().parents) if one.exists()), Path("/"))
    if not folder.is_dir():
        found.append(RunDirError(f"{folder} is a file; a folder for the run is needed"))
        return None
    if not os.access(folder, os.W_OK | os.X_OK):
        found.append(
            RunDirError(f"the run cannot be written: {folder} may not be written to; choose another run directory")
        )
        return None
    if not config.checkpoint.enabled or each is None:
        return None
    room = CheckpointRoom(most_checkpoints(config), each, str(folder), shutil.disk_usage(folder).free)
    if room.free < each * LEAST_SHARE:
        message = (
            f"no checkpoint can be saved: {folder} has {size(room.free)} free, and a checkpoint has {size(each)} "
            "before compression; free some space, or choose another run directory"
        )
        found.append(CheckpointError(message))
    return room


def most_checkpoints(config: Config) -> int:
    """How many checkpoints a run keeps at most, those that a user tags not counted."""
    options, steps = config.checkpoint, config.train.steps
    kept = options.max_to_keep + options.keep_best + (steps // options.keep_every if options.keep_every else 0)
    if options.save_every_seconds > 0:
        return kept
    saves = sum(steps // every for every in (options.save_every, options.keep_every) if every) + 1
    if options.keep_best and (every := ranked_every(config.evaluation, config.train.eval_every)):
        saves += steps // every
    return min(kept, saves)


def _too_little(room: CheckpointRoom) -> str:
    return (
        f"the checkpoints need up to {size(room.needed)} ({plural(room.count, 'checkpoint')} of {size(room.each)} and "
        f"one more while it is saved), and {room.folder} has {size(room.free)} free; lower checkpoint.max_to_keep, or "
        "keep fewer with checkpoint.keep_every"
    )


def steps_in_time(config: Config, measured: Duration, step: int) -> int:
    """The last step that an attempt which continues from `step` reaches within `train.max_seconds`."""
    if config.train.max_seconds is None:
        return config.train.steps
    each = measured.step_seconds + measured.overhead_seconds
    return steps_within(config.train.max_seconds, each, step, config.train.steps)


def _duration(config: Config, device: str, step: int) -> Duration | None:
    speed = load_speed(speed_file(config, device))
    if speed is None or config.train.epochs is not None:
        return None
    left = max(0, config.train.steps - step)
    seconds = left * (speed.step_seconds + speed.overhead_seconds)
    return Duration(seconds, speed.step_seconds, speed.overhead_seconds, speed.t, speed.run, speed.steps)
