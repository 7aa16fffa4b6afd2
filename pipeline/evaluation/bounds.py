"""What no model changes: the entropy of a split's pixels and the cross-entropy of a decoder that ignores z."""

from functools import lru_cache

from pipeline.data.splits import PreparedData, Split
from pipeline.evaluation.reference import class_means
from pipeline.models.losses import bernoulli_bce, pixel_entropy


@lru_cache(maxsize=4)
def bce_bounds(data: PreparedData, split: str) -> dict[str, float]:
    """Pixel entropy of a split and bce of a decoder that ignores z, nats per image: facts that no model changes."""
    part = data.split(split)
    floor = float(pixel_entropy(part.as_float(slice(None)).double()).mean())
    return {"entropy_floor": floor, "label_only_bce": label_only_bce(data, part)}


def label_only_bce(data: PreparedData, part: Split) -> float:
    """BCE of the training images' class means on a split, nats per image: the best decoder that ignores z.

    Means are kept away from 0 and 1 by 1e-6, since a pixel that never lit in training may light here.
    """
    means = class_means(data.train, data.classes).double().clamp(1e-6, 1 - 1e-6)
    logits = means.logit()[part.labels]
    return float(bernoulli_bce(logits, part.as_float(slice(None)).double()).mean())
