"""How much of the space of objectives a set of points dominates, exactly. Knows arrays of gains; no studies.

A gain is 0 at the worst value that means something and 1 at the best, so that the volume is a share of the unit box,
or a little more where a value passes its ideal.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def hypervolume(gains: Float[np.ndarray, "N M"]) -> float:
    """Volume of the union of the boxes from 0 to each point; a point with a gain of 0 or less adds nothing.

    By slices along the last objective (Zitzler & Thiele 1999); O(N^(M - 1) log N), which is nothing for the few
    dozen points of a front in two or three objectives.
    """
    gains = gains[(gains > 0).all(1)]
    if not len(gains):
        return 0.0
    if gains.shape[1] == 1:
        return float(gains.max())
    gains = gains[(-gains[:, -1]).argsort(kind="stable")]
    depths = -np.diff(gains[:, -1], append=0.0)
    if gains.shape[1] == 2:
        return float((depths * np.maximum.accumulate(gains[:, 0])).sum())
    return sum(
        float(depth) * hypervolume(gains[:count, :-1]) for count, depth in enumerate(depths, start=1) if depth > 0
    )


def hypervolume_history(gains: Float[np.ndarray, "N M"]) -> list[float]:
    """The hypervolume of the first 1, 2, .. N points: it never falls.

    A point adds its own box less what of it is dominated already: of a large front a few neighbours decide that.
    """
    front, volumes = gains[:0], [0.0]
    for point in gains:
        added = 0.0
        if not (front >= point).all(1).any():
            added = hypervolume(point[None]) - hypervolume(_outermost(np.minimum(front, point)))
            front = np.vstack([front[~(front <= point).all(1)], point])
        volumes.append(volumes[-1] + max(0.0, added))
    return volumes[1:]


def _outermost(points: Float[np.ndarray, "N M"]) -> Float[np.ndarray, "K M"]:
    """Those of the points that dominate all others, each once."""
    kept = points[:0]
    while len(points):
        best = points[points.sum(1).argmax()]
        kept = np.vstack([kept, best])
        points = points[(points > best).any(1)]
    return kept


def gains(values: Float[np.ndarray, "N M"], ranges: Sequence[tuple[float, float]]) -> Float[np.ndarray, "N M"]:
    """Objective values on the ranges (worst, best) of their axes: 0 is the worst value that means something, 1 the
    best."""
    worst, best = np.array(ranges, dtype=float).T
    return (values - worst) / (best - worst)
