"""Which trials are trained to the end: successive halving over the Pareto front. Knows numbers; no trials, no models.

After a few epochs, at a *rung*, a trial goes on if it is among the best 1/eta of those it is compared with (Jamieson &
Talwalkar 2016, here one trial at a time as in Li et al. 2020, "A system for massively parallel hyperparameter tuning").
Two things are ours. Several objectives: values are ranked by front, within a front by the order in which a greedy
maximiser of hypervolume takes them, then by trial number. And trial n is compared with trials 0 .. n - W alone, which
are over before it is proposed, so that it stops or goes on whoever else is under way: no timing enters.
"""

import heapq
import math
from collections.abc import Iterator
from itertools import islice

import numpy as np
from jaxtyping import Bool, Float, Int

from sweeps.study.hypervolume import hypervolume

RUNGS = 2
"""How many rungs there are where nobody says which is the first: at 1/eta^2 and 1/eta of the epochs."""


def rung_epochs(epochs: int, *, eta: int, first: int | None = None) -> tuple[int, ...]:
    """The epochs after which trials of `epochs` epochs are compared: `first`, then eta times as many each; none at the
    end, where they are over. A rung that would come before the first epoch is left out."""
    exact = epochs / eta**RUNGS if first is None else float(first)
    found: list[int] = []
    while round(exact) < epochs:
        if round(exact) > 0:
            found.append(round(exact))
        exact *= eta
    return tuple(dict.fromkeys(found))


def goes_on(own: Float[np.ndarray, " M"], elders: Float[np.ndarray, "N M"], *, eta: int) -> bool:
    """Whether a trial with gains `own` at a rung is in the best 1/eta, rounded up, of its elders and itself.

    `elders` are in order of trial number; gains are 0 at the worst value that means something and 1 at the best. Fewer
    than eta values, its own included, say nothing yet: it goes on.
    """
    gains = np.vstack([elders.reshape(-1, len(own)), own])  # the youngest is the last
    youngest, places = len(gains) - 1, math.ceil(len(gains) / eta)
    if len(gains) < eta:
        return True
    for front in fronts(gains):
        if youngest in front:
            return len(front) <= places or youngest in front[list(islice(greedy_order(gains[front]), places))]
        places -= len(front)
        if places <= 0:
            return False
    raise AssertionError("every value is on a front")


def fronts(gains: Float[np.ndarray, "N M"]) -> Iterator[Int[np.ndarray, " F"]]:
    """Positions of the first front, then of the second, which is the first of what is left, .. (Goldberg 1989).

    One value dominates another if it is at least as good in every objective and better in one.
    """
    at_least, better = gains[:, None] >= gains, gains[:, None] > gains  # (N, N, M): a row against a column
    beats: Bool[np.ndarray, "N N"] = np.logical_and(np.all(at_least, 2), np.any(better, 2))
    dominators, left = beats.sum(0), np.ones(len(gains), dtype=bool)
    while left.any():
        front = np.flatnonzero(left & (dominators == 0))
        yield front
        left[front] = False
        dominators = dominators - beats[front].sum(0)


def greedy_order(gains: Float[np.ndarray, "N M"]) -> Iterator[int]:
    """Positions in the order in which a greedy maximiser of hypervolume takes them; of equals the earlier first.

    What a point adds only shrinks as others are taken, so what it added before is a bound on what it adds now, and most
    points need no second look (Minoux 1978).
    """
    taken, volume = gains[:0], 0.0
    bounds = [(-math.inf, position) for position in range(len(gains))]  # (- what it adds at most, position): a heap
    while bounds:
        _, position = heapq.heappop(bounds)
        grown = np.vstack([taken, gains[position]])
        entry = (volume - hypervolume(grown), position)
        if bounds and entry > bounds[0]:
            heapq.heappush(bounds, entry)
        else:
            taken, volume = grown, hypervolume(grown)
            yield position
