"""What the trials of a study were worth at each rung, and who goes on there. Knows the ledger and the data's own facts.

A trial's values are written down before it is answered: a driver that is killed in between asks again and hears the
same.
"""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from jaxtyping import Float
from optuna.trial import FrozenTrial

from pipeline.evaluation.bounds import distortion_bounds
from pipeline.stages.context import Context
from pipeline.stages.prepare import prepare
from pipeline.stages.reference import reference
from sweeps.study.config import StudyConfig
from sweeps.study.hypervolume import gains
from sweeps.study.ledger import RUNGS, Ledger
from sweeps.study.objective import physical_range
from sweeps.study.stopping import Fronts


class Rungs:
    """The rungs of one study."""

    def __init__(self, ctx: Context, ledger: Ledger) -> None:
        self._ctx, self._ledger, self._config = ctx, ledger, ledger.config
        self._values = {t.number: dict(t.user_attrs.get(RUNGS, {})) for t in ledger.trials}
        """trial -> epoch -> objectives, as in the ledger."""
        self._kept: dict[str, dict[int, Fronts]] = {}
        """Rung -> n -> the fronts of trials 0 .. n there, for the latest n that were asked for."""

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
        return self._elders(rung, n - self._config.window).keep(self._gains([own[rung]])[0], eta=self._config.eta)

    def passed(self, trial: FrozenTrial) -> Mapping[str, list[float]]:
        """What a trial was worth at each rung so far, by epoch."""
        return self._values.get(trial.number, {})

    def _elders(self, rung: str, youngest: int) -> Fronts:
        """What trials 0 .. `youngest` were worth at a rung, in their fronts.

        They are over, so that their values stay. What the last two windows asked for is kept: the next asks for a bit
        more, a trial that is slow for less than one that overtook it.
        """
        kept = self._kept.setdefault(rung, {})
        if youngest not in kept:
            base = max((n for n in kept if n < youngest), default=-1)
            fronts = kept[base].copy() if base in kept else Fronts()
            self._extend(fronts, rung, range(base + 1, youngest + 1))
            kept[youngest] = fronts
            for n in [n for n in kept if n < max(kept) - 2 * self._config.window]:
                del kept[n]
            return fronts
        return kept[youngest]

    def _extend(self, fronts: Fronts, rung: str, trials: range) -> None:
        there = [m for m in trials if rung in self._values.get(m, {})]
        if there:
            for m, gains_ in zip(there, self._gains([self._values[m][rung] for m in there]), strict=True):
                fronts.add(m, gains_)

    def _gains(self, values: list[list[float]]) -> Float[np.ndarray, "N M"]:
        """What is not a number is the worst there is."""
        found = gains(np.array(values), self._ranges)
        return np.where(np.isfinite(found), found, -np.inf)


def data_ranges(ctx: Context, config: StudyConfig) -> list[tuple[float, float]]:
    """Worst and best value of each objective that mean something on the validation images: no trial is needed."""
    data = prepare(ctx)
    bounds = distortion_bounds(data, "val", config.base.model.likelihood)
    facts = {f"val/{name}": value for name, value in bounds.items()}
    if any(objective.needs_labels for objective in config.objectives):
        facts["val/judge_accuracy"] = reference(ctx, "val").judge_accuracy
    return [physical_range(objective, facts, classes=data.classes) for objective in config.objectives]
