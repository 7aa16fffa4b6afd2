"""Which trial of a front is the study's choice, and which others it cannot be told from. Knows arrays; no files.

    named on the trials' own values ──> re-trained over seeds: its spread is the noise ──> candidates: the front's
    trials within that noise, at most three, re-trained too ──> chosen on their means

Every re-training is scored on validation images, by every judge that the study is brought to its end with: a judge is
an instrument, and what one of them alone would choose is said beside the choice. Where a re-training is still missing,
the choice is the trial named first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float

from sweeps.analysis.front import RULES, distances, least, shortfalls
from sweeps.study.closing import Preference
from sweeps.study.hypervolume import gains
from sweeps.study.objective import Objective

MOST = 3
"""Candidates, the trial named first included: each costs as many trainings as there are final seeds."""

WITHIN = 2.0
"""Standard deviations of a difference between two trainings within which trials cannot be told apart."""


@dataclass(frozen=True)
class Front:
    """The trials of a front as the rules see them."""

    numbers: tuple[int, ...]
    values: Float[np.ndarray, "N M"]
    """Objective values, a row per trial."""
    objectives: tuple[Objective, ...]
    ranges: tuple[tuple[float, float], ...]
    """Physical (worst, best) of each objective."""
    preferences: tuple[Preference, ...] = ()
    known: Float[np.ndarray, "N M"] | None = None
    """What the trials are known to be worth by now, of which the front's own best is taken; by default their values."""

    def gains(self, values: Float[np.ndarray, "K M"]) -> Float[np.ndarray, "K M"]:
        return gains(values, self.ranges)

    @property
    def preferred(self) -> bool:
        """Whether the preferences decide: there are some, and a trial of the front meets them all."""
        return bool(self.preferences) and bool(self.meets(self.values).any())

    @property
    def likelihood(self) -> int | None:
        """The column of the objective in nats; None where the study has none."""
        return next((i for i, o in enumerate(self.objectives) if o.unit == "nats"), None)

    def meets(self, values: Float[np.ndarray, "K M"]) -> Bool[np.ndarray, " K"]:
        """Which of these keep all bounds."""
        column = {o.name: i for i, o in enumerate(self.objectives)}
        kept = np.ones(len(values), dtype=bool)
        for preference in self.preferences:
            kept &= np.array([preference.met(value) for value in values[:, column[preference.objective]]], dtype=bool)
        return kept

    @property
    def best_of(self) -> Float[np.ndarray, "N M"]:
        """Gains that the front's own best is taken of."""
        return self.gains(self.values if self.known is None else self.known)

    def with_means(self, numbers: Sequence[int], means: Float[np.ndarray, "K M"]) -> "Front":
        """The same front, of which these trials are known by their means over re-trainings: one value was luck, too."""
        known = self.values.copy()
        known[[self.numbers.index(n) for n in numbers]] = means
        return replace(self, known=known)

    def distances(self, values: Float[np.ndarray, "K M"]) -> Float[np.ndarray, " K"]:
        """To the front's own best, each axis on its physical range."""
        return distances(self.gains(values), self.best_of)

    def scores(self, values: Float[np.ndarray, "K M"]) -> Float[np.ndarray, " K"]:
        """What the choice is least in, whether or not bounds are kept: the distance; with preferences the shortfall in
        likelihood, as a share of its range."""
        if not self.preferred or self.likelihood is None:
            return self.distances(values)
        return shortfalls(self.gains(values), self.best_of)[:, self.likelihood]

    def pick(self, numbers: Sequence[int], values: Float[np.ndarray, "K M"]) -> int:
        """The trial to choose among these: of those that keep all bounds, where any does, that of the least score."""
        meets = self.meets(values)
        return least(numbers, np.where(meets, self.scores(values), np.inf) if meets.any() else self.distances(values))

    def named(self) -> dict[str, int]:
        """What each rule names on the trials' own values, preferences apart."""
        own = self.gains(self.values)
        return {name: least(self.numbers, rule(own)) for name, rule in RULES.items()}


@dataclass(frozen=True)
class Choice:
    """The chosen trial, and how it came to be chosen."""

    trial: int
    first: int
    """The trial named on the trials' own values, of one training each."""
    candidates: tuple[int, ...] = ()
    """The first and those that noise cannot tell from it, nearest first; none where noise is not measured."""
    noise: float = float("nan")
    """Standard deviation of the first's score over training seeds."""
    scores: dict[int, float] = field(default_factory=dict)
    """Of the candidates' means over seeds and judges; empty until all are re-trained."""
    by_judge: tuple[int, ...] = ()
    """What each judge alone would choose among the candidates, on its means over seeds; none until there are scores."""

    @property
    def settled(self) -> bool:
        """Whether nothing is left to re-train on validation."""
        return len(self.scores) == len(self.candidates)


Retrained = Callable[[int], "Float[np.ndarray, 'J S M'] | None"]
"""Objective values of a trial's configuration by each judge over the final seeds; None while one of them is missing."""


def choose(front: Front, retrained: Retrained, *, seeds: int) -> Choice:
    """The choice, as far as the re-trainings that are there can tell.

    A spread takes two seeds, and a choice two trials: otherwise the trial named on its own value is the choice.
    """
    first = front.pick(front.numbers, front.values)
    if seeds < 2 or len(front.numbers) < 2:
        return Choice(first, first)
    own = retrained(first)
    if own is None:
        return Choice(first, first, (first,))
    noise = float(front.scores(own.mean(0)).std(ddof=1))
    candidates = within_noise(front, first, noise)
    over_seeds = {n: values for n in candidates if (values := retrained(n)) is not None}
    if len(over_seeds) < len(candidates):
        return Choice(first, first, candidates, noise)
    read = np.stack([over_seeds[n].mean(1) for n in candidates], axis=1)  # judges x candidates x objectives
    means = read.mean(0)
    now = front.with_means(candidates, means)
    scores = dict(zip(candidates, now.scores(means).tolist(), strict=True))
    by_judge = tuple(front.with_means(candidates, one).pick(candidates, one) for one in read)
    return Choice(now.pick(candidates, means), first, candidates, noise, scores, by_judge)


def within_noise(front: Front, first: int, noise: float) -> tuple[int, ...]:
    """`first`, then those that may replace it and whose score is no more than the noise of a difference worse.

    Each score is of one training, so that the deviation of a difference of two is sqrt(2) times that of one.
    """
    scores = front.scores(front.values)
    leads = scores[front.numbers.index(first)]
    allowed = front.meets(front.values) if front.preferred else np.full(len(scores), True)
    near = allowed & (scores - leads <= WITHIN * 2**0.5 * noise)
    others = sorted((s, n) for s, n, keep in zip(scores.tolist(), front.numbers, near, strict=True) if keep)
    return (first, *(n for _, n in others if n != first))[:MOST]
