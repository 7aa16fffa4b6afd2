"""Statistics of one quantity over several runs: spread over seeds, intervals, slopes, ranks. Knows numbers, no runs."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

LEVEL = 0.95
"""Of every interval."""


def mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation; one value has deviation 0."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """Student's t-interval of the mean; without end for one value, which has no spread."""
    middle, n = mean(values), len(values)
    if n < 2:
        return -float("inf"), float("inf")
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * deviation(values) / n**0.5
    return middle - half, middle + half


def slope(x: Sequence[float], y: Sequence[float], *, log: bool) -> float:
    """Least-squares slope of y over x, or over log x."""
    xs = np.log(np.asarray(x, float)) if log else np.asarray(x, float)
    ys = np.asarray(y, float)
    centred = xs - xs.mean()
    # Less its first value, so that rounding gives a constant no slope: without spread over seeds it would be a verdict.
    return float(centred @ (ys - ys[0]) / (centred @ centred))


def slopes(x: Sequence[float], y: Sequence[float], seeds: Sequence[int], *, log: bool) -> list[float]:
    """The slope within each seed, in order of seed."""
    xs, ys, own = np.asarray(x, float), np.asarray(y, float), np.asarray(seeds)
    return [slope(xs[own == seed], ys[own == seed], log=log) for seed in np.unique(own)]


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Spearman's coefficient and its two-sided p-value; (0, 1) where one of the two does not vary."""
    if len(set(x)) < 2 or len(set(y)) < 2:
        return 0.0, 1.0
    found = stats.spearmanr(x, y)
    return float(found.statistic), float(found.pvalue)
