"""What a gain in one objective costs in nats, on the physical ranges and on the front around a trial. Knows arrays."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sweeps.analysis.choice import Front
from sweeps.study.objective import Objective

STEP, FINE_STEP = 0.1, 0.01
"""Of the objective that is exchanged: a tenth of all there is to coverage; one image in a hundred."""


@dataclass(frozen=True)
class Offer:
    """A trial of the front that has more, or less, of an objective than the choice."""

    trial: int
    nats: float
    """That a step of the objective is worth, at this trial's price."""


@dataclass(frozen=True)
class Exchange:
    """What a step of an objective is worth in nats."""

    objective: Objective
    step: float
    by_range: float
    """On the physical ranges: the share of its range that a step is, of the range of the objective in nats."""
    more: Offer | None
    """The cheapest way on the front to have more of it; None where no trial sells any for nats."""
    less: Offer | None
    """What the front pays best for having less of it; None where no trial pays in nats."""

    @property
    def prices(self) -> dict[str, float]:
        """In nats, by where they were read: range, more, less."""
        offers = {"more": self.more, "less": self.less}
        return {"range": self.by_range, **{way: offer.nats for way, offer in offers.items() if offer}}


def exchanges(front: Front, trial: int) -> tuple[Exchange, ...]:
    """The prices of every other objective in nats, around a trial of the front; none without an objective in nats.

    What lies beyond the value of real images is worth nothing, as in the choice.
    """
    nats = front.likelihood
    if nats is None:
        return ()
    capped = front.gains(front.values).clip(max=1)
    apart = capped - capped[front.numbers.index(trial)]  # (N, M)
    return tuple(_exchange(front, apart, axis, nats) for axis in range(len(front.objectives)) if axis != nats)


def _exchange(front: Front, apart: Float[np.ndarray, "N M"], axis: int, nats: int) -> Exchange:
    """Of one objective; `apart` are gains less those of the choice."""
    step = FINE_STEP if "accuracy" in front.objectives[axis].name else STEP
    share, span = step / _span(front, axis), _span(front, nats)

    def offers(better: int, worse: int) -> list[Offer]:
        """Only trials that are better in the one and worse in the other tell a price."""
        sellers = np.flatnonzero((apart[:, better] > 0) & (apart[:, worse] < 0))
        prices = np.abs(apart[sellers, nats] / apart[sellers, axis]) * share * span
        return [Offer(front.numbers[k], float(price)) for k, price in zip(sellers, prices, strict=True)]

    return Exchange(
        front.objectives[axis],
        step,
        share * span,
        more=min(offers(axis, nats), key=lambda o: (o.nats, o.trial), default=None),
        less=max(offers(nats, axis), key=lambda o: (o.nats, -o.trial), default=None),
    )


def _span(front: Front, axis: int) -> float:
    worst, best = front.ranges[axis]
    return abs(best - worst)
