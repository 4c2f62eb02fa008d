"""Samples while training."""

from __future__ import annotations

import time
from typing import Any

from chomp.config import Config
from chomp.config.derive import prompt_tokens, sample_tokens
from chomp.data.pipeline import DataPipeline
from chomp.data.tokenizers import Tokenizer
from chomp.errors import ConfigError
from chomp.generate.sampling import SamplingOptions, Written, encode_prompt, write
from chomp.record.commands import Command
from chomp.record.events import Sampled
from chomp.train.control import StopRequestedError, leave_together, run_interruptible
from chomp.train.hooks.base import Hook
from chomp.train.hooks.save_plan import SavePlan
from chomp.train.session import Session
from chomp.train.trainer import Trainer

Prompt = tuple[int, ...]


class SampleHook(Hook):
    """Writes samples every `train.generate_every` steps, for checkpoints as `plan` says, and on `sample`."""

    command = job = "sample"

    def __init__(self, session: Session, plan: SavePlan):
        self._session = session
        self._plan = plan
        self._prompts = build_prompts(session.config, session.data, session.tokenizer)
        self.every = session.config.train.generate_every

    def is_due(self, step: int, last: int) -> bool:
        # A save that is due has no evaluation loss yet; the save itself asks again with it.
        return super().is_due(step, last) or self._plan.is_sampled(step, due=self._plan.is_due(step))

    def is_due_at_end(self, trainer: Trainer) -> bool:
        for_checkpoint = self._plan.samples_of != "none" and self._session.saves
        return (self.every > 0 or for_checkpoint) and trainer.progress.sample_step != trainer.progress.step

    def on_step(self, trainer: Trainer) -> None:
        self._sample(trainer, self._prompts)
        trainer.progress.sample_step = trainer.progress.step

    def on_command(self, trainer: Trainer, command: Command) -> str:
        text = command.args.get("prompt")
        if text is None:
            self.on_step(trainer)
            count = len(self._prompts)
        else:
            _require_text(text)
            self._sample(trainer, (encode_prompt(self._session.tokenizer, text),))
            count = 1
        return f"wrote {count} sample{'s' * (count != 1)} at step {trainer.progress.step}"

    def _sample(self, trainer: Trainer, prompts: tuple[Prompt, ...]) -> None:
        """Write samples, of several processes in the leader alone.

        Raises:
            StopRequestedError: in all processes.
        """
        session = self._session
        placement, model_def = session.blueprint.placement, session.model_def
        model = model_def.combine(placement.gathered(trainer.state.params, model_def.gathered_dtype))
        failure: Exception | None = None
        with trainer.phase("sample"):
            if session.world.is_leader:
                try:
                    self._write_all(trainer, model, prompts)
                except Exception as error:  # noqa: BLE001 - raised where the others know of it
                    failure = error
            leave_together(session.world, session.switch, failure if isinstance(failure, StopRequestedError) else None)
            if failure is not None:
                raise failure

    def _write_all(self, trainer: Trainer, model: Any, prompts: tuple[Prompt, ...]) -> None:
        for number, ids in enumerate(prompts):
            started = time.monotonic()
            written = self._write(model, ids, number)
            self._session.processes.beacon.marks += 1
            self._session.reporter.publish(
                Sampled(
                    step=trainer.progress.step,
                    prompt=written.prompt,
                    text=written.text,
                    tokens=written.tokens,
                    seconds=round(time.monotonic() - started, 3),
                )
            )

    def _write(self, model: Any, ids: Prompt, number: int) -> Written:
        config, tokenizer = self._session.config, self._session.tokenizer
        options, seed = sampling_options(config), config.train.seed + number
        return run_interruptible(lambda: write(model, tokenizer, ids, options, seed=seed), self._session.switch.check)


def build_prompts(config: Config, data: DataPipeline, tokenizer: Tokenizer) -> tuple[Prompt, ...]:
    """The configured prompts, or the beginning of a held-out document; the same at every step, to be compared."""
    if config.train.generate_prompts:
        return tuple(encode_prompt(tokenizer, text) for text in config.train.generate_prompts)
    length = prompt_tokens(config)
    for text in data.iter_heldout_texts():
        # A few characters per token are enough to cut from; the whole document may be large.
        ids = tuple(int(i) for i in tokenizer.encode_prompt(text[: length * 16])[:length])
        if len(ids) > tokenizer.add_bos:
            return (ids,)
    return ((tokenizer.bos_id if tokenizer.bos_id is not None else 0,),)


def sampling_options(config: Config) -> SamplingOptions:
    """How samples are drawn during training."""
    train = config.train
    return SamplingOptions(
        max_new_tokens=sample_tokens(config),
        temperature=train.generate_temperature,
        top_k=train.generate_top_k,
        top_p=train.generate_top_p,
    )


def _require_text(prompt: Any) -> None:
    if not isinstance(prompt, str) or any("\ud800" <= char <= "\udfff" for char in prompt):
        raise ConfigError(f"the prompt must be text, got {str(prompt)[:40]!a}")
