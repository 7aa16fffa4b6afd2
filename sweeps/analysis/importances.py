"""How much of an objective each setting explains, and how much it would seem to explain of noise."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import optuna
import pandas as pd
from optuna.trial import FrozenTrial

from sweeps.study.config import StudyConfig
from sweeps.study.storage import quiet_optuna

TREES = 10
"""Of the forest: as good as Optuna's 64 for shares of two digits, and it is grown once for each order of the values."""
ORDERS = 19
"""Orders of the values that make noise of them: a share above all 19 is that by chance once in 20 objectives."""
MOST_TRIALS = 1000
"""Trials that the shares are found on, at most, evenly over the study: more make a forest slower, no share clearer."""
MOST_SHUFFLED = 60
"""Trials that the shares of noise are found on, at most; they hardly depend on how many there are."""


@dataclass(frozen=True)
class Importance:
    """What the settings explain of one objective."""

    shares: dict[str, float]
    """Setting -> share of the objective's variance explained, 0 .. 1, by fANOVA (Hutter et al. 2014)."""
    noise: float
    """The largest share of any setting where the objective has been shuffled over the trials: the forest explains noise
    by whatever setting happens to split it. What is not above it is nothing."""


def importances(complete: pd.DataFrame, config: StudyConfig) -> dict[str, Importance]:
    """Of every objective that varies, by name."""
    found: dict[str, Importance] = {}
    if len(complete) > MOST_TRIALS:
        complete = complete.iloc[np.linspace(0, len(complete) - 1, MOST_TRIALS).round().astype(int)]
    shuffled = complete.head(MOST_SHUFFLED)
    for objective in config.objectives:
        if complete[objective.name].nunique() < 2:
            continue  # nothing varies, so nothing is explained
        rng = np.random.default_rng(0)
        shares = _shares(complete, complete[objective.name].to_numpy(dtype=float), config)
        values = shuffled[objective.name].to_numpy(dtype=float)
        noise = [max(_shares(shuffled, rng.permutation(values), config).values()) for _ in range(ORDERS)]
        found[objective.name] = Importance(shares, max(noise))
    return found


def _shares(trials: pd.DataFrame, values: np.ndarray, config: StudyConfig) -> dict[str, float]:
    with quiet_optuna():
        study = optuna.create_study(direction="minimize")
    for (_, row), value in zip(trials.iterrows(), values, strict=True):
        params = {d.name: d.typed(row[d.name]) for d in config.space}
        trial = optuna.trial.create_trial(params=params, distributions=config.distributions, values=[float(value)])
        study.add_trial(trial)
    shares = optuna.importance.get_param_importances(
        study,
        evaluator=optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, seed=0),
        target=partial(_value_at, 0),
        params=[d.name for d in config.space],
    )
    return {name: float(share) for name, share in shares.items()}


def _value_at(index: int, trial: FrozenTrial) -> float:
    return trial.values[index]
