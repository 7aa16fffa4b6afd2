"""What to try next, as a pure function of (study seed, trial number n, the results of trials 0 .. n - W).

Proposals come from a study in memory that has been told exactly those results, in order, and whose sampler is seeded
for n. So a sweep proposes the same trials with any number of workers, after any interruption, and when it is made
longer later. W is the window: up to W trials can be under way at once.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from pipeline.config.digests import derive_seed
from sweeps.study.config import StudyConfig
from sweeps.study.samplers import SAMPLERS, sobol_point
from sweeps.study.stopping import fronts
from sweeps.study.storage import quiet_optuna


class Proposals:
    """What to try next, as a pure function of the results so far."""

    def __init__(self, config: StudyConfig) -> None:
        self._config = config
        self._told = 0
        self._proposed: dict[int, dict[str, Any]] = {}
        """Params of the trials that are not told yet."""
        self._numbers: dict[int, int] = {}
        """Their numbers in the study in memory."""
        self._known: list[FrozenTrial] = []
        """What it has been told of, in order; all of it, or what it remembers."""
        self._study = self._empty()

    def _empty(self) -> optuna.Study:
        with quiet_optuna():
            return optuna.create_study(directions=self._config.directions)

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
            asked = self._study.ask(self._config.distributions)
        self._proposed[n], self._numbers[n] = asked.params, asked.number
        return asked.params

    def replay(self, n: int, params: Mapping[str, Any], results: Mapping[int, FrozenTrial]) -> None:
        """Take trial n as proposed with these params: how an earlier invocation's proposals are brought back."""
        self._advance(n, results)
        self._proposed[n] = dict(params)
        self._add_running(n)

    def _add_running(self, n: int) -> None:
        self._numbers[n] = len(self._study.get_trials(deepcopy=False))
        with quiet_optuna():
            self._study.add_trial(
                create_trial(
                    state=TrialState.RUNNING, params=self._proposed[n], distributions=self._config.distributions
                )
            )

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
        del self._proposed[number]
        with quiet_optuna():
            if result.state == TrialState.COMPLETE:
                self._study.tell(self._numbers.pop(number), result.values)
            else:
                self._study.tell(self._numbers.pop(number), state=result.state)
        self._known.append(result)
        if self._config.memory is not None and len(self._known) >= self._config.memory:
            self._forget(self._config.memory // 2)

    def _forget(self, kept: int) -> None:
        """Begin anew with so many of the trials that are over: the latest of the front, then the latest of all. A
        sampler looks at all it knows for every proposal, so that what it knows must not grow for ever."""
        complete = [i for i, trial in enumerate(self._known) if trial.state == TrialState.COMPLETE]
        places: set[int] = set()
        if complete:
            signs = [1.0 if direction == "maximize" else -1.0 for direction in self._config.directions]
            worth = np.array([self._known[i].values for i in complete]) * signs
            places = {complete[i] for i in next(fronts(worth))[-(kept // 2) :]}
        for i in reversed(range(len(self._known))):
            if len(places) == kept:
                break
            places.add(i)
        self._known = [self._known[i] for i in sorted(places)]
        self._study = self._empty()
        with quiet_optuna():
            for trial in self._known:
                self._study.add_trial(
                    create_trial(
                        state=trial.state,
                        params=trial.params,
                        distributions=self._config.distributions,
                        values=trial.values if trial.state == TrialState.COMPLETE else None,
                    )
                )
        for n in self._proposed:
            self._add_running(n)
