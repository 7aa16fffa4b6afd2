"""Statistics of one quantity over several runs: spread over seeds, intervals, shapes, ranks. Knows numbers, no runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np
from jaxtyping import Float

LEVEL = 0.95
"""Of every interval."""
FEWEST_SEEDS = 3
"""Below which there is no interval over seeds: two values tell next to nothing of their spread."""
EXACT = 10
"""Pairs below which a rank correlation is held against all orders there are, not against its limit."""

Values = Sequence[float]


def mean(values: Values) -> float:
    return float(np.mean(values))


def deviation(values: Values) -> float:
    """Sample standard deviation; of one value there is none: nan."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def t_interval(values: Values, *, share: bool = False) -> tuple[float, float]:
    """Student's t-interval of the mean; without end for fewer than FEWEST_SEEDS values.

    Of a share the interval is that of arcsin sqrt(y), whose spread does not depend on y (Bartlett 1936), turned back:
    it stays inside [0, 1] and is longer on the side of 1/2.
    """
    if len(values) < FEWEST_SEEDS:
        return -math.inf, math.inf
    from scipy import stats  # here and below: it loads for a second, and most of what reads this needs none of it

    y = _stabilised(values) if share else np.asarray(values, float)
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(y) - 1)) * deviation(y.tolist()) / len(y) ** 0.5
    return _ends(float(y.mean()), half, share)


def crossed_interval(table: Float[np.ndarray, "S J"], *, share: bool = False) -> tuple[float, float]:
    """Interval of the mean over training seeds *and* judges, both drawn at random, from every pair of the two.

    The variance of the mean of a two-way layout, (MS_seeds + MS_judges - MS_rest) / (S J), with the degrees of freedom
    of Satterthwaite (1946); never less than what seeds alone, or judges alone, would give. One judge: `t_interval`.
    """
    seeds, judges = table.shape
    if judges == 1:
        return t_interval(table[:, 0].tolist(), share=share)
    if min(seeds, judges) < FEWEST_SEEDS:
        return -math.inf, math.inf
    from scipy import stats

    y = _stabilised(table) if share else table
    middle = y.mean()
    rows, columns = y.mean(1) - middle, y.mean(0) - middle
    rest = y - middle - rows[:, None] - columns
    by_seed = judges * float(rows @ rows) / (seeds - 1)
    by_judge = seeds * float(columns @ columns) / (judges - 1)
    by_both = float((rest**2).sum()) / ((seeds - 1) * (judges - 1))
    squares = max(by_seed + by_judge - by_both, by_seed, by_judge)
    if squares == 0:
        return _ends(float(middle), 0.0, share)
    parts = by_seed**2 / (seeds - 1) + by_judge**2 / (judges - 1)
    freedom = max(squares**2 / parts if parts else math.inf, min(seeds, judges) - 1.0)
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(squares / (seeds * judges))
    return _ends(float(middle), half, share)


def _stabilised(values: Values | np.ndarray) -> np.ndarray:
    return np.arcsin(np.sqrt(np.asarray(values, float)))


def _ends(middle: float, half: float, share: bool) -> tuple[float, float]:
    if not share:
        return middle - half, middle + half
    low, high = max(middle - half, 0.0), min(middle + half, math.pi / 2)
    return math.sin(low) ** 2, math.sin(high) ** 2


def rank_correlation(x: Values, y: Values) -> tuple[float, float]:
    """Spearman's coefficient and its two-sided p-value; (0, 1) where one of the two does not vary.

    Below EXACT pairs the p-value is the share of all orders of y with a coefficient at least as far from 0; its limit
    would call four trials in perfect order decided, which one order of twelve is.
    """
    if len(set(x)) < 2 or len(set(y)) < 2:
        return 0.0, 1.0
    from scipy import stats

    found = stats.spearmanr(x, y)
    if len(x) >= EXACT:
        return float(found.statistic), float(found.pvalue)
    a, b = stats.rankdata(x), stats.rankdata(y)
    orders = _of_all_orders(tuple(sorted(a)), tuple(sorted(b)))
    return float(found.statistic), float(np.mean(orders >= abs(a @ b - len(a) * a.mean() * b.mean()) - 1e-9))


