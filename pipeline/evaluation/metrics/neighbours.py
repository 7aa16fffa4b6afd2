"""Scores from k-nearest-neighbour balls in a feature space. Knows features, not where they come from.

Distances come from a float64 matrix product, rounded to float32. The plain differences of `torch.cdist` are as exact
but four to ten times slower on a CPU in 1,568 dimensions. Its float32 matrix product is fast but loses digits: the
distance of an image to its copy comes out as 1e-3, and one pair, met in two blocks of different shape, gets two
distances, so that a strict < between them is a coin toss. Here a copy is at distance exactly 0, and the rounding to
float32 makes two computations of one distance equal. All is done in blocks of rows: memory grows with N + M, not N * M.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.evaluation.metrics.per_class import Labelled

PART = 10_000
"""Points taken into float64 at once: 60 MB of 28 x 28 images."""
BLOCK = 2**22
"""Distances held at once: 32 MB of float64."""
SAME_POINT = 1e-12
"""Squared distance, relative to the squared norms, below which two float32 points are one: what float64 sums leave."""


def distance_blocks(a: Float[Tensor, "N F"], b: Float[Tensor, "M F"]) -> Iterator[Float[Tensor, "R M"]]:
    """Euclidean distances from a to b, R rows of a at a time, in order; float32, exactly 0 between copies."""
    b = b.double()
    b_norms = b.square().sum(1)
    for rows in a.split(max(1, BLOCK // len(b))):
        rows = rows.double()
        norms = rows.square().sum(1)[:, None] + b_norms
        squared = torch.addmm(norms, rows, b.T, alpha=-2)  # (R, M)
        yield squared.masked_fill_(squared <= norms.mul_(SAME_POINT), 0).sqrt_().float()


def nearest(a: Float[Tensor, "N F"], b: Float[Tensor, "M F"]) -> tuple[Float[Tensor, " N"], Int[Tensor, " N"]]:
    """Distance from each point of a to the nearest point of b, and its index, the first of several; b a part at a time,
    since blocks work in float64."""
    distances, which = [], []
    for number, part in enumerate(b.split(PART)):
        found = [block.min(1) for block in distance_blocks(a, part)]
        distances.append(torch.cat([f.values for f in found]))
        which.append(torch.cat([f.indices for f in found]) + number * PART)
    least = torch.stack(distances).min(0)
    return least.values, torch.stack(which).gather(0, least.indices[None])[0]


def nearest_distances(a: Float[Tensor, "N F"], b: Float[Tensor, "M F"]) -> Float[Tensor, " N"]:
    """Distance from each point of a to the nearest point of b."""
    return nearest(a, b)[0]


def knn_radii(real: Float[Tensor, "N F"], k: int) -> Float[Tensor, " N"]:
    """Distance from each point to its k-th nearest neighbour among the others; k of 1 .. N - 1.

    A point with k copies of itself has radius 0: its ball is empty and nothing covers it.
    """
    # The smallest of each row is the point itself (0), or a copy of it, which is the same number.
    return torch.cat([block.topk(k + 1, largest=False).values[:, k] for block in distance_blocks(real, real)])


def covered(
    real: Float[Tensor, "N F"], radii: Float[Tensor, " N"], generated: Float[Tensor, "M F"]
) -> Bool[Tensor, " N"]:
    """Whether each real point has a generated point strictly inside its ball."""
    return nearest_distances(real, generated) < radii


def covered_without(
    real: Float[Tensor, "N F"], radii: Float[Tensor, " N"], generated: Float[Tensor, "M F"], *, groups: int
) -> Bool[Tensor, "G N"]:
    """The same with every G-th generated point left out, in turn: what coverage owes to the sample that was drawn."""
    return covered_and_without(real, radii, generated, groups=groups)[1]


def covered_and_without(
    real: Float[Tensor, "N F"], radii: Float[Tensor, " N"], generated: Float[Tensor, "M F"], *, groups: int
) -> tuple[Bool[Tensor, " N"], Bool[Tensor, "G N"]]:
    """`covered` and `covered_without`, from distances that are taken once: the nearest of all is that of a group."""
    each = torch.stack([nearest_distances(real, generated[g::groups]) for g in range(groups)])  # (G, N)
    inside = each.min(0).values < radii
    if groups == 1:  # nothing is left
        return inside, torch.zeros_like(inside)[None]
    least = each.topk(2, dim=0, largest=False)
    own = torch.arange(groups, device=each.device)[:, None] == least.indices[0]
    return inside, torch.where(own, least.values[1], least.values[0]) < radii


def growth_of_coverage(
    real: Float[Tensor, "N F"], radii: Float[Tensor, " N"], others: Float[Tensor, "M F"]
) -> Float[Tensor, " M"]:
    """Coverage by the first 1, 2, .. M of other points; it never falls."""
    inside = torch.cat([block < radii_[:, None] for block, radii_ in _blocks_with(real, others, radii)])  # (N, M)
    return inside.cummax(1).values.double().mean(0)


def _blocks_with(real: Tensor, others: Tensor, radii: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Distance blocks, each with the radii of its rows."""
    return zip(distance_blocks(real, others), radii.split(max(1, BLOCK // len(others))), strict=True)


def coverage(real: Float[Tensor, "N F"], generated: Float[Tensor, "M F"], *, k: int = 5) -> float:
    """Share of real points whose k-NN ball holds a generated point, 0 .. 1, up is better (Naeem et al. 2020).

    Falls with collapse and with blur. Depends on N and M (`expected_coverage`): never compare across sizes.
    """
    return covered(real, knn_radii(real, k), generated).double().mean().item()


def expected_coverage(n_real: int, n_generated: int, k: int) -> float:
    """Mean coverage, 0 .. 1, when both follow one distribution: 1 - prod_{i=1..k} (N - i) / (M + N - i), N = n_real.

    A ball is missed when a real point's k nearest of the M + N - 1 others are all real (Naeem et al. 2020, lemma 2).
    """
    return 1 - math.prod((n_real - i) / (n_generated + n_real - i) for i in range(1, k + 1))


@dataclass(frozen=True)
class ClassCoverage:
    """Coverage taken within each class, beside what real images reach."""

    macro: float
    """Mean over classes of `per_class`, 0 .. 1."""
    per_class: list[float]
    """Coverage of each class by the images generated for it."""
    ceiling: float
    """Mean over classes of the coverage by held-out real images, as many as generated; about `expected_coverage`."""
    relative: float
    """macro / ceiling: about 1 for samples like real ones; may pass 1 by chance."""


def class_coverage(
    real: Labelled, generated: Labelled, held_out: Labelled, *, classes: int, k: int = 5
) -> ClassCoverage:
    """Coverage (Naeem et al. 2020) per class, and relative to real images that are not in the reference.

    `held_out` needs as many images of each class as `generated`, since coverage depends on the size.
    """
    sizes, held_out_sizes = (labels.bincount(minlength=classes).tolist() for _, labels in (generated, held_out))
    assert sizes == held_out_sizes, f"sizes per class differ: {sizes} generated and {held_out_sizes} held out"
    shares, ceilings = [], []
    for c in range(classes):
        real_c, generated_c, held_out_c = (features[labels == c] for features, labels in (real, generated, held_out))
        radii = knn_radii(real_c, k)
        shares.append(covered(real_c, radii, generated_c).double().mean().item())
        ceilings.append(covered(real_c, radii, held_out_c).double().mean().item())
    macro, ceiling = sum(shares) / classes, sum(ceilings) / classes
    return ClassCoverage(macro, shares, ceiling, macro / ceiling)


@dataclass(frozen=True)
class ManifoldScores:
    """Four scores of generated against real points from the same balls; up is better for each."""

    precision: float
    """Share of generated points inside the ball of some real point, 0 .. 1 (Kynkaanniemi et al. 2019)."""
    recall: float
    """Share of real points inside the ball of some generated point, 0 .. 1 (Kynkaanniemi et al. 2019)."""
    density: float
    """Mean number of real balls around a generated point, over k; 0 .. N / k, about 1 for one distribution (Naeem et
    al. 2020). Grows past 1 for samples crowded where real ones are dense, so no objective."""
    coverage: float
    """Share of real points whose ball holds a generated point, 0 .. 1 (Naeem et al. 2020)."""


def manifold_scores(real: Float[Tensor, "N F"], generated: Float[Tensor, "M F"], *, k: int = 5) -> ManifoldScores:
    """Precision, recall, density and coverage with balls to the k-th neighbour, self excluded, strict <."""
    real_radii, generated_radii = knn_radii(real, k), knn_radii(generated, k)
    balls_around = torch.zeros(len(generated), dtype=torch.long, device=real.device)
    recalled, hit = [], []
    for block, radii in _blocks_with(real, generated, real_radii):
        inside = block < radii[:, None]  # (R, M)
        balls_around += inside.sum(0)
        hit.append(inside.any(1))
        recalled.append((block < generated_radii).any(1))
    return ManifoldScores(
        precision=(balls_around > 0).double().mean().item(),
        recall=torch.cat(recalled).double().mean().item(),
        density=balls_around.double().mean().item() / k,
        coverage=torch.cat(hit).double().mean().item(),
    )
