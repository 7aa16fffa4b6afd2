"""The Pareto front of a study's trials, and the rules that name one trial of it. Knows arrays of gains; no files.

Gains are those of `sweeps.study.objective`. A rule gives each trial of a front a score; the least names its trial.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from sweeps.study.objective import Objective
from sweeps.study.stopping import fronts


def pareto_front(frame: pd.DataFrame, objectives: tuple[Objective, ...]) -> tuple[int, ...]:
    """Numbers of the complete trials that no other complete trial dominates: at least as good in all, better in one."""
    complete = frame[frame["state"] == "complete"]
    numbers = complete["number"].tolist()
    if not numbers:
        return ()
    better = complete[[o.name for o in objectives]].to_numpy(dtype=float) * [
        1 if o.maximise else -1 for o in objectives
    ]
    if len(objectives) == 1:
        return (int(numbers[int(better[:, 0].argmax())]),)
    return tuple(int(numbers[row]) for row in next(fronts(better)))


def shortfalls(gains: Float[np.ndarray, "N M"], front: Float[np.ndarray, "K M"]) -> Float[np.ndarray, "N M"]:
    """What each lacks of the best that the front has on each axis; a gain beyond 1 counts as 1.

    1 is what real images score: a sample set that covers more than real images do, or is read right more often, is not
    better for it. What is better than all of the front lacks nothing.
    """
    return (front.clip(max=1).max(0) - gains.clip(max=1)).clip(min=0)


def distances(gains: Float[np.ndarray, "N M"], front: Float[np.ndarray, "K M"]) -> Float[np.ndarray, " N"]:
    """Of each to the front's own best on each axis: what was shown to be possible, though not all at once."""
    return np.linalg.norm(shortfalls(gains, front), axis=1)


def to_own_best(front: Float[np.ndarray, "N M"]) -> Float[np.ndarray, " N"]:
    return distances(front, front)


def to_ideal(front: Float[np.ndarray, "N M"]) -> Float[np.ndarray, " N"]:
    """Distance to a gain of 1 on each axis.

    No model reaches it: an axis on which all are far from it (neg_elbo, whose best is the entropy of the pixels) then
    outweighs those on which all are near.
    """
    return np.linalg.norm(1 - front, axis=1)


def less_product(front: Float[np.ndarray, "N M"]) -> Float[np.ndarray, " N"]:
    """Minus the product of the gains: the bargain of Nash (1950), whatever the unit of an axis."""
    return -front.clip(min=0).prod(1)


Rule = Callable[[Float[np.ndarray, "N M"]], Float[np.ndarray, " N"]]

RULES: dict[str, Rule] = {
    "nearest to the front's own best": to_own_best,
    "nearest to the ideal": to_ideal,
    "largest product of gains": less_product,
}
"""The first one chooses; a report says what the others would name."""


def least(numbers: Sequence[int], scores: Float[np.ndarray, " N"]) -> int:
    """The trial of the least score; of equal ones the first by number."""
    return min(zip(scores.tolist(), numbers, strict=True))[1]
