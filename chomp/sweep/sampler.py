"""Values of the next trial: a point of the grid, or what a sampler of Optuna suggests.

Optuna's journal is the memory of its samplers. A sampler is made anew for each trial, with a seed that follows from the
trial's number: a sweep that was interrupted suggests what it would have suggested.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from chomp.sweep.spec import Axis, SweepError, SweepSpec, Value

if TYPE_CHECKING:
    import optuna

STUDY = "sweep"
HOW_TO_INSTALL = "install Optuna with: pip install 'chomp[sweep]'"


def load_optuna() -> Any:
    """The `optuna` module, which logs nothing by itself.

    Raises:
        SweepError: the extra is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise SweepError(f"the method needs Optuna; {HOW_TO_INSTALL}, or use method: grid") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@dataclass(frozen=True)
class Suggestion:
    """Values for a trial, and its number in Optuna's journal."""

    values: dict[str, Value]
    optuna: int | None = None


class Sampler:
    """Suggests values and learns what became of them.

    Args:
        journal: file of Optuna's journal.

    Raises:
        SweepError: the method needs Optuna, which is not installed.
    """

    def __init__(self, spec: SweepSpec, journal: Path):
        self._spec = spec
        self._journal = journal
        self._optuna = None if spec.method == "grid" else load_optuna()

    def suggest(self, number: int, known: set[int]) -> Suggestion:
        """Values of trial `number`.

        Args:
            known: numbers of Optuna's trials that belong to a trial already. One that does not was suggested before an
                interruption: it is used, or given up if it is not complete.
        """
        if self._optuna is None:
            return Suggestion(self._spec.grid_point(number))
        study = self._study(number)
        wanted = distributions(self._optuna, self._spec.space)
        for trial in study.get_trials(deepcopy=False, states=(self._optuna.trial.TrialState.RUNNING,)):
            if trial.number in known:
                continue
            if trial.params.keys() == wanted.keys():
                return Suggestion(dict(trial.params), trial.number)
            study.tell(trial.number, state=self._optuna.trial.TrialState.FAIL)
        asked = study.ask(wanted)
        return Suggestion(dict(asked.params), asked.number)

    def tell(self, number: int, score: float | None, how: Literal["complete", "pruned", "failed"], step: int) -> None:
        """Tell Optuna what became of its trial `number`; once told, it stays."""
        if self._optuna is None:
            return
        states = self._optuna.trial.TrialState
        state = {"complete": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}[how]
        if score is None:
            state = states.FAIL
        study = self._study(0)
        if state == states.PRUNED and score is not None:
            # A pruned trial has the value that was reported last. There is no `Trial` of one that was asked for by a
            # process of earlier.
            storage = self._storage()
            trial = storage.get_trial_id_from_study_id_trial_number(storage.get_study_id_from_name(STUDY), number)
            if not storage.get_trial(trial).state.is_finished():
                storage.set_trial_intermediate_value(trial, step, score)
        study.tell(number, score if state == states.COMPLETE else None, state=state, skip_if_finished=True)

    def _storage(self) -> optuna.storages.BaseStorage:
        assert self._optuna is not None
        backend = self._optuna.storages.journal.JournalFileBackend(str(self._journal))
        return self._optuna.storages.JournalStorage(backend)

    def _study(self, number: int) -> optuna.Study:
        optuna = self._optuna
        assert optuna is not None
        seed = self._spec.seed + number
        samplers = {
            "random": lambda: optuna.samplers.RandomSampler(seed=seed),
            # Parallel trials count as bad ones until they are told, so that they spread.
            "tpe": lambda: optuna.samplers.TPESampler(seed=seed, constant_liar=True),
        }
        return optuna.create_study(
            storage=self._storage(),
            sampler=samplers[self._spec.method](),
            study_name=STUDY,
            direction="minimize",
            load_if_exists=True,
        )


def distributions(optuna: Any, space: Mapping[str, Axis]) -> dict[str, Any]:
    """The space in Optuna's words."""
    kinds = optuna.distributions
    found: dict[str, Any] = {}
    for key, axis in space.items():
        if axis.choice is not None:
            found[key] = kinds.CategoricalDistribution(axis.choice)
        elif axis.whole is not None:
            found[key] = kinds.IntDistribution(*axis.whole, step=axis.step)
        elif axis.log is not None:
            found[key] = kinds.FloatDistribution(*axis.log, log=True)
        else:
            assert axis.linear is not None
            found[key] = kinds.FloatDistribution(*axis.linear)
    return found
