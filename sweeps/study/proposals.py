"""What to try next, as a pure function of (study seed, trial number n, the results of trials 0 .. n - W).

Proposals come from a study in memory that has been told exactly those results, in order, and whose sampler is seeded
for n. So a sweep proposes the same trials with any number of workers, after any interruption, and when it is made
longer later. W is the window: up to W trials can be under way at once.
"""

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from pipeline.config.digests import derive_seed
from sweeps.study.config import StudyConfig
from sweeps.study.samplers import SAMPLERS, sobol_point
from sweeps.study.storage import quiet_optuna


class Proposals:
    """What to try next, as a pure function of the results so far."""

    def __init__(self, config: StudyConfig) -> None:
        self._config = config
        with quiet_optuna():
            self._study = optuna.create_study(directions=config.directions)
        self._told = 0

    def propose(self, n: int, results: Mapping[int, FrozenTrial]) -> dict[str, Any] | None:
        """The params of trial n, or None while one of trials 0 .. n - W has no result. For n = 0, 1, 2, .. in turn."""
        if not self._advance(n, results):
            return None
        sampler = SAMPLERS[self._config.sampler]
        with quiet_optuna():
            if n < sampler.start:
                seed = derive_seed("sobol", self._config.seed)
                self._study.enqueue_trial(dict(sobol_point(self._config.space, n, seed=seed)))
            self._study.sampler = sampler.build(derive_seed("proposal", self._config.seed, n))
            return self._study.ask(self._config.distributions).params

    def replay(self, n: int, params: Mapping[str, Any], results: Mapping[int, FrozenTrial]) -> None:
        """Take trial n as proposed with these params: how an earlier invocation's proposals are brought back."""
        self._advance(n, results)
        with quiet_optuna():
            self._study.enqueue_trial(dict(params))
            self._study.ask(self._config.distributions)

    def _advance(self, n: int, results: Mapping[int, FrozenTrial]) -> bool:
        """Tell the results of exactly trials 0 .. n - W; False if one of them is missing."""
        while self._told <= n - self._config.window:
            result = results.get(self._told)
            if result is None:
                return False
            self._tell(self._told, result)
            self._told += 1
        return True

    def _tell(self, number: int, result: FrozenTrial) -> None:
        with quiet_optuna():
            if result.state == TrialState.COMPLETE:
                self._study.tell(number, result.values)
            else:
                self._study.tell(number, state=result.state)
