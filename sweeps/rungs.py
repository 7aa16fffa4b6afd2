"""What the trials of a study were worth at each rung, and who goes on there. Knows the ledger and the data's own facts.

A trial's values are written down before it is answered: a driver that is killed in between asks again and hears the
same.
"""

import math
from collections.abc import Mapping
from functools import cached_property

import numpy as np
from jaxtyping import Float
from optuna.trial import FrozenTrial

from pipeline.evaluation.bounds import bce_bounds
from pipeline.stages.context import Context
from pipeline.stages.prepare import prepare
from pipeline.stages.reference import reference
from sweeps.study.config import StudyConfig
from sweeps.study.ledger import RUNGS, Ledger
from sweeps.study.objective import physical_range
from sweeps.study.stopping import goes_on


class Rungs:
    """The rungs of one study."""

    def __init__(self, ctx: Context, ledger: Ledger) -> None:
        self._ctx, self._ledger, self._config = ctx, ledger, ledger.config
        self._values = {t.number: dict(t.user_attrs.get(RUNGS, {})) for t in ledger.trials}
        """trial -> epoch -> objectives, as in the ledger."""

    @cached_property
    def _ranges(self) -> list[tuple[float, float]]:
        return data_ranges(self._ctx, self._config)

    def goes_on(self, trial: FrozenTrial, epoch: int, values: Mapping[str, float]) -> bool:
        """Write down what a trial is worth at a rung; whether it goes on among the trials a window before it."""
        n, rung = trial.number, str(epoch)
        own = self._values.setdefault(n, {})
        if rung not in own:
            own[rung] = [values[o.name] for o in self._config.objectives]
            self._ledger.note(trial, **{RUNGS: own})
        elders = [m for m in range(n - self._config.window + 1) if rung in self._values.get(m, {})]
        gains = [self._gains(self._values[m][rung]) for m in elders]
        return goes_on(self._gains(own[rung]), np.array(gains), eta=self._config.eta)

    def _gains(self, values: list[float]) -> Float[np.ndarray, " M"]:
        """0 at the worst value that means something, 1 at the best; what is not a number is the worst there is."""
        shares = [(v - worst) / (best - worst) for v, (worst, best) in zip(values, self._ranges, strict=True)]
        return np.array([share if math.isfinite(share) else -math.inf for share in shares])


def data_ranges(ctx: Context, config: StudyConfig) -> list[tuple[float, float]]:
    """Worst and best value of each objective that mean something on the validation images: no trial is needed."""
    data = prepare(ctx)
    facts = {f"val/{name}": value for name, value in bce_bounds(data, "val").items()}
    if any(objective.needs_labels for objective in config.objectives):
        facts["val/judge_accuracy"] = reference(ctx, "val").judge_accuracy
    return [physical_range(objective, facts, classes=data.classes) for objective in config.objectives]
