"""How much each setting of a sweep matters.

The runner computes it, and the console and `chomp sweep show` read it: to import Optuna takes a second.
"""

from __future__ import annotations

from collections.abc import Sequence

from chomp.sweep.folder import Trial
from chomp.sweep.sampler import HOW_TO_INSTALL, distributions, load_optuna
from chomp.sweep.spec import SweepError, SweepSpec

# Below it, PED-ANOVA says more about chance than about settings.
LEAST_TRIALS = 10
# The share of best trials that it explains, and of how many trials at least.
BEST_SHARE, LEAST_BEST = 0.1, 5


def compute_importance(spec: SweepSpec, trials: Sequence[Trial]) -> tuple[dict[str, float], str]:
    """By setting, how much it decides about the best trials (Watanabe et al. 2023, PED-ANOVA), and how or why not.

    Of too few trials both are empty.
    """
    complete = [trial for trial in trials if trial.state == "complete" and trial.score is not None]
    if len(complete) < LEAST_TRIALS:
        return {}, ""
    try:
        optuna = load_optuna()
    except SweepError:
        return {}, f"not computed: {HOW_TO_INSTALL}"
    wanted = distributions(optuna, spec.space)
    if spec.method == "grid":
        # A grid has values, and no density between them.
        wanted = {key: optuna.distributions.CategoricalDistribution(axis.grid()) for key, axis in spec.space.items()}
    study = optuna.create_study(direction="minimize")
    study.add_trials(
        [optuna.create_trial(params=one.values, distributions=wanted, value=one.score) for one in complete]
    )
    share = max(BEST_SHARE, min(0.5, LEAST_BEST / len(complete)))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=share)
    found: dict[str, float] = optuna.importance.get_param_importances(study, evaluator=evaluator)
    words = f"PED-ANOVA: how much each setting decides whether a trial is among the best {share:.0%}"
    return {key: float(value) for key, value in found.items()}, f"{words} of {len(complete)} complete trials"
