"""What no model changes: the entropy of a split's pixels and the cross-entropy of a decoder that ignores z."""

from functools import lru_cache

import torch

from pipeline.data.splits import PreparedData, Split
from pipeline.evaluation.reference import class_means
from pipeline.models.losses import bernoulli_bce, pixel_entropy

BATCH = 2000
"""Images taken into float64 at once."""


@lru_cache(maxsize=4)
def bce_bounds(data: PreparedData, split: str) -> dict[str, float]:
    """Pixel entropy of a split and bce of a decoder that ignores z, nats per image: facts that no model changes."""
    part = data.split(split)
    entropies = torch.cat([pixel_entropy(x.double()) for x, _ in part.batches(BATCH)])
    return {"entropy_floor": float(entropies.mean()), "label_only_bce": label_only_bce(data, part)}


def label_only_bce(data: PreparedData, part: Split) -> float:
    """BCE of the training images' class means on a split, nats per image: the best decoder that ignores z.

    Means are kept away from 0 and 1 by 1e-6, since a pixel that never lit in training may light here.
    """
    logits = class_means(data.train, data.classes).double().clamp(1e-6, 1 - 1e-6).logit()
    return float(torch.cat([bernoulli_bce(logits[y], x.double()) for x, y in part.batches(BATCH)]).mean())
