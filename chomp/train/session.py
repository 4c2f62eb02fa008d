"""Building everything a run needs, in the order in which a user's mistakes are cheapest to find."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax

from chomp.checkpoint.retention import Retention, build_retention
from chomp.checkpoint.store import CheckpointStore
from chomp.config import Config, flatten
from chomp.config.derive import Derived, doubts
from chomp.data.byte_offset import offset_notes
from chomp.data.pipeline import DataPipeline, build_data
from chomp.data.progress import listening
from chomp.data.shares import shortages
from chomp.data.tokenizers import Tokenizer, build_tokenizer, load_tokenizer
from chomp.device import cuda_packages, environment_report, probe_gpus, problems, unset_memory_variables
from chomp.device.determinism import not_strict
from chomp.errors import ConfigError, DeviceError, command_name
from chomp.model.build import ModelDef
from chomp.model.device import chosen_devices, first_device, unused_devices
from chomp.model.flops import peak_flops
from chomp.optim.build import Optimizer
from chomp.parallel.facts import require_equal
from chomp.parallel.mesh import place_on
from chomp.parallel.world import World
from chomp.record.events import Phase, RunStarted, Warned
from chomp.record.manifest import HELD_OUT, list_checkpoints
from chomp.record.rundir import RunDir
from chomp.record.tail import last_row_t
from chomp.sinks import Reporter
from chomp.step.eval_step import make_eval_step
from chomp.step.state import TrainState
from chomp.train.blueprint import Blueprint, build_blueprint
from chomp.train.clock import TimeBudget
from chomp.train.compilation import CompileWatch
from chomp.train.control import CommandQueue, Interruptible, StopSwitch
from chomp.train.epochs import with_steps
from chomp.train.evaluations import Evaluations, open_evaluations
from chomp.train.machine import device_facts, package_versions
from chomp.train.out_of_memory import explained
from chomp.train.processes import RunProcesses
from chomp.train.program import ACCEPT, PROGRAM, Obtain, RunProgram, compile_in_each, compile_only, keeps_program
from chomp.train.request import Claim, RunRequest
from chomp.train.restorer import Restorer, Start


@dataclass
class Session:
    """All parts of one attempt but the compiled step, which may take minutes to make."""

    request: RunRequest
    blueprint: Blueprint
    claim: Claim
    reporter: Reporter
    budget: TimeBudget
    queue: CommandQueue
    processes: RunProcesses
    tokenizer: Tokenizer
    data: DataPipeline
    evaluations: Evaluations
    store: CheckpointStore
    start: Start
    state: TrainState
    eval_step: Any
    compile_watch: CompileWatch
    peak_flops: float | None

    @property
    def run(self) -> RunDir:
        """The run directory where it is now."""
        return self.claim.run

    @property
    def config(self) -> Config:
        return self.blueprint.config

    @property
    def derived(self) -> Derived:
        return self.blueprint.derived

    @property
    def model_def(self) -> ModelDef:
        return self.blueprint.model_def

    @property
    def optimizer(self) -> Optimizer:
        return self.blueprint.optimizer

    @property
    def switch(self) -> StopSwitch:
        return self.queue.switch

    @property
    def world(self) -> World:
        """The processes of the run."""
        return self.processes.world

    @cached_property
    def interruptible(self) -> Interruptible:
        """Runs work that signals and commands may cut short, in all processes or in none."""
        return Interruptible(self.queue)

    @property
    def saves(self) -> bool:
        """Whether this attempt writes checkpoints."""
        return self.config.checkpoint.enabled and not self.request.dry_run

    def program_source(self) -> Obtain:
        """Where the compiled step comes from: the run directory if it is kept there, else the compiler."""
        if not (self.saves and keeps_program(self.config.train.keep_program, jax.devices()[0].platform)):
            return compile_only
        if not self.world.is_alone:
            return compile_in_each(self.start.step)
        return RunProgram(
            self.run.program / PROGRAM,
            resumed_from=self.start.step,
            computed_by=self.start.meta.get("program"),
            # The exact name: to accept the whole section is not to trust a program.
            accepted=ACCEPT in self.request.accept,
            placement=self.blueprint.placement,
        ).obtain

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a resume will compare with its own."""
        return self.blueprint.identity(self.data.fingerprint)


@contextmanager
def open_session(
    request: RunRequest,
    claim: Claim,
    reporter: Reporter,
    budget: TimeBudget,
    queue: CommandQueue,
    processes: RunProcesses,
) -> Iterator[Session]:
    """Build a session in a claimed run directory; its data and its compile watch are closed at the end.

    Raises:
        ChompError: for every mistake a user can make, before any training.
        StopRequestedError, AbortRequestedError: by a signal or a command.
    """
    session = _build_session(request, claim, reporter, budget, queue, processes)
    try:
        yield session
    finally:
        if session.store.is_busy():
            # After an abort. Its descriptor's number must not become that of another folder.
            claim.held.leave_open()
        session.data.close()
        session.compile_watch.close()