@lru_cache
def _of_all_orders(a: tuple[float, ...], b: tuple[float, ...]) -> Float[np.ndarray, " P"]:
    """How far sum a b is from its mean, for every order of b."""
    orders = np.array(list(permutations(b)))
    return np.abs(orders @ np.array(a) - len(a) * np.mean(a) * np.mean(b))


def holm(p_values: Values) -> list[float]:
    """p-values of several questions asked at once, so that any false answer among them has the level (Holm 1979)."""
    adjusted, least = [0.0] * len(p_values), 0.0
    for asked_before, i in enumerate(np.argsort(p_values, kind="stable")):
        least = max(least, min(1.0, (len(p_values) - asked_before) * float(p_values[i])))
        adjusted[int(i)] = least
    return adjusted


@dataclass(frozen=True)
class Step:
    """The difference of a quantity between two values of a setting."""

    before: int
    after: int
    """Indices of the values."""
    mean: float
    low: float
    high: float
    """Of all differences of all quantities asked about at once."""

    @property
    def direction(self) -> int:
        """1 or -1 where it is certain; 0."""
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


def all_steps(table: Float[np.ndarray, "S V"], *, questions: int = 1) -> list[Step]:
    """The differences between all pairs of values, from S seeds of each, with intervals that hold for all at once.

    Welch's t for each pair, all pairs of all `questions` quantities sharing the level (Tamhane 1979, T2, here by
    Bonferroni): each value has a spread of its own, since small and large settings are noisier than others. No interval
    below FEWEST_SEEDS seeds.
    """
    from scipy import stats

    seeds, values = table.shape
    level = 1 - (1 - LEVEL) / (values * (values - 1) * questions)  # both sides of each pair
    means, parts = table.mean(0), table.var(0, ddof=1) / seeds if seeds > 1 else np.zeros(values)
    found = []
    for i in range(values):
        for j in range(i + 1, values):
            change = float(means[j] - means[i])
            half = math.inf
            if seeds >= FEWEST_SEEDS:
                both = float(parts[i] + parts[j])
                # Two values without any spread differ for certain, or are one; a float's rounding is no difference.
                half = 1e-12 * float(np.abs(means[[i, j]]).max())
                if both > 0:
                    freedom = both**2 * (seeds - 1) / float(parts[i] ** 2 + parts[j] ** 2)
                    half += float(stats.t.ppf(level, freedom)) * math.sqrt(both)
            found.append(Step(i, j, change, change - half, change + half))
    return found


@dataclass(frozen=True)
class Shape:
    """What a quantity does over the values of a setting."""

    verdict: str
    """rises, falls, rises then falls, falls then rises, turns more than once, flat, undecided."""
    turn: tuple[int, int] | None = None
    """Where it turns: the first and last index among the values that are not certainly beside the peak, or trough."""
    within: float = math.inf
    """No two values are further apart than this, for certain."""


def shape(steps: Sequence[Step], means: Values, *, flat: float) -> Shape:
    """The shape that the certain ones of all differences make; `flat` is the largest that does not matter.

    A line through a hump says "rises" or "falls" of what does both; here a rise is a shape without a certain fall.
    """
    within = max(max(abs(s.low), abs(s.high)) for s in steps)
    ups, downs = ([s for s in steps if s.direction == sign] for sign in (1, -1))
    if not ups and not downs:
        return Shape("flat" if within <= flat else "undecided", within=within)
    if not downs or not ups:
        return Shape("rises" if ups else "falls", within=within)
    peaks, troughs = (
        any(first.after <= then.before for first in a for then in b) for a, b in ((ups, downs), (downs, ups))
    )
    if peaks == troughs:  # both; or neither, where ups and downs overlap without meeting
        return Shape("turns more than once", within=within)
    sign = 1 if peaks else -1
    best = int(np.argmax(sign * np.asarray(means)))
    beside = {s.before if s.after == best else s.after for s in steps if best in (s.before, s.after) and s.direction}
    level = [i for i in range(len(means)) if i not in beside]
    return Shape("rises then falls" if peaks else "falls then rises", (level[0], level[-1]), within)
