"""`chomp plan`: measures steps of several sizes on this machine, and sizes a run for a time.

Each size is measured in a process of its own, as by `chomp fit`. This process never imports JAX, which would take the
device's memory.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chomp.analysis.fit import MEASURED_SECONDS, OOM_KILLER, ask, refusal
from chomp.analysis.scaling import (
    TOKENS_PER_PARAMETER,
    WIDTHS,
    Backend,
    Rule,
    adamw_rate,
    batch_rows,
    flops_per_token,
    muon_rate,
    rest_rate,
    scaling_parameters,
    shape,
    warmup_steps,
)
from chomp.config import Config
from chomp.config.model import FROM_TOKENIZER, ModelConfig
from chomp.device import probe_gpus
from chomp.errors import ConfigError, DeviceError
from chomp.record.formatting import device_words, duration
from chomp.record.speeds import MeasuredSpeed, keep_speed, load_speed, speed_file

# For evaluation, saves, text that is waited for, and steps that are slower than measured.
RESERVE = 0.1
# From the start of the process to the first step, without compilation.
STARTUP_SECONDS = 15.0
# Of the time, what evaluations may take; one costs a third of as many training tokens.
EVALUATION_SHARE, EVALUATION_COST, MOST_EVALUATIONS = 0.03, 1 / 3, 20
# The first size may take so long, whatever the limit: without one there is no plan.
FIRST_SECONDS = 180.0
# Micro-batches of a measured step: more cost the same each.
MEASURED_ACCUM = 4
GPU_MICRO_TOKENS, CPU_MICRO_ROWS = 32_768, 4
GPU_SEQ_LEN, CPU_SEQ_LEN = 2048, 256
# A step that warms up, and one that decays.
LEAST_STEPS = 2
# A vocabulary beyond this projects so many tokens at once, which bounds the memory of the logits.
LARGE_VOCABULARY, HEAD_CHUNK = 4096, 4096
FIRST_WIDTH = {"gpu": 768, "cpu": 128}


@dataclass(frozen=True)
class Goal:
    """What the run is planned for.

    Attributes:
        seconds: of the whole process.
        tokens: to train on; None for all that the time allows.
        ratio: tokens per parameter.
        seq_len: None for that of the device's kind.
        eval_tokens: of one evaluation; None where that is not known.
    """

    seconds: float
    tokens: float | None = None
    ratio: float = TOKENS_PER_PARAMETER
    backend: Backend = "llama"
    rule: Rule = "muon"
    seq_len: int | None = None
    eval_tokens: int | None = None


@dataclass(frozen=True)
class Size:
    """A size that was measured, or why it was not.

    Attributes:
        rows: of a micro-batch.
        steps: that were measured.
        parameters: N of `chomp.analysis.scaling`.
        memory_bytes: the most that was in use, or XLA's account.
    """

    dim: int
    rows: int
    parameters: int
    tokens_per_second: float | None = None
    steps: int = 0
    compile_seconds: float = 0.0
    memory_bytes: int | None = None
    why: str = ""
    too_large: bool = False


@dataclass(frozen=True)
class Proposal:
    """A run for the goal.

    Attributes:
        size: as measured.
        settings: by section: what a configuration file says.
        tokens: that the run trains on.
        step_seconds: expected of a step.
    """

    size: Size
    settings: Mapping[str, Mapping[str, Any]]
    steps: int
    tokens_per_step: int
    tokens: int
    step_seconds: float
    evaluations: int


@dataclass
class Planning:
    """Measurements for one goal, and what follows from them.

    Attributes:
        base: has the text and its tokenizer.
        limit_seconds: for all measurements but the first.
        devices: as `--devices` names them.
        device: platform, name, number, memory and peak FLOP/s, from the first measurement.
    """

    base: Config
    goal: Goal
    limit_seconds: float
    devices: Sequence[str] = ()
    device: dict[str, Any] = field(default_factory=dict)
    sizes: list[Size] = field(default_factory=list)
    platform: str = ""
    _tokenized: dict[str, Any] = field(default_factory=dict)

    @property
    def seq_len(self) -> int:
        return self.goal.seq_len or (CPU_SEQ_LEN if self.platform == "cpu" else GPU_SEQ_LEN)

    @property
    def vocabulary(self) -> int:
        return int(self._tokenized.get("vocab_size") or 0)

    def run(self) -> Generator[Size, None, None]:
        """Yield each size when it is measured; the last proposal is one of them.

        Raises:
            ChompError: nothing can be measured.
        """
        deadline = time.monotonic() + self.limit_seconds
        self.platform = "gpu" if probe_gpus().gpus and os.environ.get("JAX_PLATFORMS") != "cpu" else "cpu"
        wanted = self._next()
        longest = 0.0
        while wanted is not None and (not self.sizes or time.monotonic() + longest < deadline):
            began = time.monotonic()
            found = self._measure(*wanted, deadline if self.sizes else max(deadline, began + FIRST_SECONDS))
            if found is not None:
                self.sizes.append(found)
                longest = max(longest, time.monotonic() - began)
                yield found
            wanted = self._next()
        if not self._measured():
            raise DeviceError(f"no size could be measured: {self.sizes[-1].why}")

    def _next(self) -> tuple[int, int] | None:
        """The size to measure next: a first one, then that of the best proposal, if it is not measured yet."""
        if not self.sizes:
            return FIRST_WIDTH[self.platform], self._most_rows()
        if not self._measured():
            return self._smaller(self.sizes[-1])
        dim = self._best_dim()
        if dim is None:
            return None
        rows = min(self._rows_of(dim), self._most_rows())
        for one in self.sizes:
            if one.dim == dim:
                rows = min(rows, one.rows // 2 if one.too_large else one.rows)
        return None if rows < 1 or any((one.dim, one.rows) == (dim, rows) for one in self.sizes) else (dim, rows)

    def _smaller(self, last: Size) -> tuple[int, int] | None:
        """What takes less memory than a size that did not fit; None after any other failure."""
        if not last.too_large or (last.rows == 1 and last.dim == WIDTHS[0]):
            return None
        return (last.dim, last.rows // 2) if last.rows > 1 else (WIDTHS[WIDTHS.index(last.dim) // 2], 1)

    def _best_dim(self) -> int | None:
        """The largest size that reaches its tokens in time; the smallest where none does."""
        fits = [dim for dim in WIDTHS if not self._is_too_large(dim)]
        enough = [dim for dim in fits if self._tokens_in_time(dim) >= self._least_tokens(dim)]
        return max(enough, default=min(fits, default=None))

    def _least_tokens(self, dim: int) -> float:
        n = scaling_parameters(self.goal.backend, dim, self.vocabulary)
        return self.goal.tokens if self.goal.tokens is not None else self.goal.ratio * n

    def _is_too_large(self, dim: int) -> bool:
        return any(one.too_large and one.rows == 1 and one.dim <= dim for one in self.sizes)

    def _tokens_in_time(self, dim: int) -> float:
        return self.training_seconds() * self._speed(dim)

    def training_seconds(self) -> float:
        """Of the goal's time, what is left for steps."""
        return max(0.0, self.goal.seconds * (1 - RESERVE) - STARTUP_SECONDS - self._compile_seconds())

    def _compile_seconds(self) -> float:
        return max((one.compile_seconds for one in self.sizes), default=0.0)

    def _speed(self, dim: int) -> float:
        """Tokens per second: as measured, or with the FLOP/s of the nearest size that was."""
        measured = self._measured()
        if not measured:
            return 0.0
        flops = {one: flops_per_token(self.goal.backend, one.dim, self.vocabulary, self.seq_len) for one in measured}
        mine = flops_per_token(self.goal.backend, dim, self.vocabulary, self.seq_len)
        nearest = min(measured, key=lambda one: (abs(math.log(flops[one] / mine)), one.rows))
        return (nearest.tokens_per_second or 0.0) * flops[nearest] / mine

    def _measured(self) -> list[Size]:
        return [one for one in self.sizes if one.tokens_per_second is not None]

    def _most_rows(self) -> int:
        return CPU_MICRO_ROWS if self.platform == "cpu" else max(1, GPU_MICRO_TOKENS // self.seq_len)

    def _rows_of(self, dim: int) -> int:
        return batch_rows(self.goal.tokens or self._tokens_in_time(dim), self.seq_len)

    def _measure(self, dim: int, rows: int, deadline: float) -> Size | None:
        """Measure a size; None where the device turns out to be of another kind than was guessed."""
        accum = max(1, min(MEASURED_ACCUM, self._rows_of(dim) // rows)) if self.sizes else 1
        request = {
            "config": self._config(dim, rows, accum).model_dump(),
            "resolved": bool(self._tokenized),
            "others": False,
            "seconds": min(MEASURED_SECONDS, self.limit_seconds / 10),
            "memory_limit": None,
            "factor": 1.0,
            "devices": list(self.devices),
        }
        answers = ask(request, deadline)
        if "refused" in answers and not self.sizes:
            raise refusal(answers)
        if "device" not in answers and not self.sizes:
            raise DeviceError(f"a step cannot be tried on this machine: {answers['failed']}")
        self.device = answers.get("device", self.device)
        if self.device["platform"] != self.platform:
            self.platform = self.device["platform"]
            return None
        self._tokenized |= {name: answers["model"][name] for name in FROM_TOKENIZER} if "model" in answers else {}
        return self._judge(dim, rows, answers)

    def _judge(self, dim: int, rows: int, answers: Mapping[str, Any]) -> Size:
        n = scaling_parameters(self.goal.backend, dim, self.vocabulary)
        compiled, measured = answers.get("compiled", {}), answers.get("measured")
        if measured is None:
            why = answers.get("failed") or answers["refused"]
            too_large = "needs" in answers or why.startswith(("out of memory", OOM_KILLER))
            return Size(dim, rows, n, why=why, too_large=too_large)
        memory = measured["peak_bytes"] or compiled.get("memory", {}).get("total")
        return Size(dim, rows, n, measured["tokens_per_second"], measured["steps"], compiled["seconds"], memory)

    def _config(self, dim: int, rows: int, accum: int) -> Config:
        model = ModelConfig.model_validate({**self._model(dim), **self._tokenized})
        train = {"batch_size": rows, "grad_accum": accum, "batch_tokens": None, "seq_len": self.seq_len}
        optim = {"name": self.goal.rule}
        return self.base.model_copy(
            update={
                "model": model,
                "train": self.base.train.model_copy(update=train),
                "optim": self.base.optim.model_copy(update=optim),
            }
        )

    def _model(self, dim: int) -> dict[str, Any]:
        settings = shape(self.goal.backend, dim, self.seq_len)
        settings["compute_dtype"] = "float32" if self.platform == "cpu" else "bfloat16"
        if self.vocabulary > LARGE_VOCABULARY:
            settings["loss_chunk_size"] = HEAD_CHUNK
        return settings

    def propose(self) -> Proposal:
        """The run for the goal, by the measured size that is nearest to the best.

        Raises:
            ConfigError: it has no two steps, one that warms up and one that decays.
        """
        best = self._best_dim() or WIDTHS[0]
        size = min(self._measured(), key=lambda one: (abs(one.dim - best), one.dim, one.rows))
        seconds = self.training_seconds()
        speed = size.tokens_per_second or 0.0
        reached = seconds * speed if self.goal.tokens is None else min(self.goal.tokens, seconds * speed)
        rows = batch_rows(reached, self.seq_len)
        micro = min(size.rows, rows)
        tokens_per_step = rows * self.seq_len
        steps = int(reached / tokens_per_step)
        if steps < LEAST_STEPS:
            raise ConfigError(self._too_short(LEAST_STEPS * tokens_per_step, speed))
        evaluations = self._evaluations(seconds, speed)
        return Proposal(
            size=size,
            settings={
                "model": self._model(size.dim),
                "train": {
                    "steps": steps,
                    "max_seconds": self.goal.seconds,
                    "batch_size": micro,
                    "grad_accum": rows // micro,
                    "seq_len": self.seq_len,
                    "allow_cpu": self.platform == "cpu",
                    "log_every": max(1, min(25, steps // 50)),
                    "eval_every": max(1, steps // evaluations),
                },
                "optim": self._optim(size, steps, tokens_per_step),
                "checkpoint": {"save_every": 0, "save_every_seconds": max(60.0, min(900.0, self.goal.seconds / 10))},
            },
            steps=steps,
            tokens_per_step=tokens_per_step,
            tokens=steps * tokens_per_step,
            step_seconds=tokens_per_step / speed,
            evaluations=evaluations,
        )

    def _too_short(self, needed: int, speed: float) -> str:
        """Why the goal is no run, and what would be one.

        Args:
            needed: tokens of the shortest run.
            speed: in tokens per second.
        """
        wanted = self.goal.tokens
        if wanted is not None and wanted < needed:
            return f"--tokens {wanted:g} is less than {LEAST_STEPS} steps of one row; give at least --tokens {needed}"
        begins = STARTUP_SECONDS + self._compile_seconds()
        hours = (begins + needed / speed) / (1 - RESERVE) / 3600
        return (
            f"--hours {self.goal.seconds / 3600:g} is {duration(self.goal.seconds)}, of which start and compilation "
            f"take about {duration(begins)}: no time is left for steps; give at least --hours "
            f"{math.ceil(hours * 1000) / 1000:g}"
        )

    def keep_speed(self, proposal: Proposal, config: Config) -> None:
        """Let the pre-flight know how long the run takes, unless a run has measured such steps.

        Args:
            config: the proposal as a configuration.
        """
        resolved = config.model_copy(update={"model": config.model.model_copy(update=self._tokenized)})
        path = speed_file(resolved, device_words(self.device))
        if load_speed(path) is None:
            speed = MeasuredSpeed(round(time.time(), 3), "chomp plan", proposal.size.steps, proposal.step_seconds)
            # A user without a home, or a full disk: the plan is complete without it.
            with contextlib.suppress(OSError):
                keep_speed(path, speed)

    def _evaluations(self, seconds: float, speed: float) -> int:
        if self.goal.eval_tokens is None:
            return 4
        each = max(1, self.goal.eval_tokens) * EVALUATION_COST / speed
        return max(1, min(MOST_EVALUATIONS, int(EVALUATION_SHARE * seconds / each)))

    def _optim(self, size: Size, steps: int, tokens_per_step: int) -> dict[str, Any]:
        common = {"warmup_steps": warmup_steps(steps), "schedule": "cosine", "min_lr_ratio": 0.05}
        if self.goal.rule == "adamw":
            return {
                "name": "adamw",
                "lr": _short(adamw_rate(size.parameters, steps * tokens_per_step, size.dim)),
                **common,
            }
        rest = _short(rest_rate(size.dim))
        return {"name": "muon", "lr": rest, **common, "muon": {"lr_scale": _short(muon_rate(tokens_per_step) / rest)}}


def _short(value: float) -> float:
    """Three digits, which a person reads and writes."""
    return float(f"{value:.3g}")