def _build_session(
    request: RunRequest,
    claim: Claim,
    reporter: Reporter,
    budget: TimeBudget,
    queue: CommandQueue,
    processes: RunProcesses,
) -> Session:
    config, run, world = request.loaded.config, claim.run, processes.world
    interruptible = Interruptible(queue)
    require_same_programs(world, config)
    with budget.measure("startup"):
        misfits = [problem.message for problem in problems(probe_gpus(), os.environ, cuda_packages())]
        device = require_device(config, misfits)
        facts = {"kind": jax.local_devices()[0].device_kind, "count": jax.local_device_count()}
        require_equal(world, "devices", facts)
        # Before a resume cuts the rows of earlier attempts: the last row says until when the last attempt worked.
        reporter.publish(Phase(name="data", step=0, last_row_t=last_row_t(run.metrics)))
        unused = unused_devices() if not request.devices else None
        for message in (*misfits, *unset_memory_variables(probe_gpus(), os.environ), *([unused] if unused else [])):
            reporter.publish(Warned(topic="device", message=message))
        planned, tokenizer, data, evaluations = _open_text(request, run, device.platform, reporter, interruptible)
        _warn_of_data(planned.config, tokenizer, data, reporter)
        store = CheckpointStore(
            run.checkpoints,
            retention=_retention(config, evaluations),
            on_event=reporter.publish,
            held=claim.held,
            world=world,
        )
        restorer = Restorer(request, run, store, reporter, interruptible)
        start, blueprint = restorer.find_start(planned, data.fingerprint)
        _warn_of_changed_texts(evaluations, start, reporter)
        with explained("while the checkpoint was read" if start.info else "while the model was made", blueprint):
            state = interruptible(lambda: restorer.load_or_init(start, blueprint))
        if not request.dry_run:
            restorer.settle_directory(start, blueprint, state)
    budget.start_from(restorer.earlier_budget(start))
    session = Session(
        request=request,
        blueprint=blueprint,
        claim=claim,
        reporter=reporter,
        budget=budget,
        queue=queue,
        processes=processes,
        tokenizer=tokenizer,
        data=data,
        evaluations=evaluations,
        store=store,
        start=start,
        state=state,
        eval_step=_eval_step(blueprint),
        compile_watch=CompileWatch(),
        peak_flops=_peak_flops(device, blueprint),
    )
    reporter.publish(_run_started(session))
    _warn_of_flags(session)
    return session


def _eval_step(blueprint: Blueprint) -> Any:
    isolate = blueprint.config.data.isolate_documents
    return make_eval_step(blueprint.model_def, isolate=isolate, placement=blueprint.placement)


def _open_text(
    request: RunRequest, run: RunDir, platform: str, reporter: Reporter, interruptible: Interruptible
) -> tuple[Blueprint, Tokenizer, DataPipeline, Evaluations]:
    """What is trained, and on what; reading and hashing may take minutes each: a stop or an abort is obeyed meanwhile.

    Raises:
        DataError: a process reads other text, or has another tokenizer, than the leader.
    """
    config, world = request.loaded.config, request.world
    tokenizer = interruptible(lambda: _open_tokenizer(config, run, resuming=request.resume != "none"))
    require_equal(world, "tokenizer", {"its digest": tokenizer.digest()})
    planned = build_blueprint(config, platform, tokenizer, place_on(config, chosen_devices(request.devices)))
    if request.resume == "none":
        # Headers alone: a missing file is named before text is read for minutes.
        interruptible(lambda: planned.weights)
    with listening(reporter.publish):
        data = interruptible(lambda: build_data(planned.config, planned.derived, tokenizer))
    require_equal(world, "text", data.fingerprint)
    compared = {str(info.meta.get("apart")) for info in list_checkpoints(run.checkpoints)}
    evaluations = interruptible(lambda: open_evaluations(planned, tokenizer, data, compared))
    require_equal(world, "evaluation", evaluations.facts())
    _require_shares(planned, data, reporter)
    return interruptible(lambda: with_steps(planned, data)), tokenizer, data, evaluations


def _peak_flops(device: jax.Device, blueprint: Blueprint) -> float | None:
    """The peak rate of all devices of the run."""
    peak = peak_flops(device.device_kind, blueprint.config.model.compute_dtype)
    return None if peak is None else peak * blueprint.placement.count


