"""A finished run as a model of lm-evaluation-harness, which is imported with this module (extra `evals`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from chomp.errors import DataError
from chomp.generate.load import TrainedModel
from chomp.generate.sampling import Continuation, SamplingOptions
from chomp.step.answer_step import make_answer_step
from chomp.tasks.encoded import Answer, first_id, plan_rows
from chomp.tasks.scoring import score_answers

MOST_NEW_TOKENS = 256
"""Of a generation whose task does not say; what the harness's own models take."""


class ChompModel(TemplateLM):
    """Log-likelihoods of continuations and of whole texts, and greedy or sampled generation, on one device.

    Args:
        trained: a model with its tokenizer and configuration.
        max_tokens: of a context and its continuation; a longer context loses its beginning. None: `train.seq_len`.
    """

    def __init__(self, trained: TrainedModel, max_tokens: int | None = None):
        super().__init__()
        train = trained.config.train
        self._trained = trained
        self._most = max_tokens or trained.config.evaluation.task_max_tokens or train.seq_len
        self._batch_tokens = train.batch_size * train.seq_len

    @property
    def eot_token_id(self) -> int:
        """The id before a text without a context."""
        found = first_id(self._trained.tokenizer)
        if found is None:
            raise DataError("the tokenizer has no begin or end id, which the harness puts before texts without context")
        return found

    @property
    def tokenizer_name(self) -> str:
        """What the harness files its cached requests under."""
        return self._trained.tokenizer.digest()

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """The ids of a text, with the begin id that the run's documents have unless it is not wanted."""
        tokenizer = self._trained.tokenizer
        encode = tokenizer.encode if add_special_tokens is False else tokenizer.encode_prompt
        return [int(number) for number in encode(string)]

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        answers = [self._answer(context, continuation) for _, context, continuation in requests]
        if not answers:
            return []
        rows = plan_rows(answers, self._batch_tokens, self._trained.tokenizer.pad_id)
        step = make_answer_step(self._trained.model_def, rows.lengths)
        found = score_answers(self._trained.params, step, answers, rows)
        return [(float(one), bool(greedy)) for one, greedy in zip(found.logprobs, found.is_greedy, strict=True)]

    def _answer(self, context: list[int], continuation: list[int]) -> Answer:
        before = context or [self.eot_token_id]
        if not 0 < len(continuation) < self._most:
            raise DataError(
                f"a continuation has {len(continuation):,} tokens, and a row {self._most:,} with at least one of the "
                "context; score it with a larger evaluation.task_max_tokens"
            )
        kept = before[-(self._most - len(continuation)) :]
        return Answer(np.asarray([*kept, *continuation], np.int32), len(kept), 0)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of whole texts, each token with as many before it as a row has room for."""
        answers, owners = [], []
        for number, request in enumerate(requests):
            ids = self.tok_encode(request.args[0], add_special_tokens=False)
            windows = get_rolling_token_windows(ids, self.eot_token_id, self._most - 1, 1)
            for context, continuation in map(make_disjoint_window, windows):
                answers.append((("", ""), context, continuation))
                owners.append(number)
        totals = [0.0] * len(requests)
        for owner, (logprob, _) in zip(owners, self._loglikelihood_tokens(answers), strict=True):
            totals[owner] += logprob
        return totals

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Continue contexts until a stop text; greedily unless a task asks for a temperature."""
        return [self._generate(*request.args) for request in requests]

    def _generate(self, context: str, options: dict[str, Any]) -> str:
        until = options.get("until") or []
        stop = tuple(text for text in ([until] if isinstance(until, str) else until) if text)
        new = int(options.get("max_gen_toks", MOST_NEW_TOKENS))
        temperature = float(options.get("temperature", 0.0)) if options.get("do_sample") else 0.0
        ids = self.tok_encode(context)[-max(1, self._most - new) :] or [self.eot_token_id]
        trained = self._trained
        drawn = SamplingOptions(new, temperature, options.get("top_k"), options.get("top_p"), stop)
        model = trained.model_def.combine(trained.params)
        return "".join(Continuation(model, trained.tokenizer, ids, drawn, seed=trained.config.train.seed))
