"""How much of an objective each setting explains."""

from functools import partial

import optuna
import pandas as pd
from optuna.trial import FrozenTrial

from sweeps.study.config import StudyConfig
from sweeps.study.storage import quiet_optuna


def importances(complete: pd.DataFrame, config: StudyConfig) -> dict[str, dict[str, float]]:
    """objective -> setting -> share of its variance explained, by fANOVA (Hutter et al. 2014)."""
    with quiet_optuna():
        study = optuna.create_study(directions=config.directions)
    names = [d.name for d in config.space]
    for _, row in complete.iterrows():
        params = {d.name: d.typed(row[d.name]) for d in config.space}
        values = [float(row[o.name]) for o in config.objectives]
        study.add_trial(optuna.trial.create_trial(params=params, distributions=config.distributions, values=values))
    found: dict[str, dict[str, float]] = {}
    for i, objective in enumerate(config.objectives):
        if complete[objective.name].nunique() < 2:
            continue  # nothing varies, so nothing is explained
        shares = optuna.importance.get_param_importances(
            study,
            evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0),
            target=partial(_value_at, i),
            params=names,
        )
        found[objective.name] = {name: float(share) for name, share in shares.items()}
    return found


def _value_at(index: int, trial: FrozenTrial) -> float:
    return trial.values[index]
