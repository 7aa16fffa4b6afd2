"""A score of one or more samples, taken class by class. Knows labels, not what the score measures."""

from collections.abc import Callable

from jaxtyping import Float, Int
from torch import Tensor

Labelled = tuple[Float[Tensor, "N ..."], Int[Tensor, " N"]]
"""Images or features with their labels."""


def per_class(score: Callable[..., float], *samples: Labelled, classes: int) -> list[float]:
    """score(class c of each sample) for c = 0 .. classes - 1; every class must occur in every sample.

    Taken per class because a pooled score does not see a model that draws good digits under wrong labels. Its plain
    mean is the class-conditional score (intra-FID in Miyato & Koyama 2018).
    """
    return [score(*(values[labels == c] for values, labels in samples)) for c in range(classes)]
