"""Whether generated images are copies of training images, in pixels and in shape. Knows images; no models, no files.

A generated image is *near* a training image if the distance between the two is small against that training image's own
distance to the other training images: against how far apart images are just there. How near held-out images are, which
copy nothing, says what is unusually near; and whether samples come as near to held-out images says if it matters, since
smooth samples lie near to images that the model has never seen (the question of Meehan et al. 2020, "A non-parametric
test to detect data-copying in generative models", asked of each image instead of the mean over all). A mean hides a
tenth of copies among honest images; a plain distance takes every smooth image for a copy: it lies close to everything.

In *shape* images are compared as they look once shifted onto their centre of mass, blurred, and brought to one
contrast: a copy that was moved by a pixel, blurred or dimmed is one still.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

from pipeline.evaluation.blur import blurred
from pipeline.evaluation.metrics.neighbours import distance_blocks, nearest
from pipeline.evaluation.metrics.rates import wilson_interval
from pipeline.evaluation.thresholds import ALLOWED

SHAPE_BLUR = 1.5
"""Pixels, at 28 x 28: shapes that differ by less than this are one shape."""
SHAPE_SIDE = 14
"""Pixels of a side that blurred shapes are kept at: no finer detail is left in them."""
FAR = 1e6
"""Nearness of what cannot be near: a number that JSON has, unlike infinity."""
LEVEL = 1e-3
"""Chance that one model, honest and as near as is allowed, is flagged by any of its tests."""
CONTROL_LEVEL = 0.02
"""Chance that a model whose samples are near to many images, without preferring those it was trained on, is flagged."""


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


@dataclass(frozen=True)
class Nearest:
    """Of each point the nearest image of a set, and how much room that image has."""

    distance: Float[Tensor, " N"]
    room: Float[Tensor, " N"]
    """Distance of the nearest image to the nearest other: one at a distance, since an image that is there twice has
    copies, and they say nothing of the room around."""
    which: Int[Tensor, " N"]

    @property
    def nearness(self) -> Float[Tensor, " N"]:
        """0 for a copy, about 1 for a point like those of the set.

        Where all of the set are one image there is no room to tell near from far: nothing is near.
        """
        return torch.where(self.room.isinf(), FAR, self.distance / self.room)


def nearest_image(points: Float[Tensor, "N F"], images: Float[Tensor, "M F"]) -> Nearest:
    """The nearest of the images to each point, the first of several."""
    distance, which = nearest(points, images)
    return Nearest(distance, _room(images[which], images), which)


def nearest_of_both(
    points: Float[Tensor, "N F"],
    train: Float[Tensor, "M F"],
    held_out: Float[Tensor, "H F"],
    of_train: Nearest,
) -> Nearest:
    """`nearest_image` among training and held-out images, numbered on behind them; without a second look of every point
    at every training image."""
    if not len(held_out):
        return of_train
    distance, which = nearest(points, held_out)
    room = torch.minimum(of_train.room, _room(train[of_train.which], held_out))
    other = distance < of_train.distance
    if other.any():
        own = held_out[which[other]]
        room[other] = torch.minimum(_room(own, train), _room(own, held_out))
    return Nearest(
        torch.where(other, distance, of_train.distance), room, torch.where(other, which + len(train), of_train.which)
    )


def _room(images: Float[Tensor, "N F"], others: Float[Tensor, "M F"]) -> Float[Tensor, " N"]:
    return torch.cat([block.masked_fill(block == 0, math.inf).amin(1) for block in distance_blocks(images, others)])


@dataclass(frozen=True)
class NearShare:
    """How many generated images are unusually near to training images."""

    share: float
    """0 .. 1; of held-out images NULL_SHARE, or less: those near to one training image count once."""
    interval: tuple[float, float]
    """Wilson 95 %."""
    per_class: list[float]
    near: bool
    """Whether the share, over all or of one class, is above ALLOWED beyond chance."""
    explained: float
    """The share that is expected of a model that draws so near to images and knows none of them: of its samples near to
    held-out images, scaled to as many of these as there are training images."""
    flagged: bool
    """Whether more than ALLOWED of the samples, over all or of one class, are near to training images beyond chance
    *and* beyond what is explained."""


@dataclass(frozen=True)
class Control:
    """Samples held against training and held-out images alike."""

    nearness: Float[Tensor, "K n"]
    """To the nearest image of both."""
    which: Int[Tensor, "K n"]
    """Of a class: training images first."""
    train: list[int]
    """Training images of each class."""
    held_out: list[int]


def near_share(near: Float[Tensor, "K n"], which: Int[Tensor, "K n"], bound: float, control: Control) -> NearShare:
    """The share of images whose nearness is below `bound`, by class, and whether it is more than an honest model has.

    A training image (`which`) counts once however many samples are near to it: a model that draws one smooth image a
    class has copied at most one. Samples that are as near as half the bound are copies and count each.

    Flagged are those that fail two exact binomial tests, of the whole or of a class (Bonferroni; two spaces are
    tested). The first, together at LEVEL: more than ALLOWED are near. The second, of those that failed the first,
    together at CONTROL_LEVEL: more than ALLOWED are copies. To a model that has learned no image by heart, training and
    held-out images are alike, so that each of its samples that is near to an image of either kind is near to a held-out
    one with the share that these have of both; copies never are.
    """
    hits = [_count(n, w, bound) for n, w in zip(near, which, strict=True)]
    classes, n = near.shape
    of_both = [_count_sides(*rows, bound) for rows in zip(control.nearness, control.which, control.train, strict=True)]
    chance = [h / (h + t) for t, h in zip(control.train, control.held_out, strict=True)]
    all_of_both = [sum(side) for side in zip(*of_both, strict=True)]
    pooled = sum(c * sum(sides) for c, sides in zip(chance, of_both, strict=True)) / max(1, sum(all_of_both))
    n_tested = np.array([classes * n] + [n] * classes)
    n_near = np.array([sum(hits), *hits])
    by_side = np.array([all_of_both, *of_both])
    each = 1 / (2 * len(n_tested))
    too_near = stats.binom.sf(n_near - 1, n_tested, ALLOWED) < LEVEL * each
    left = np.maximum(0, by_side[:, 0] - np.ceil(ALLOWED * n_tested))
    each = 1 / (2 * max(1, too_near.sum()))
    copied = stats.binom.cdf(by_side[:, 1], left + by_side[:, 1], [pooled, *chance]) < CONTROL_LEVEL * each
    return NearShare(
        share=sum(hits) / (classes * n),
        interval=wilson_interval(sum(hits), classes * n),
        per_class=[h / n for h in hits],
        near=bool(too_near.any()),
        explained=sum(h * (1 - c) / c for (_, h), c in zip(of_both, chance, strict=True) if h) / (classes * n),
        flagged=bool((too_near & copied).any()),
    )


def _count(near: Float[Tensor, " n"], which: Int[Tensor, " n"], bound: float) -> int:
    copies = near < bound / 2
    return int(copies.sum()) + len(which[(near < bound) & ~copies].unique())


def _count_sides(near: Float[Tensor, " n"], which: Int[Tensor, " n"], train: int, bound: float) -> tuple[int, int]:
    """Near to a training image, near to a held-out one."""
    side = which < train
    return _count(near[side], which[side], bound), _count(near[~side], which[~side], bound)
