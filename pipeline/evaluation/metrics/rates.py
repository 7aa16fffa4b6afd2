"""Shares of images, with their intervals. Knows predictions and labels; not the judge that predicted them.

Three more scores are these functions on other inputs. The ceiling of conditional accuracy: the judge's predictions of
real test images. Swap accuracy: encode (x, a), decode with b, pass b as the labels. The classification accuracy score
(Ravuri & Vinyals 2019): a classifier trained on generated images, its predictions of real test images.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


def wilson_interval(hits: int, n: int, *, z: float = 1.959964) -> tuple[float, float]:
    """Score interval of a rate hits / n, both ends in [0, 1] (Wilson 1927); n of 1 or more, z = 1.959964 gives 95 %.

    Unlike the normal interval it stays inside [0, 1] and has a width at 0 and n hits. It knows the sampled images only,
    not the spread over trainings.
    """
    rate = hits / n
    scale = 1 + z**2 / n
    centre = (rate + z**2 / (2 * n)) / scale
    half = z / scale * math.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    # The ends are exactly 0 and 1 at no hits and all hits; rounding would leave them at 1e-17 beside.
    return (0.0 if hits == 0 else centre - half), (1.0 if hits == n else centre + half)


@dataclass(frozen=True)
class ConditionalAccuracy:
    """How often the judge reads the class that was asked for."""

    macro: float
    """Mean over classes of `per_class`; 1 / K is chance, the judge's own accuracy on real images is the ceiling."""
    per_class: list[float]
    """Share of the images of each class that are read as it, 0 .. 1."""
    worst_class: float
    """The least of `per_class`."""
    worst_label: int
    """The class it belongs to; the first of them in a tie."""
    interval: tuple[float, float]
    """Wilson 95 % interval of the share over all images, which is `macro` where classes are of one size."""
    intervals_per_class: list[tuple[float, float]]
    """Wilson 95 % interval of each class."""
    confusion: list[list[int]]
    """Counts: row = class asked for, column = class read."""


def conditional_accuracy(
    predicted: Int[Tensor, " N"], labels: Int[Tensor, " N"], *, classes: int
) -> ConditionalAccuracy:
    """Share of generated images that a judge reads as the class they were drawn for (GAN-test, Shmelkov et al. 2018).

    A rate, 0 .. 1, up is better. Every class must occur among the labels. Blind to collapse (one perfect image per
    class scores 1): never show it without coverage.
    """
    confusion = torch.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes).cpu()
    hits, totals = confusion.diagonal().tolist(), confusion.sum(1).tolist()
    rates = [h / n for h, n in zip(hits, totals, strict=True)]
    worst_label = min(range(classes), key=rates.__getitem__)
    return ConditionalAccuracy(
        macro=sum(rates) / classes,
        per_class=rates,
        worst_class=rates[worst_label],
        worst_label=worst_label,
        interval=wilson_interval(sum(hits), sum(totals)),
        intervals_per_class=[wilson_interval(h, n) for h, n in zip(hits, totals, strict=True)],
        confusion=confusion.tolist(),
    )


def expected_calibration_error(logits: Float[Tensor, "N K"], labels: Int[Tensor, " N"], *, bins: int = 15) -> float:
    """Mean gap between a classifier's confidence and its accuracy, 0 .. 1, down is better (Guo et al. 2017, eq. 3).

    Confidence is the largest softmax probability; bins are of equal width, (a, b], weighted by the images in them.
    """
    confidence, predicted = logits.double().softmax(-1).max(-1)
    correct = (predicted == labels).double()
    bin_of = (confidence * bins).ceil().long().clamp(1, bins) - 1  # (N,)
    gap = torch.zeros(bins, dtype=torch.float64, device=logits.device).index_add_(0, bin_of, confidence - correct)
    return gap.abs().sum().item() / len(labels)
