"""What may happen between two steps: evaluation, samples, saves."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from chomp.checkpoint.items import to_items
from chomp.config import Config
from chomp.generate.sampling import Written, encode_prompt, write
from chomp.record.codec import jsonable
from chomp.record.events import Evaluated, Phase, PhaseName, Sampled, Warned
from chomp.train.control import interruptibly
from chomp.train.evaluate import evaluate
from chomp.train.sample import build_prompts, sampling_options
from chomp.train.session import checkpoint_meta
from chomp.train.trainer import Trainer


class Boundary:
    """The jobs of a step boundary, in their order: evaluate, publish the row, sample, save.

    Saving comes last, so that a checkpoint knows its evaluation loss. A job cut short by a
    stop is noted in the checkpoint as owed and done first by the attempt that resumes.

    Attributes:
        between: the phase that a job goes back to when it is done: `train`, or `paused`.
    """

    def __init__(self, trainer: Trainer):
        self.between: PhaseName = "train"
        self.trainer = trainer
        self.session = trainer.session
        self.config = trainer.config
        self.prompts = build_prompts(self.config, self.session.data, self.session.tokenizer)
        self._samples_of = _samples_of(self.config)
        self._byte_lengths = self.session.tokenizer.byte_lengths()
        self._last_save = time.monotonic()

    def begin(self) -> None:
        """Do what the restored checkpoint's attempt was stopped in the middle of; the clock of saves starts here."""
        self._last_save = time.monotonic()
        self._run([job for job in ("eval", "sample") if job in self.trainer.progress.owed])

    def run_due(self) -> None:
        """Do what the step just dispatched calls for."""
        step = self.trainer.dispatched
        due = []
        save = self._is_save_due(step)
        if self.trainer.is_eval_step(step):
            due.append("eval")
        # Without its evaluation loss yet, which only `save` can count in.
        if self.trainer.is_sample_step(step) or self._is_sampled_when_saved(step, due=save):
            due.append("sample")
        if not due and not save:
            return
        self.trainer.catch_up()
        self._run(due)
        if save:
            self.save(wait=not self.config.checkpoint.async_save)

    def run_last(self) -> None:
        """Do at an end that came before `train.steps` what the last step would have done."""
        self.trainer.catch_up()
        self.trainer.end_here()
        train, progress = self.config.train, self.trainer.progress
        jobs = []
        if train.eval_every > 0 and self.session.data.has_eval and progress.eval_step != progress.step:
            jobs.append("eval")
        samples = train.generate_every > 0 or (self._samples_of != "none" and self._can_save())
        if samples and progress.sample_step != progress.step:
            jobs.append("sample")
        self._run(jobs)

    def _run(self, jobs: list[str]) -> None:
        actions: dict[str, Callable[[], Any]] = {"eval": self.evaluate, "sample": self.sample}
        self.trainer.progress.owed = list(jobs)
        for job in jobs:
            if job != "eval":
                self.trainer.publish_row()
            self.session.switch.check()
            actions[job]()
            self.trainer.progress.owed.remove(job)
        self.trainer.publish_row()

    def _is_save_due(self, step: int) -> bool:
        options = self.config.checkpoint
        if not self._can_save():
            return False
        by_step = any(every > 0 and step % every == 0 for every in (options.save_every, options.keep_every))
        # A checkpoint can only be among the best if it was evaluated, so every evaluated step is saved.
        by_step |= options.keep_best > 0 and self.trainer.is_eval_step(step)
        by_clock = options.save_every_seconds > 0 and time.monotonic() - self._last_save >= options.save_every_seconds
        return by_step or by_clock

    def _is_sampled_when_saved(self, step: int, *, due: bool, eval_loss: float | None = None) -> bool:
        """Whether samples belong to the checkpoint of `step`, which is saved now if `due`; the last one always is."""
        if self._samples_of == "none" or not self._can_save():
            return False
        if step == self.config.train.steps:
            return True
        return due and (self._samples_of == "all" or self.session.store.will_stay(step, eval_loss))

    def evaluate(self) -> str:
        """Score the held-out text; returns a sentence for whoever asked.

        Raises:
            StopRequestedError: a stop was asked for; nothing is reported.
        """
        trainer, session = self.trainer, self.session
        if not session.data.has_eval:
            return "there is no held-out text to evaluate on"
        step = trainer.progress.step
        session.reporter.publish(Phase(name="eval", step=step))
        with session.budget.measure("eval"):
            result = evaluate(
                trainer.state.params,
                self._eval_step,
                session.data.eval_batches(),
                self._byte_lengths,
                isolate=self.config.data.isolate_documents,
                check_stop=session.switch.check,
            )
        progress = trainer.progress
        progress.eval_step, progress.eval_loss, progress.eval_bpb = step, result.loss, result.bpb
        session.reporter.publish(
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
        if trainer.waiting_row is not None and trainer.waiting_row["step"] == step:
            trainer.waiting_row |= {"eval_loss": result.loss} | (
                {"eval_bpb": result.bpb} if result.bpb is not None else {}
            )
        self._go_on(step)
        return f"evaluated at step {step}: loss {result.loss:.4f}"

    def _eval_step(self, params: Any, rows: Any) -> Any:
        """One batch; its first call compiles, which may take longer than somebody who asked for a stop will wait."""
        return interruptibly(lambda: self.session.eval_step(params, rows), self.session.switch.check)

    def sample(self, prompt: str | None = None) -> str:
        """Write samples from the run's prompts, or from `prompt`; returns a sentence for whoever asked."""
        trainer, session = self.trainer, self.session
        step = trainer.progress.step
        prompts = self.prompts.ids if prompt is None else (encode_prompt(session.tokenizer, prompt),)
        model = session.model_def.combine(trainer.state.params)
        session.reporter.publish(Phase(name="sample", step=step))
        with session.budget.measure("sample"):
            for number, ids in enumerate(prompts):
                started = time.monotonic()
                written = self._write(model, ids, number)
                session.reporter.publish(
                    Sampled(
                        step=step,
                        prompt=written.prompt,
                        text=written.text,
                        tokens=written.tokens,
                        seconds=round(time.monotonic() - started, 3),
                    )
                )
        if prompt is None:
            trainer.progress.sample_step = step
        self._go_on(step)
        return f"wrote {len(prompts)} sample{'s' * (len(prompts) != 1)} at step {step}"

    def _write(self, model: Any, ids: tuple[int, ...], number: int) -> Written:
        options, seed = sampling_options(self.config), self.config.train.seed + number
        check = self.session.switch.check
        return interruptibly(lambda: write(model, self.session.tokenizer, ids, options, seed=seed), check)

    def save(self, *, wait: bool) -> str:
        """Save the state of the last completed step; returns a sentence for whoever asked."""
        step = self.trainer.progress.step
        if not self.config.checkpoint.enabled:
            return "checkpoint.enabled is false: nothing is saved"
        self._sample_what_is_saved(step)
        if not self._save(step, wait=wait):
            return f"step {step} is already saved"
        self._go_on(step)
        return f"saving step {step}"

    def _sample_what_is_saved(self, step: int) -> None:
        """Write the samples that belong to the checkpoint of `step`, if there are none yet."""
        progress = self.trainer.progress
        if self._samples_of == "none" or progress.sample_step == step:
            return
        with self.session.budget.measure("save"):
            # One still being written counts among the best, too.
            self.session.store.wait()
        loss = progress.eval_loss if progress.eval_step == step else None
        if not self.session.store.has(step) and self._is_sampled_when_saved(step, due=True, eval_loss=loss):
            self._run(["sample"])

    def _save(self, step: int, *, wait: bool) -> bool:
        """Save the state, which is that of `step`; False if it is saved already."""
        trainer, session = self.trainer, self.session
        with session.budget.measure("save"):
            session.store.wait()
        if session.store.has(step):
            return False
        session.reporter.publish(Phase(name="save", step=step))
        with session.budget.measure("save"):
            meta = checkpoint_meta(session, step, trainer.progress)
            meta["owed_row"] = jsonable(trainer.waiting_row) if "eval" in trainer.progress.owed else None
            session.store.save(step, to_items(trainer.state), trainer.position, meta, wait=wait)
        self._last_save = time.monotonic()
        return True

    def save_if_possible(self) -> None:
        """Save before leaving, unless nothing changed, saving is off or a failed step took the arrays with it."""
        if self._can_save() and self.trainer.is_settled():
            self._save(self.trainer.progress.step, wait=True)
        # A save that began earlier is worth waiting for in any case.
        self.session.store.wait()

    def publish_last_row(self) -> None:
        """Hand out the row that waits for an evaluation, unless the attempt that resumes will hand it out evaluated."""
        if not ("eval" in self.trainer.progress.owed and self._can_save()):
            self.trainer.publish_row()

    def _can_save(self) -> bool:
        return self.config.checkpoint.enabled and not self.session.request.dry_run

    def report_failed_save(self) -> None:
        """Tell of a save that failed since the last call; the state is still here, and the next save tries again."""
        failure = self.session.store.take_failure()
        if failure is not None:
            self.session.reporter.publish(
                Warned(
                    topic="checkpoint",
                    step=failure.step,
                    message=f"step {failure.step} could not be saved ({failure.reason}); "
                    "training goes on and the next save tries again",
                )
            )

    def _go_on(self, step: int) -> None:
        self.session.reporter.publish(Phase(name=self.between, step=step))


def _samples_of(config: Config) -> str:
    """Which checkpoints are sampled: "none", "kept" or "all" of them."""
    chosen = config.train.generate_for_checkpoints
    if chosen != "auto":
        return chosen
    return "kept" if config.train.generate_every > 0 else "none"
