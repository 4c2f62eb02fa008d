"""Building everything a run needs, in the order in which a user's mistakes are cheapest to find."""

from __future__ import annotations

import dataclasses
import logging
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from chomp.checkpoint.resume import identity
from chomp.checkpoint.retention import build_retention
from chomp.checkpoint.store import CheckpointStore
from chomp.config import Config
from chomp.config.derive import Derived, derive
from chomp.data.pipeline import DataPipeline, build_data
from chomp.data.tokenizers import Tokenizer, build_tokenizer, load_tokenizer
from chomp.device.environment import environment_report
from chomp.errors import DeviceError
from chomp.model.build import ModelDef, build_model
from chomp.model.flops import peak_flops
from chomp.model.resolve import resolve_model
from chomp.optim.build import Optimizer, build_optimizer
from chomp.record.events import Phase, RunStarted, Warned
from chomp.record.manifest import list_checkpoints
from chomp.record.rundir import RunDir
from chomp.record.tail import last_row_t
from chomp.sinks import Reporter
from chomp.step.eval_step import make_eval_step
from chomp.step.state import TrainState
from chomp.train.clock import TimeBudget
from chomp.train.compilation import CompileWatch
from chomp.train.control import CommandQueue, StopSwitch, interruptibly
from chomp.train.facts import device_facts, package_versions
from chomp.train.request import RunRequest
from chomp.train.restorer import Opening, Start

log = logging.getLogger("chomp.session")


@dataclass
class Session:
    """All parts of one attempt but the compiled step, which may take minutes to make."""

    request: RunRequest
    config: Config
    derived: Derived
    run: RunDir
    reporter: Reporter
    budget: TimeBudget
    queue: CommandQueue
    tokenizer: Tokenizer
    data: DataPipeline
    model_def: ModelDef
    optimizer: Optimizer
    store: CheckpointStore
    identity: dict[str, Any]
    start: Start
    state: TrainState
    eval_step: Callable[..., Any]
    compile_watch: CompileWatch
    flops_per_token: float
    peak_flops: float | None

    @property
    def switch(self) -> StopSwitch:
        return self.queue.switch


def build_session(
    request: RunRequest, run: RunDir, reporter: Reporter, budget: TimeBudget, queue: CommandQueue
) -> Session:
    """Build a session in a locked run directory.

    Raises:
        ChompError: for every mistake a user can make, before any training.
        StopRequestedError, AbortRequestedError: the end was asked for meanwhile.
    """
    config = request.loaded.config
    check = partial(queue.check, step=0)
    with budget.measure("startup"):
        device = _require_device(config)
        # Before a resume cuts the rows of the attempt before: the last of them says until when that one worked.
        reporter.publish(Phase(name="data", step=0, last_row_t=last_row_t(run.metrics)))
        # Reading and hashing may take minutes each: all of it can be left when the end is asked for.
        tokenizer = interruptibly(lambda: _open_tokenizer(config, run, resuming=request.resume != "none"), check)
        model_config = resolve_model(
            config.model, tokenizer, auto_set_special_tokens=config.data.tokenizer.auto_set_special_tokens
        )
        config = config.model_copy(update={"model": model_config})
        derived = derive(config)
        assert model_config.vocab_size is not None
        data = interruptibly(lambda: build_data(config, derived, tokenizer, vocab_size=model_config.vocab_size), check)
        if config.train.eval_every and not data.has_eval:
            message = "evaluation is asked for, but the held-out text is too short to score: there will be none"
            reporter.publish(Warned(topic="data", message=message))
        model_def = build_model(
            model_config,
            deterministic=derived.deterministic,
            backend=device.platform,
            mtp_heads=config.objective.mtp_heads,
        )
        store = CheckpointStore(
            run.checkpoints, retention=build_retention(config.checkpoint), on_event=reporter.publish
        )
        who = identity(config, derived, data.fingerprint, tokenizer.digest())
        opening = Opening(request, run, store, reporter, check)
        start, derived = opening.find_start(who, config, derived)
        optimizer = build_optimizer(
            config.optim, derived, model_def.abstract(), embedding_path=model_def.embedding_path
        )
        state = interruptibly(lambda: opening.load_or_init(start, model_def, optimizer, config), check)
        if not request.dry_run:
            opening.settle_directory(start, config, derived, tokenizer)
    budget.start_from(opening.earlier_budget(start))
    reporter.publish(_run_started(request, config, derived, data, model_def, optimizer, device, start))
    return Session(
        request=request,
        config=config,
        derived=derived,
        run=run,
        reporter=reporter,
        budget=budget,
        queue=queue,
        tokenizer=tokenizer,
        data=data,
        model_def=model_def,
        optimizer=optimizer,
        store=store,
        identity=identity(config, derived, data.fingerprint, tokenizer.digest()),
        start=start,
        state=state,
        eval_step=make_eval_step(model_def, isolate=config.data.isolate_documents),
        compile_watch=CompileWatch(),
        flops_per_token=model_def.flops_per_token(config.train.seq_len),
        peak_flops=peak_flops(device.device_kind, config.model.compute_dtype),
    )


