"""Tries ways to compute the step of a configuration on this machine, and finds the fastest that fits.

Each try is a child process (`chomp.analysis.trial`). This process never imports JAX, which would take the device's
memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import IO, Any, Literal

from chomp.config import Config
from chomp.config.model import ModelConfig
from chomp.config.variants import POLICIES, Variant, as_written, variants
from chomp.errors import ChompError, DeviceError
from chomp.record.formatting import plural, size
from chomp.record.temporary import no_temporary_folder

MEASURED_SECONDS = 3.0
# A smaller gain is noise.
WORTH_CHANGING = 1.02
LAST_WORDS_BYTES = 4096
OOM_KILLER = "killed (SIGKILL), as the kernel does where the memory is used up"


@dataclass(frozen=True)
class Trial:
    """What became of one way to compute the step.

    Attributes:
        memory_bytes: the most that was in use; XLA's account of the compiled step where the device does not report it.
        mfu: model FLOPs utilisation, where the device's peak is known.
        why: why it was not measured.
        too_large: whether memory was the reason.
    """

    variant: Variant
    outcome: Literal["measured", "failed", "skipped"]
    tokens_per_second: float | None = None
    memory_bytes: int | None = None
    mfu: float | None = None
    compile_seconds: float | None = None
    why: str = ""
    too_large: bool = False

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        way = self.variant
        return {
            "batch_size": way.batch_size,
            "grad_accum": way.grad_accum,
            "policy": way.policy,
            "head_chunk": way.head_chunk,
            "settings": dict(way.settings),
            **{each.name: getattr(self, each.name) for each in fields(self) if each.name != "variant"},
        }


@dataclass
class Search:
    """Tries of one configuration within a time limit.

    Attributes:
        config: what is tried; its model is resolved by the first try.
        seconds: for all tries together.
        memory_limit: bytes to pretend that the device has; None is what it has.
        devices: those to compute on, as `--devices` names them; empty for all.
        device: platform, name, number, memory of each and peak FLOP/s of all, from the first try.
        trials: those so far; the first is the configuration as written.
        untried: ways for which no time was left.
    """

    config: Config
    seconds: float
    memory_limit: int | None = None
    devices: Sequence[str] = ()
    device: dict[str, Any] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    untried: int = 0
    _estimates: dict[tuple[str, int | None], tuple[int, int, int]] = field(default_factory=dict)
    _totals: dict[tuple[str, int | None], tuple[int, int, int]] = field(default_factory=dict)
    _factor: float | None = None
    _is_resolved: bool = False

    def run(self) -> Generator[Trial, None, None]:
        """Yield each try when it has ended: the configuration as written, then the others, the most promising first.

        Raises:
            ChompError: nothing can be tried: the configuration, its tokenizer or the device is at fault.
        """
        deadline, quickest = time.monotonic() + self.seconds, 0.0
        yield self._note(self._attempt(as_written(self.config), deadline))
        written = as_written(self.config)
        # A device that has fewer rows than a micro-batch computes no more at once.
        devices, rows = self.device.get("count", 1), written.batch_size * written.grad_accum
        others = [one for one in variants(self.config) if one != written and one.batch_size * devices <= rows]
        for variant in sorted(others, key=expected_cost):
            why = self._hopeless(variant)
            started = time.monotonic()
            if why is not None:
                yield self._note(Trial(variant, "skipped", why=why, too_large=True))
            elif started + quickest >= deadline:
                self.untried += 1
            else:
                yield self._note(self._attempt(variant, deadline))
                took = time.monotonic() - started
                quickest = min(quickest or took, took)

    def best(self) -> Trial | None:
        """The fastest, or the configuration as written where that is as fast; None if none was measured."""
        measured = [trial for trial in self.trials if trial.tokens_per_second is not None]
        if not measured:
            return None
        fastest = max(measured, key=_speed)
        written = self.trials[0]
        return written if _speed(fastest) < WORTH_CHANGING * _speed(written) else fastest

    def _note(self, trial: Trial) -> Trial:
        self.trials.append(trial)
        return trial

    def _attempt(self, variant: Variant, deadline: float) -> Trial:
        request = {
            "config": variant.config.model_dump(),
            "resolved": self._is_resolved,
            "others": not self._is_resolved,
            "seconds": MEASURED_SECONDS,
            "memory_limit": self.memory_limit,
            "factor": self._factor or 1.0,
            "devices": list(self.devices),
        }
        answers = ask(request, deadline)
        if "refused" in answers and not self.trials:
            raise refusal(answers)
        if not self.trials and "device" not in answers and "late" not in answers:
            raise DeviceError(f"a step cannot be tried on this machine: {answers['failed']}")
        self._learn(variant, answers)
        return self._judge(variant, answers)

    def _learn(self, variant: Variant, answers: Mapping[str, Any]) -> None:
        """Keep what holds for other ways too: the device, the model, and what the compiler makes of the estimate."""
        self.device = answers.get("device", self.device)
        if "model" in answers and not self._is_resolved:
            self.config = self.config.model_copy(update={"model": ModelConfig.model_validate(answers["model"])})
            self._is_resolved = True
        for each in answers.get("estimates", ()):
            self._estimates[each["policy"], each["head_chunk"]] = each["rows"], each["state"], each["activations"]
        total = answers.get("compiled", {}).get("memory", {}).get("total")
        if total is not None:
            state, activations = answers["estimate"]["state"], answers["estimate"]["activations"]
            kept = min(total, state)
            self._totals[variant.policy, variant.head_chunk] = variant.batch_size, kept, total - kept
            self._factor = self._factor or max(0.1, (total - state) / max(1, activations))

    def _judge(self, variant: Variant, answers: Mapping[str, Any]) -> Trial:
        compiled, measured = answers.get("compiled", {}), answers.get("measured")
        memory, took = compiled.get("memory", {}).get("total"), compiled.get("seconds")
        if measured is None:
            why = answers.get("failed") or answers["refused"]
            too_large = "needs" in answers or why.startswith(("out of memory", OOM_KILLER))
            return Trial(variant, "failed", None, memory, None, took, why, too_large)
        speed, peak = measured["tokens_per_second"], self.device["peak_flops"]
        mfu = measured["flops_per_token"] * speed / peak if peak else None
        return Trial(variant, "measured", speed, measured["peak_bytes"] or memory, mfu, took)

    def _hopeless(self, variant: Variant) -> str | None:
        """Why this way cannot fit, by what others have shown."""
        for trial in self.trials:
            if trial.too_large and _needs_no_more(trial.variant, variant):
                return (
                    f"needs more than a micro-batch of {plural(trial.variant.batch_size, 'sequence')} that did not fit"
                )
        way, limit = (variant.policy, variant.head_chunk), self.device.get("memory")
        known, factor = (
            (self._totals[way], 1.0) if way in self._totals else (self._estimates.get(way), self._factor or 1.0)
        )
        if known is None or limit is None:
            return None
        rows, state, activations = known
        # Only the activations grow with the micro-batch.
        needed = state + round(activations * factor) * variant.batch_size // rows
        return f"needs about {size(needed)} of {size(limit)}" if needed > limit else None


def expected_cost(variant: Variant) -> float:
    """Time per token beyond that of the fastest way, as a share; only the order of tries depends on it.

    The shares are estimates for a model of 200M parameters on H200 and RTX 5090: 3 % for chunks of 512 tokens, each of
    which reads and writes the head's gradient; 7 % for a micro-batch of 2 x 2048 tokens, whose gradients are added to
    the sum.
    """
    tokens = variant.batch_size * variant.config.train.seq_len
    is_whole = variant.head_chunk is None or variant.head_chunk >= tokens
    head = 0.0 if is_whole else 0.03 * 512 / (variant.head_chunk or tokens)
    return POLICIES[variant.policy].recomputed / 3 + head + 0.07 * 4096 / tokens


def _needs_no_more(one: Variant, other: Variant) -> bool:
    """Whether `one` needs at most the memory of `other`: none of its choices takes more."""
    order = list(POLICIES)
    whole = float("inf")
    return (
        one.batch_size <= other.batch_size
        and order.index(one.policy) >= order.index(other.policy)
        and (one.head_chunk or whole) <= (other.head_chunk or whole)
    )


def _speed(trial: Trial) -> float:
    return trial.tokens_per_second or 0.0


def refusal(answers: Mapping[str, Any]) -> ChompError:
    """The error of a child that refused its request, with its exit code."""
    error = ChompError(answers["refused"])
    error.exit_code = answers["exit_code"]
    return error


def ask(request: Mapping[str, Any], deadline: float, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """All that a child process answers; `failed` says why it ended early, `late` is set if the time limit ended it.

    Args:
        environ: of the child; this process's own if None.
    """
    answers: dict[str, Any] = {}
    with _errors_file() as errors:
        process = subprocess.Popen(
            # -P: a file of the working folder with the name of a library is not imported instead of it.
            [sys.executable, "-P", "-m", "chomp.analysis.trial"],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            # A terminal's Ctrl+C is for this process, which then ends the child with all that it started.
            start_new_session=True,
        )
        timer = threading.Timer(max(0.0, deadline - time.monotonic()), _end, (process,))
        timer.daemon = True
        timer.start()
        try:
            _converse(process, request, answers)
        finally:
            timer.cancel()
            _end(process)
        code = process.wait()
        if "measured" not in answers and "failed" not in answers and "refused" not in answers:
            late = time.monotonic() >= deadline
            answers |= {"late": True, "failed": "the time limit ended it"} if late else {"failed": _why(code, errors)}
    return answers


def _errors_file() -> IO[bytes]:
    """A file for what a child says on standard error."""
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise no_temporary_folder(error) from None


def _converse(process: subprocess.Popen[str], request: Mapping[str, Any], answers: dict[str, Any]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    # A child that dies closes its pipes: maybe before it has read, maybe in the middle of a line.
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
    with contextlib.suppress(json.JSONDecodeError), process.stdout:
        for line in process.stdout:
            answers.update(json.loads(line))
    process.wait()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _end(process: subprocess.Popen[str]) -> None:
    """Kill a child and what it started; that may hold the pipe of a child that is gone itself."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _why(code: int, errors: IO[bytes]) -> str:
    """The reason of an end without an answer."""
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - LAST_WORDS_BYTES))
    lines = [line.strip() for line in errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
    last = lines[-1] if lines else "no message"
    if code == -signal.SIGKILL:
        return OOM_KILLER
    return f"ended by {signal.Signals(-code).name}: {last}" if code < 0 else last
