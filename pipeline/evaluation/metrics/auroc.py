"""Area under the ROC curve, with an interval that stays inside [0, 1]. Knows scores, not what gave them."""

import torch
from jaxtyping import Float
from torch import Tensor


def auroc(negative: Float[Tensor, " N"], positive: Float[Tensor, " M"]) -> float:
    """P(a positive scores above a negative), ties by half (Mann & Whitney 1947); 0 .. 1, .5 is chance."""
    order = negative.double().sort().values
    below = torch.searchsorted(order, positive.double(), right=False)
    up_to = torch.searchsorted(order, positive.double(), right=True)
    return float((below + up_to).double().mean()) / (2 * len(negative))


def auroc_interval(area: float, negatives: int, positives: int, *, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of an area over the images of both kinds: the areas A with |area - A| <= z sd(A), for the variance
    of Hanley & McNeil (1982) at A with both sizes at their mean (Newcombe 2006, method 5).

    Like Wilson's interval of a rate it has a width at 0 and 1. It knows the images only, not the spread over trainings.
    """

    def misses(true: float) -> float:
        mean_size = (negatives + positives) / 2
        spread = 1 + (mean_size - 1) * ((1 - true) / (2 - true) + true / (1 + true))
        return abs(area - true) - z * (true * (1 - true) * spread / (negatives * positives)) ** 0.5

    def edge(outside: float) -> float:
        """Between `outside`, which the interval does not hold, and the area itself, which it does."""
        inside = area
        if misses(outside) <= 0:
            return outside
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if misses(middle) <= 0 else (inside, middle)
        return inside

    return (0.0 if area == 0 else edge(0.0)), (1.0 if area == 1 else edge(1.0))
