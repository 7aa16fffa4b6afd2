"""Whether a model copies its training images: its samples, under the prior that is scored. Tensors in, numbers out.

A model that is told the class is held against the training images of that class, one that is not against all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.data.splits import PreparedData, Split
from pipeline.evaluation.metrics.copying import NULL_SHARE, NearShare, near_share, nearness, shapes
from pipeline.evaluation.reference import fairly_drawn
from pipeline.models.architecture import Architecture
from pipeline.models.priors import Prior
from pipeline.models.sampling import conditional_samples

SAMPLES = {True: 200, False: 1_000}
"""Of each group: of a class, or of all where a model is not told the class."""
SHAPED = 5_000
"""Images whose shapes are taken at once."""
SPACES = ("pixels", "shape")
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

    shapes: Float[Tensor, "N S"]
    """Of the training images."""
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
    of_train = torch.cat([_shapes(data, x) for x, _ in data.train.batches(SHAPED)])

    def bounds(*, conditional: bool) -> Bounds:
        n = SAMPLES[True] if conditional else max(1, SAMPLES[False] // data.classes)
        rows = fairly_drawn(split.labels, n, data.classes, seed=0)
        held_out = [split.as_float(own) for own in rows]
        near = _nearness(data, held_out if conditional else [torch.cat(held_out)], of_train)
        pixels, shape = (torch.quantile(torch.cat([d for d, _ in near[s]]), NULL_SHARE).item() for s in SPACES)
        return Bounds(pixels, shape, sum(map(len, rows)))

    return Surroundings(of_train, bounds(conditional=True), bounds(conditional=False))


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
    groups = _nearness(data, list(images), around.shapes)
    near = {s: (torch.stack([d for d, _ in own]), torch.stack([w for _, w in own])) for s, own in groups.items()}
    bounds = around.of_class if len(images) > 1 else around.of_all
    in_shape, sources = near["shape"]
    values, order = in_shape.flatten().sort(stable=True)
    first = order[:SHOWN]
    return Copying(
        {space: near_share(*own, getattr(bounds, space)) for space, own in near.items()},
        images.flatten(0, 1)[first],
        data.train.as_float(sources.flatten()[first]),
        values[:SHOWN].tolist(),
        bounds.held_out,
    )


def _nearness(
    data: PreparedData, images: Sequence[Float[Tensor, "n D"]], of_train: Float[Tensor, "N S"]
) -> dict[str, list[tuple[Float[Tensor, " n"], Int[Tensor, " n"]]]]:
    """Space -> of each group, nearness of each image to the training images of the group, and which one that is."""
    labels, found = data.train.labels, []
    for group, own in enumerate(images):
        members = (labels == group).nonzero().squeeze(1) if len(images) > 1 else torch.arange(len(labels)).to(labels)
        in_pixels = nearness(own, data.train.as_float(members))
        in_shape = nearness(_shapes(data, own), of_train[members])
        found.append([(near, members[which]) for near, which in (in_pixels, in_shape)])
    return {space: [of_group[i] for of_group in found] for i, space in enumerate(SPACES)}


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
