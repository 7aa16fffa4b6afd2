"""Whether generated images are copies of training images, in pixels and in shape. Knows images; no models, no files.

A generated image is *near* a training image if the distance between the two is small against that training image's own
distance to the other training images: against how far apart images are just there. How near held-out images are, which
copy nothing, says what is unusually near (the question of Meehan et al. 2020, "A non-parametric test to detect
data-copying in generative models", asked of each image instead of the mean over all). A mean hides a tenth of copies
among honest images; a plain distance takes every smooth image for a copy, since it lies close to everything.

In *shape* images are compared as they look once shifted onto their centre of mass, blurred, and brought to one
contrast: a copy that was moved by a pixel, blurred or dimmed is one still.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

from pipeline.evaluation.blur import blurred
from pipeline.evaluation.metrics.neighbours import distance_blocks, nearest
from pipeline.evaluation.metrics.rates import wilson_interval

SHAPE_BLUR = 1.5
"""Pixels, at 28 x 28: shapes that differ by less than this are one shape."""
SHAPE_SIDE = 14
"""Pixels of a side that blurred shapes are kept at: no finer detail is left in them."""
FAR = 1e6
"""Nearness of what cannot be near: a number that JSON has, unlike infinity."""
NULL_SHARE = 0.01
"""Of held-out images are taken for unusually near, which sets the bound."""
ALLOWED = 0.03
"""Share of near images that an honest model may have: its samples lie where training images are dense, and the bound
itself is estimated from a few hundred held-out images."""
LEVEL = 1e-3
"""Chance that one model, honest and as near as is allowed, is flagged by any of its tests."""


def shapes(images: Float[Tensor, "N *C H W"], background: float | Float[Tensor, " C"] = 0.0) -> Float[Tensor, "N S"]:
    """Images on their centre of mass, blurred, of unit norm: the same for a shift, a blur, a change of contrast.

    What differs from the `background`, of each channel, has mass.
    """
    n, height, width = len(images), *images.shape[-2:]
    ground = torch.as_tensor(background, dtype=images.dtype, device=images.device).view(-1, 1, 1)
    ink = images.view(n, -1, height, width) - ground  # (N, C, H, W)
    weights = ink.abs().sum(1)
    mass = weights.sum((1, 2)).clamp_min(1e-6)
    rows, columns = torch.arange(height).to(images), torch.arange(width).to(images)
    dy = (weights.sum(2) @ rows) / mass - (height - 1) / 2
    dx = (weights.sum(1) @ columns) / mass - (width - 1) / 2
    warp = torch.zeros(n, 2, 3).to(images)
    warp[:, 0, 0] = warp[:, 1, 1] = 1
    warp[:, 0, 2], warp[:, 1, 2] = 2 * dx / width, 2 * dy / height  # affine_grid measures in half images
    grid = F.affine_grid(warp, [n, 1, height, width], align_corners=False)
    small = blurred(F.grid_sample(ink, grid, align_corners=False), SHAPE_BLUR)
    if height > SHAPE_SIDE:
        small = F.interpolate(small, size=(SHAPE_SIDE, math.ceil(width * SHAPE_SIDE / height)), mode="area")
    return F.normalize(small.flatten(1), dim=1)


def nearness(
    points: Float[Tensor, "N F"], train: Float[Tensor, "M F"]
) -> tuple[Float[Tensor, " N"], Int[Tensor, " N"]]:
    """Distance of each point to the nearest training point, over that one's own distance to the nearest other; and
    which one it is. 0 for a copy, about 1 for a point like the training ones.

    The other is one at a distance: an image that is there twice has copies, and they say nothing of the room around.
    """
    distances, which = nearest(points, train)
    own = train[which]
    spacing = torch.cat([block.masked_fill(block == 0, math.inf).amin(1) for block in distance_blocks(own, train)])
    # Where all training images are one image there is no room to tell near from far: nothing is near.
    return torch.where(spacing.isinf(), FAR, distances / spacing), which


@dataclass(frozen=True)
class NearShare:
    """How many generated images are unusually near to training images."""

    share: float
    """0 .. 1; of held-out images NULL_SHARE, or less: those near to one training image count once."""
    interval: tuple[float, float]
    """Wilson 95 %."""
    per_class: list[float]
    flagged: bool
    """Whether the share, over all or of one class, is above ALLOWED beyond chance."""


def near_share(near: Float[Tensor, "K n"], which: Int[Tensor, "K n"], bound: float) -> NearShare:
    """The share of images whose nearness is below `bound`, by class, and whether it is more than an honest model has.

    A training image (`which`) counts once however many samples are near to it: a model that draws one smooth image a
    class has copied at most one. Samples that are as near as half the bound are copies and count each.

    Exact binomial tests of the whole and of every class, together at LEVEL (Bonferroni; two spaces are tested).
    """
    copies = near < bound / 2
    once = (near < bound) & ~copies
    hits = [int(c.sum()) + len(w[o].unique()) for c, w, o in zip(copies, which, once, strict=True)]
    classes, n = near.shape
    counts = [(sum(hits), classes * n), *((h, n) for h in hits)]
    each = LEVEL / (2 * len(counts))
    return NearShare(
        share=sum(hits) / (classes * n),
        interval=wilson_interval(sum(hits), classes * n),
        per_class=[h / n for h in hits],
        flagged=any(float(stats.binom.sf(h - 1, m, ALLOWED)) < each for h, m in counts),
    )