def _require_device(config: Config) -> jax.Device:
    try:
        device = jax.devices()[0]
    except RuntimeError as error:
        raise DeviceError(f"JAX found no usable device: {str(error).splitlines()[0]}") from error
    if device.platform == "cpu" and not config.train.allow_cpu:
        raise DeviceError(
            "no GPU was found and train.allow_cpu is false; set train.allow_cpu: true to train on the CPU, "
            "or run `chomp probe` to see what is missing"
        )
    return device


def _open_tokenizer(config: Config, run: RunDir, *, resuming: bool) -> Tokenizer:
    """The run's own snapshot when resuming with the same tokenizer settings, so that a changed hub changes nothing."""
    # Before its first checkpoint a run may have been killed while it wrote the snapshot: it begins anew anyway.
    if resuming and list_checkpoints(run.checkpoints) and run.tokenizer.is_dir() and run.config_resolved.exists():
        saved = run.load_resolved().get("data", {}).get("tokenizer")
        if saved == config.data.tokenizer.model_dump():
            return load_tokenizer(run.tokenizer)
    return build_tokenizer(config.data.tokenizer)


def _run_started(
    request: RunRequest,
    config: Config,
    derived: Derived,
    data: DataPipeline,
    model_def: ModelDef,
    optimizer: Optimizer,
    device: jax.Device,
    start: Start,
) -> RunStarted:
    process = platform.node()
    return RunStarted(
        pid=os.getpid(),
        host=process,
        attempt=start.attempt,
        resumed_from=start.resumed_from,
        versions=package_versions(),
        device=device_facts(),
        environment=environment_report(os.environ),
        parameters=model_def.parameter_count,
        tokens_per_step=derived.tokens_per_step,
        total_steps=config.train.steps,
        tokens_seen=int(start.meta.get("tokens_seen", 0)),
        data=data.describe(),
        optimizer=optimizer.describe(),
        accepted=list(request.accept),
    )


def checkpoint_meta(session: Session, step: int, progress: Any) -> dict[str, Any]:
    """The description saved beside a checkpoint's arrays."""
    return {
        "step": step,
        "saved_at": round(time.time(), 3),
        "identity": session.identity,
        "attempt": session.start.attempt,
        "accepted": list(session.request.accept),
        "versions": package_versions(),
        "device": device_facts(),
        "parameters": session.model_def.parameter_count,
        "tokens_seen": progress.tokens_seen,
        "tokens_read": progress.tokens_read,
        "train_loss": _number(progress.loss),
        "eval_step": progress.eval_step,
        "eval_loss": _number(progress.eval_loss) if progress.eval_step == step else None,
        "eval_bpb": _number(progress.eval_bpb) if progress.eval_step == step else None,
        "owed": list(progress.owed),
        "rollbacks": dataclasses.asdict(progress.rollbacks),
        "time_budget_seconds": session.budget.totals(),
    }


def _number(value: float | None) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None
