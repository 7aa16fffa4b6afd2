"""Generators whose truth is known: real images, copies of all kinds, and what a model must not be taken for.

Each gives n images of every class, (K, n, D), and is a function of a seed. Scores are tried on them, by
`benchmarks.copying` and by the tests.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.data.splits import PreparedData, Split
from pipeline.evaluation.blur import blurred
from pipeline.evaluation.metrics.neighbours import distance_blocks
from pipeline.evaluation.reference import stratified_indices

Images = Float[Tensor, "K n D"]
Generator = Callable[[PreparedData, int, int], Images]


def real(part: Split, classes: int, n: int, seed: int) -> Images:
    """Images of a split."""
    rows = stratified_indices(part.labels, n, classes, seed=seed)
    return part.as_float(rows.flatten()).unflatten(0, rows.shape)


def enough(part: Split, classes: int, n: int, seed: int) -> Images:
    """The same, over and over where a class has fewer."""
    return repeated(real(part, classes, min(n, int(part.labels.bincount(minlength=classes).min())), seed), n=n)


def copies(data: PreparedData, n: int, seed: int) -> Images:
    """Training images."""
    return enough(data.train, data.classes, n, seed)


def blends(data: PreparedData, n: int, seed: int) -> Images:
    """Means of a training image and its nearest neighbour of the class."""
    found = []
    for label, own in enumerate(copies(data, n, seed)):
        of_class = data.train.as_float((data.train.labels == label).nonzero().squeeze(1))
        second = torch.cat([block.topk(2, largest=False).indices[:, 1] for block in distance_blocks(own, of_class)])
        found.append((own + of_class[second]) / 2)
    return torch.stack(found)


def changed(change: Callable[[Float[Tensor, "N H W"]], Float[Tensor, "N H W"]]) -> Generator:
    """Training images with a change of each."""

    def generator(data: PreparedData, n: int, seed: int) -> Images:
        images = copies(data, n, seed)
        return change(images.flatten(0, 1).unflatten(1, data.shape)).flatten(1).unflatten(0, images.shape[:2])

    return generator


COPIES: dict[str, Generator] = {
    "copies": copies,
    "blurred by 0.7 px": changed(lambda x: blurred(x, 0.7)),
    "blurred by 1 px": changed(lambda x: blurred(x, 1.0)),
    "dimmed to 0.7": changed(lambda x: x * 0.7),
    "blends of two neighbours": blends,
    "shifted by a pixel": changed(lambda x: x.roll((1, 0), (-2, -1))),
}


def classes_turned(images: Images) -> Images:
    """Every image as one of the class before it."""
    return images.roll(1, 0)


def replaced(honest: Images, by: Images, share: float) -> Images:
    """Honest images of which a share of each class is another's."""
    n = round(share * honest.shape[1])
    return torch.cat([by[:, :n], honest[:, n:]], 1)


def repeated(images: Images, different: int | None = None, n: int | None = None) -> Images:
    """The first few of each class, or all of them, over and over."""
    return images[:, torch.arange(n or images.shape[1]) % (different or images.shape[1])]


def mixed(data: PreparedData, honest: Images, generator: Generator, share: float, seed: int) -> Images:
    """Honest images of which a share of each class is replaced."""
    return replaced(honest, generator(data, honest.shape[1], seed), share)


def one_class(data: PreparedData, honest: Images, generator: Generator, seed: int) -> Images:
    """Honest images of which one class is replaced whole."""
    label = seed % data.classes
    images = honest.clone()
    images[label] = generator(data, honest.shape[1], seed)[label]
    return images
