"""What no model changes: the least distortion of a split, and that of a decoder that ignores z; by likelihood."""

from functools import lru_cache

import torch

from pipeline.data.splits import PreparedData, Split
from pipeline.evaluation.catalog import of_likelihood
from pipeline.evaluation.reference import class_means
from pipeline.models.likelihoods import BERNOULLI, Likelihood, likelihood_of

BATCH = 2000
"""Images taken into float64 at once."""


@lru_cache(maxsize=8)
def distortion_bounds(data: PreparedData, split: str, likelihood: str = "bernoulli") -> dict[str, float]:
    """The floor of a split's distortion and the distortion of a decoder that ignores z, nats per image, under the names
    that the likelihood has for them: facts that no model changes."""
    part, own = data.split(split), likelihood_of(likelihood)
    floor = float(torch.cat([own.floor(x.double()) for x, _ in part.batches(BATCH)]).mean())
    bounds = {"entropy_floor": floor, "label_only_bce": label_only(data, part, own)}
    return {of_likelihood(name, likelihood): value for name, value in bounds.items()}


@torch.no_grad()
def label_only(data: PreparedData, part: Split, likelihood: Likelihood = BERNOULLI) -> float:
    """Distortion of the training images' class means on a split, nats per image: the best decoder that ignores z.

    Means are kept away from 0 and 1 by 1e-6, since a pixel that never lit in training may light here. A sigma is the
    deviation of training images from the mean of their class.
    """
    means = class_means(data.train, data.classes).double().clamp(1e-6, 1 - 1e-6)
    best, logits = likelihood.of_means(means, spread_around(data.train, means))
    return float(torch.cat([best.nll(logits[y], x.double()) for x, y in part.batches(BATCH)]).mean())


def spread_around(part: Split, means: torch.Tensor) -> float:
    """Root of the mean square of what pixels are off the mean image of their class."""
    squares = sum(float((x.double() - means[y]).square().sum()) for x, y in part.batches(BATCH))
    return float((squares / (len(part) * part.pixels)) ** 0.5)
