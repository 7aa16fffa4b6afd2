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
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from jaxtyping import Bool, Float, Int

from sweeps.study.hypervolume import hypervolume


def goes_on(own: Float[np.ndarray, " M"], elders: Float[np.ndarray, "N M"], *, eta: int) -> bool:
    """Whether a trial with gains `own` at a rung is in the best 1/eta, rounded up, of its elders and itself.

    `elders` are in order of trial number; gains are 0 at the worst value that means something and 1 at the best. Fewer
    than eta values, its own included, say nothing yet: it goes on.
    """
    return Fronts.of(elders.reshape(-1, len(own))).keep(own, eta=eta)


def fronts(gains: Float[np.ndarray, "N M"]) -> Iterator[Int[np.ndarray, " F"]]:
    """Positions of the first front, then of the second, which is the first of what is left, .. (Goldberg 1989).

    One value dominates another if it is at least as good in every objective and better in one.
    """
    return Fronts.of(gains).positions()


@dataclass
class Fronts:
    """Points in their fronts. One more is put in its place without sorting the others anew: what it beats, and what
    that beats, moves down. So a trial at a rung costs a few comparisons with whole fronts, however many elders it has.
    """

    _fronts: list[tuple[Int[np.ndarray, " F"], Float[np.ndarray, "F M"]]] = field(default_factory=list)
    """Positions and gains of the members of each; never changed, only replaced."""
    size: int = 0

    @staticmethod
    def of(gains: Float[np.ndarray, "N M"]) -> "Fronts":
        """These points. Taken from the best in the first objective on, none moves down another."""
        made = Fronts()
        for position in np.lexsort(-gains.T[::-1]):
            made.add(int(position), gains[position])
        return made

    def copy(self) -> "Fronts":
        return Fronts(list(self._fronts), self.size)

    def add(self, position: int, point: Float[np.ndarray, " M"]) -> None:
        """One point more, by its position in an order that ties are broken by."""
        self.size += 1
        level, moving = self._level(point), (np.array([position]), point[None])
        while level < len(self._fronts):
            positions, members = self._fronts[level]
            beaten = np.logical_or.reduce([_beats(mover, members) for mover in moving[1]])
            self._fronts[level] = (
                np.append(positions[~beaten], moving[0]),
                np.vstack([members[~beaten], moving[1]]),
            )
            if not beaten.any():
                return
            level, moving = level + 1, (positions[beaten], members[beaten])
        self._fronts.append(moving)

    def _level(self, point: Float[np.ndarray, " M"]) -> int:
        """The front that a point belongs to: the first without a member that beats it. Whoever is beaten by a member of
        one front is beaten by one of each before it, so that halving finds it."""
        low, high = 0, len(self._fronts)
        while low < high:
            middle = (low + high) // 2
            members = self._fronts[middle][1]
            if ((members >= point).all(1) & (members > point).any(1)).any():
                low = middle + 1
            else:
                high = middle
        return low

    def positions(self) -> Iterator[Int[np.ndarray, " F"]]:
        """The positions in each front, ascending."""
        return (np.sort(positions) for positions, _ in self._fronts)

    def keep(self, own: Float[np.ndarray, " M"], *, eta: int) -> bool:
        """Whether one that is younger than all of these is among the best 1/eta, rounded up, of them and itself."""
        count = self.size + 1
        if count < eta:
            return True
        level, places = self._level(own), math.ceil(count / eta)
        places -= sum(len(positions) for positions, _ in self._fronts[:level])
        if places <= 0:
            return False
        front = own[None]
        if level < len(self._fronts):
            positions, members = self._fronts[level]
            order = positions.argsort()
            front = np.vstack([members[order][~_beats(own, members[order])], own])
        return len(front) <= places or len(front) - 1 in islice(greedy_order(front), places)


def _beats(point: Float[np.ndarray, " M"], members: Float[np.ndarray, "F M"]) -> Bool[np.ndarray, " F"]:
    """Which members a point dominates."""
    beaten: Bool[np.ndarray, " F"] = np.logical_and(np.all(point >= members, 1), np.any(point > members, 1))
    return beaten


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
