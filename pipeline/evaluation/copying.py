"""Whether a model copies its training images: its samples, under the prior that is scored. Tensors in, numbers out.

A model that is told the class is held against the training images of that class, one that is not against all.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.data.splits import PreparedData, Split
from pipeline.evaluation.metrics.copying import (
    Control,
    Nearest,
    NearShare,
    near_share,
    nearest_image,
    nearest_of_both,
    shapes,
)
from pipeline.evaluation.reference import fairly_drawn
from pipeline.evaluation.thresholds import NULL_SHARE, SPACES
from pipeline.models.architecture import Architecture
from pipeline.models.priors import Prior
from pipeline.models.sampling import conditional_samples

SAMPLES = {True: 200, False: 1_000}
"""Of each group: of a class, or of all where a model is not told the class."""
SHAPED = 5_000
"""Images whose shapes are taken at once."""
SHOWN = 10
"""Pairs of a sample and its training image that are shown: the nearest ones."""


@dataclass(frozen=True)
class Bounds:
    """How near held-out images come to training images."""

    pixels: float
    """The nearness that NULL_SHARE of them are below."""
    shape: float
    held_out: int
    """Images that this rests on."""


@dataclass(frozen=True)
class Surroundings:
    """What samples are held against: facts of a data set, the same for every model."""

    held_out: Split
    """Images that no model was trained on: the split that is scored."""
    shapes: Float[Tensor, "N S"]
    """Of the training images."""
    shapes_held_out: Float[Tensor, "H S"]
    of_class: Bounds
    """To the training images of their own class."""
    of_all: Bounds


@dataclass(frozen=True)
class Copying:
    """What was found of copies among a model's samples."""

    spaces: dict[str, NearShare]
    images: Float[Tensor, "P D"]
    """The samples nearest to a training image, in shape, nearest first."""
    sources: Float[Tensor, "P D"]
    """The training images they are nearest to."""
    nearness: list[float]
    """Of these pairs, in shape."""
    held_out: int
    """Images that say what is unusually near."""


def surroundings(data: PreparedData, split: Split) -> Surroundings:
    """The bounds of a split, from as many of its images as there are samples, or all of them."""
    of_train, of_held_out = (
        torch.cat([_shapes(data, x) for x, _ in part.batches(SHAPED)]) for part in (data.train, split)
    )

    def bounds(*, conditional: bool) -> Bounds:
        n = SAMPLES[True] if conditional else max(1, SAMPLES[False] // data.classes)
        rows = fairly_drawn(split.labels, n, data.classes, seed=0)
        groups = rows if conditional else [torch.cat(list(rows))]
        near: dict[str, list[Tensor]] = {space: [] for space in SPACES}
        for own, members in zip(groups, _members(data.train, len(groups)), strict=True):
            near["pixels"].append(nearest_image(split.as_float(own), data.train.as_float(members)).nearness)
            near["shape"].append(nearest_image(of_held_out[own], of_train[members]).nearness)
        pixels, shape = (torch.quantile(torch.cat(near[space]), NULL_SHARE).item() for space in SPACES)
        return Bounds(pixels, shape, sum(map(len, rows)))

    return Surroundings(split, of_train, of_held_out, bounds(conditional=True), bounds(conditional=False))


def look_for_copies(
    model: Architecture, data: PreparedData, around: Surroundings, prior: Prior, *, seed: int
) -> Copying:
    """The share of samples that are unusually near to a training image, and the nearest pairs."""
    classes = data.classes if model.conditional else 1
    per_label = SAMPLES[True] if model.conditional else max(1, SAMPLES[False] // model.classes)
    images, _ = conditional_samples(model, per_class=per_label, seed=seed, prior=prior)
    return copies_among(images.unflatten(0, (classes, -1)), data, around)


def copies_among(images: Float[Tensor, "G n D"], data: PreparedData, around: Surroundings) -> Copying:
    """The same of images in groups: one of each class, or one of all."""
    bounds = around.of_class if len(images) > 1 else around.of_all
    found: dict[str, list[tuple[Nearest, Nearest]]] = {space: [] for space in SPACES}
    train, held_out = (_members(part, len(images)) for part in (data.train, around.held_out))
    for own, seen, unseen in zip(images, train, held_out, strict=True):
        pixels = own, data.train.as_float(seen), around.held_out.as_float(unseen)
        shape = _shapes(data, own), around.shapes[seen], around.shapes_held_out[unseen]
        for space, (points, of_train, of_others) in zip(SPACES, (pixels, shape), strict=True):
            nearest = nearest_image(points, of_train)
            found[space].append((nearest, nearest_of_both(points, of_train, of_others, nearest)))
    sizes = [len(rows) for rows in train], [len(rows) for rows in held_out]
    spaces = {}
    for space, groups in found.items():
        (near, which), (near_both, which_both) = (
            (torch.stack([pair[i].nearness for pair in groups]), torch.stack([pair[i].which for pair in groups]))
            for i in (0, 1)
        )
        spaces[space] = near_share(near, which, getattr(bounds, space), Control(near_both, which_both, *sizes))
    in_shape = torch.cat([nearest.nearness for nearest, _ in found["shape"]])
    sources = torch.cat([seen[nearest.which] for seen, (nearest, _) in zip(train, found["shape"], strict=True)])
    values, order = in_shape.sort(stable=True)
    first = order[:SHOWN]
    return Copying(
        spaces,
        images.flatten(0, 1)[first],
        data.train.as_float(sources[first]),
        values[:SHOWN].tolist(),
        bounds.held_out,
    )


def _members(part: Split, groups: int) -> list[Int[Tensor, " n"]]:
    """Rows of a split by class, or all of them as one group."""
    if groups == 1:
        return [torch.arange(len(part.labels), device=part.labels.device)]
    return [(part.labels == group).nonzero().squeeze(1) for group in range(groups)]


def _shapes(data: PreparedData, images: Float[Tensor, "N D"]) -> Float[Tensor, "N S"]:
    return torch.cat([shapes(part.unflatten(1, data.shape), data.ground) for part in images.split(SHAPED)])


def copying_metrics(found: Copying, split: str) -> dict[str, float]:
    """The numbers of a run."""
    pixels, shape = (found.spaces[space] for space in SPACES)
    values = {
        "data_copying": pixels.share,
        "data_copying_shape": shape.share,
        "data_copying_worst_class": max(*pixels.per_class, *shape.per_class),
        "data_copying_flagged": float(pixels.flagged or shape.flagged),
    }
    return {f"{split}/{key}": value for key, value in values.items()}