def require_same_programs(world: World, config: Config) -> None:
    """Refuse processes that were started with other versions or settings.

    Raises:
        ConfigError, DeviceError: names a process and what differs.
    """
    require_equal(world, "number of processes", {"--processes": world.count})
    require_equal(world, "versions", package_versions())
    require_equal(world, "configuration", flatten(config))


def _warn_of_data(config: Config, tokenizer: Tokenizer, data: DataPipeline, reporter: Reporter) -> None:
    messages = [*tokenizer.notes, *offset_notes(config.data, tokenizer)]
    if config.train.eval_every and not data.has_eval:
        messages.append(
            "train.eval_every is set, but the held-out text is too short to score: there are no evaluations"
        )
    for message in messages:
        reporter.publish(Warned(topic="data", message=message))
    for message in doubts(config):
        reporter.publish(Warned(topic="config", message=message))


def _require_shares(planned: Blueprint, data: DataPipeline, reporter: Reporter) -> None:
    """Look at whether the sources of a mixture last until the end of the run.

    Raises:
        ConfigError: one does not, and its end is the end of the run.
    """
    if not data.parts or planned.config.data.mixture.exhausted == "repeat":
        return
    sizes = {name: part.pass_size() for name, part in data.parts.items()}
    derived = planned.derived
    for shortage in shortages(planned.config.data, derived.total_tokens, derived.tokens_per_step, sizes):
        if shortage.is_certain and planned.config.data.mixture.exhausted == "stop":
            raise ConfigError(shortage.message)
        reporter.publish(Warned(topic="data", message=shortage.message))


def _retention(config: Config, evaluations: Evaluations) -> Retention:
    best = config.evaluation.best
    return build_retention(config.checkpoint, best, evaluations.texts.get(best or HELD_OUT))


def _warn_of_changed_texts(evaluations: Evaluations, start: Start, reporter: Reporter) -> None:
    for message in evaluations.changed_since(start.meta, start.step):
        reporter.publish(Warned(topic="evaluation", step=start.step, message=message))


def _warn_of_flags(session: Session) -> None:
    """The user's own flags are kept, also where they are not those of the setting."""
    differing = not_strict(os.environ) if session.config.train.strict_determinism else []
    if differing:
        message = (
            f"train.strict_determinism needs {' '.join(differing)}, and XLA_FLAGS or a file that it names has another "
            "value: the engine keeps the user's flags, and numbers on a GPU may differ from run to run"
        )
        session.reporter.publish(Warned(topic="determinism", message=message))


def require_device(config: Config, misfits: Sequence[str] = ()) -> jax.Device:
    """The device to train on.

    Args:
        misfits: why JAX may not use the GPU that there is.

    Raises:
        DeviceError: there is none, or only a CPU, which the configuration does not allow.
    """
    device = first_device()
    if device.platform == "cpu" and not config.train.allow_cpu and misfits:
        raise DeviceError(f"JAX does not use the GPU: {misfits[0]}")
    if device.platform == "cpu" and not config.train.allow_cpu:
        raise DeviceError(
            f"no GPU was found{_hidden()} and train.allow_cpu is false; set train.allow_cpu: true to train on the CPU, "
            f"or run `{command_name()} probe` to see what is missing"
        )
    return device


def _hidden() -> str:
    """What may hide a GPU from JAX."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible})"


def _open_tokenizer(config: Config, run: RunDir, *, resuming: bool) -> Tokenizer:
    """The run's own snapshot when resuming with the same tokenizer settings, so that a changed hub changes nothing."""
    # A run without a checkpoint may have been killed while it wrote the snapshot; it begins anew anyway.
    if resuming and list_checkpoints(run.checkpoints) and run.tokenizer.is_dir() and run.config_resolved.exists():
        saved = run.load_resolved().get("data", {}).get("tokenizer")
        if saved == config.data.tokenizer.model_dump():
            return load_tokenizer(run.tokenizer)
    return build_tokenizer(config.data.tokenizer)


def _run_started(session: Session) -> RunStarted:
    start = session.start
    weights = session.blueprint.weights if start.info is None else None
    return RunStarted(
        pid=os.getpid(),
        host=platform.node(),
        attempt=start.attempt,
        resumed_from=start.resumed_from,
        versions=package_versions(),
        device=device_facts(session.blueprint.placement, [member.host for member in session.world.members]),
        environment=environment_report(os.environ),
        parameters=session.model_def.parameter_count,
        tokens_per_step=session.derived.tokens_per_step,
        total_steps=session.config.train.steps,
        tokens_seen=int(start.meta.get("tokens_seen", 0)),
        data=session.data.describe(),
        optimizer=session.optimizer.describe(),
        accepted=list(session.request.accept),
        weights=weights.describe() if weights is not None else "",
    )
