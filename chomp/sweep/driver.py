"""Carries a sweep on: adds its trials to the queue, prunes them, and learns what became of them.

All is on disk, in an order that makes a repetition harmless: the values of a trial are written before its job is added,
and a job says of which trial it is. A runner that is killed between any two steps is continued by the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from chomp.config import Config
from chomp.config.load import parse_config
from chomp.errors import ChompError
from chomp.queue.adding import NewJob, add_job
from chomp.queue.folder import QueueFolder
from chomp.queue.job import Job, QueueError, Wish
from chomp.record.fork import fork_run
from chomp.record.json_text import natural
from chomp.record.manifest import CheckpointInfo, find_checkpoint, list_checkpoints
from chomp.record.origin import read_origin
from chomp.record.rundir import RunDir, open_run
from chomp.record.summary import Stamp
from chomp.record.tail import last_row
from chomp.sweep.curves import Curve, CurveReader, score_of, why_prune
from chomp.sweep.folder import SweepFolder, Trial, TrialState, list_sweeps, prefix_checkpoint
from chomp.sweep.importance import compute_importance
from chomp.sweep.prefix import after_prefix, prefix_overrides, prefix_steps, to_accept
from chomp.sweep.sampler import Sampler
from chomp.sweep.spec import SweepSpec, overrides_of

log = logging.getLogger("chomp.queue.sweep")

_PRUNED = "pruned at step"


class SweepDriver:
    """All sweeps of a queue.

    Args:
        say: writes a line to the runner's log.
    """

    def __init__(self, queue: QueueFolder, say: Callable[[str], None]):
        self._queue = queue
        self._say = say
        self._sweeps: dict[str, _Sweep] = {}
        self._said: set[str] = set()

    def look(self) -> None:
        """Carry each sweep on as far as it goes now; what is wrong with one is logged, and the others go on."""
        jobs = {job.id: job for job in self._queue.read().jobs}
        for folder in list_sweeps(self._queue):
            try:
                sweep = self._sweeps.get(folder.name)
                if sweep is None:
                    sweep = self._sweeps[folder.name] = _Sweep(self._queue, folder, self._say)
                sweep.look(jobs)
            except (ChompError, OSError) as error:
                self._complain(folder.name, str(error))
            except Exception as error:
                # Optuna raises many kinds for a damaged journal; jobs and other sweeps go on.
                problem = f"{type(error).__name__}: {error}; a file in {folder.path} may be damaged"
                if self._complain(folder.name, problem):
                    log.exception("sweep %s", folder.name)

    def _complain(self, name: str, problem: str) -> bool:
        """Say what is wrong with a sweep, once; whether it is new."""
        text = f"sweep {name}: {problem}"
        is_new = text not in self._said
        if is_new:
            self._said.add(text)
            self._say(text)
        return is_new


class _Sweep:
    """One sweep, with the curves of its trials."""

    def __init__(self, queue: QueueFolder, folder: SweepFolder, say: Callable[[str], None]):
        self._queue = queue
        self._folder = folder
        self._say = say
        self._curves: dict[int, CurveReader] = {}
        self._done: tuple[Stamp, ...] = ()
        self._is_prefix_over = False

    def look(self, jobs: Mapping[int, Job]) -> None:
        """Carry it on; one that is done is read again only if its files have changed."""
        stamps = self._folder.stamps()
        if stamps == self._done:
            return
        trials = self._folder.read()
        spec = self._folder.spec()
        if len(trials) == spec.count and all(trial.is_finished for trial in trials):
            self._done = stamps
            return
        if not self._is_prefix_there(spec):
            return
        sampler = Sampler(spec, self._folder.journal)
        before = list(trials)
        for place, trial in enumerate(trials):
            if not trial.is_finished:
                trials[place] = self._followed(trial, trials, spec, jobs, sampler)
        if trials != before:
            self._folder.write(trials)
            if sum(one.state == "complete" for one in trials) != sum(one.state == "complete" for one in before):
                importance, note = compute_importance(spec, trials)
                if note:
                    self._folder.write_importance(importance, note)
        while len(trials) < spec.count and not self._folder.stopped.exists():
            if sum(not trial.is_finished for trial in trials) >= spec.parallel:
                return
            suggested = sampler.suggest(len(trials), {one.optuna for one in trials if one.optuna is not None})
            trials.append(Trial(number=len(trials), values=suggested.values, optuna=suggested.optuna))
            self._folder.write(trials)
            trials[-1] = self._added(trials[-1], spec, sampler)
            self._folder.write(trials)
        if len(trials) == spec.count and all(trial.is_finished for trial in trials):
            self._say(f"sweep {self._folder.name}: all {spec.count} trials have ended")

    # The prefix -------------------------------------------------------------------------------

    def _is_prefix_there(self, spec: SweepSpec) -> bool:
        """Whether the trials may begin; otherwise its job is added, or looked at."""
        if spec.prefix is None or spec.config is None or self._is_prefix_over:
            return True
        step = prefix_steps(spec.prefix, self._base(spec))
        assert step is not None
        run = self._folder.prefix_run(self._queue)
        job = next(
            (one for one in self._queue.read().jobs if one.sweep == self._folder.name and one.trial is None), None
        )
        is_there = any(info.step == step for info in list_checkpoints(run.checkpoints))
        if job is None and not is_there:
            if self._folder.stopped.exists():
                return False
            job = add_job(self._queue, self._prefix_job(spec, step, run.path))
        if is_there and job is not None and not job.is_ended:
            why = f"step {step:,} is saved: the trials continue it"
            if job.state != "running":
                # It gave way to another job meanwhile.
                self._queue.change(job.id, state="done", reason=why)
            elif job.wish is None:
                self._queue.change(job.id, wish=Wish(then="done", why=why))
        self._is_prefix_over = is_there and (job is None or job.is_ended)
        self._note_prefix(job, run, step, is_there=is_there)
        return is_there

    def _note_prefix(self, job: Job | None, run: RunDir, step: int, *, is_there: bool) -> None:
        """Write what became of the prefix; of its steps only each hundredth part."""
        states: dict[str, TrialState] = {"running": "running", "waiting": "waiting", "held": "waiting"}
        state: TrialState = "complete" if is_there else states.get(job.state, "failed") if job is not None else "asked"
        reached = step if is_there else min(step, natural((last_row(run.metrics) or {}).get("step")) or 0)
        before = self._folder.read_prefix()
        if before is not None and before.state == state and abs(reached - before.step) < max(1, step // 100):
            return
        reason = "" if job is None or state != "failed" else job.reason or f"its job is {job.state}"
        number = job.id if job is not None else None
        self._folder.write_prefix(
            Trial(number=0, values={}, state=state, job=number, run_dir=self._queue.shorten(run.path), step=reached,
                  reason=reason)
        )  # fmt: skip
        if state in ("complete", "failed"):
            self._say(f"sweep {self._folder.name}: prefix {state} at step {reached:,} of {step:,} {reason}".rstrip())

    def _prefix_job(self, spec: SweepSpec, step: int, run_dir: Path) -> NewJob:
        common = self._common(spec, run_dir)
        overrides = prefix_overrides(spec, step)
        return NewJob(config=Path(spec.config or ""), text=self._folder.base(), overrides=overrides, **common)

    def _base(self, spec: SweepSpec) -> Config:
        """What the prefix is trained with, or a trial before its values."""
        return parse_config(self._folder.base(), source=spec.config or "", overrides=spec.overrides).config

    def _common(self, spec: SweepSpec, run_dir: Path) -> dict[str, Any]:
        return {
            "name": run_dir.name,
            "runs": run_dir.parent,
            "run_dir": run_dir,
            "gpus": spec.gpus,
            "restarts": spec.restarts,
            "for_seconds": spec.for_seconds,
            "folder": self._queue.around,
            "tags": (self._folder.name,),
            "sweep": self._folder.name,
        }

    # One trial --------------------------------------------------------------------------------

    def _added(self, trial: Trial, spec: SweepSpec, sampler: Sampler) -> Trial:
        """The trial with its job in the queue, or failed if its values do not fit each other."""
        there = next((job for job in self._queue.read().jobs if self._is_of(job, trial)), None)
        try:
            job = there or add_job(self._queue, self._new_job(trial, spec))
        except QueueError:
            raise
        except ChompError as error:
            return self._ended(trial.with_(reason=str(error)), "failed", sampler)
        return trial.with_(state="waiting", job=job.id, run_dir=job.run_dir)

    def _is_of(self, job: Job, trial: Trial) -> bool:
        return job.sweep == self._folder.name and job.trial == trial.number

    def _new_job(self, trial: Trial, spec: SweepSpec) -> NewJob:
        name = f"{self._folder.name}-{trial.number:0{len(str(spec.count - 1))}d}"
        run_dir = self._queue.around / "runs" / name
        common = {**self._common(spec, run_dir), "trial": trial.number}
        overrides = overrides_of(spec, trial.values)
        if spec.prefix is None:
            return NewJob(config=Path(spec.config or ""), text=self._folder.base(), overrides=overrides, **common)
        if spec.config is None:
            checkpoint = prefix_checkpoint(self._queue, spec)
        else:
            base = self._base(spec)
            checkpoint = find_checkpoint(self._folder.prefix_run(self._queue), prefix_steps(spec.prefix, base) or 0)
            overrides = after_prefix(spec, base, trial.values)
        accept = to_accept(checkpoint.meta.get("identity") or {}, str(checkpoint.path), overrides)
        self._fork(checkpoint, run_dir)
        return NewJob(resume=str(checkpoint.step), accept=accept, overrides=overrides, **common)

    def _fork(self, checkpoint: CheckpointInfo, run_dir: Path) -> None:
        """Fork the prefix, unless that was done before an interruption."""
        origin = checkpoint.path.parent.parent
        made = read_origin(RunDir(run_dir))
        if made is None or (made.path, made.step) != (str(origin.resolve()), checkpoint.step):
            fork_run(open_run(origin), checkpoint.step, run_dir)

    def _followed(
        self, trial: Trial, trials: list[Trial], spec: SweepSpec, jobs: Mapping[int, Job], sampler: Sampler
    ) -> Trial:
        """The trial as its job is now."""
        if trial.job is None:
            return self._added(trial, spec, sampler)
        job = jobs.get(trial.job) or self._queue.read().find(trial.job)
        if job is None:
            unreadable = trial.job in {one.id for one in self._queue.read().unreadable}
            return trial if unreadable else self._ended(trial.with_(reason="its job was removed"), "failed", sampler)
        trial = trial.with_(run_dir=job.run_dir)
        curve = self._curve(trial)
        score, step = score_of(curve, spec.metric), curve[-1].step if curve else 0
        trial = trial.with_(score=score, step=step, state="running" if job.state == "running" else "waiting")
        if job.state == "done":
            return self._ended(trial.with_(reason=job.reason), _how(job, score), sampler)
        if job.state in ("failed", "stopped"):
            return self._ended(trial.with_(reason=job.reason), "failed", sampler)
        if job.state == "running" and job.wish is None and spec.prune is not None:
            reader = self._curves[trial.number]
            others = [self._curve(other) for other in trials if other.number != trial.number]
            why = why_prune(curve, others, reader.total_steps * reader.tokens_per_step, spec.prune)
            if why is not None:
                self._say(f"sweep {self._folder.name}: trial {trial.number} {why}")
                self._queue.change(job.id, wish=Wish(then="done", why=why))
        return trial

    def _curve(self, trial: Trial) -> Curve:
        if trial.run_dir is None:
            return ()
        path = self._queue.resolve(trial.run_dir)
        reader = self._curves.get(trial.number)
        if reader is None or reader.path != path:
            reader = self._curves[trial.number] = CurveReader(path)
        return reader.read()

    def _ended(self, trial: Trial, state: TrialState, sampler: Sampler) -> Trial:
        if trial.optuna is not None:
            how: Any = state
            sampler.tell(trial.optuna, trial.score, how, trial.step)
        self._say(f"sweep {self._folder.name}: trial {trial.number} {state}: {trial.reason}")
        return trial.with_(state=state)


def _how(job: Job, score: float | None) -> TrialState:
    if job.reason.startswith(_PRUNED):
        return "pruned"
    return "complete" if score is not None else "failed"
