"""What a trained model has learnt, as pictures and a few numbers. Tensors in, arrays out; no drawing, no files.

traversals       one latent dimension moved at a time, the others at the base code
class_traversals the most active dimension moved, a row per class                            cvae
between_images   the straight line between the codes of two images
between_labels   one z, decoded under a label that turns into the next one                   cvae
most_wrong       generated images that judge A takes for another class with most confidence  cvae
plane            the codes themselves where Z = 2, else their two principal components       Z > 1
use of dims      KL and variance of the mean, per latent dimension                           KL: vae, cvae
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from pipeline.data.splits import PreparedData, Split
from pipeline.evaluation.judges.networks import Judge, predict_logits
from pipeline.evaluation.thresholds import ACTIVE_VARIANCE
from pipeline.grids import tile
from pipeline.models.architecture import Architecture
from pipeline.models.losses import gaussian_kl_per_dim
from pipeline.models.priors import STANDARD, Prior
from pipeline.models.sampling import conditional_samples, decode_means, fixed_noise

TRAVERSED, ROWS = 10, 10
"""Most latent dimensions that are traversed, and most rows of the other sheets."""
OFFSETS = tuple(0.5 * step for step in range(-6, 7))
"""Steps of a traversal, in standard deviations: -3 .. 3 holds 99.7 % of N(0, 1)."""
STEPS = 9
"""Images of an interpolation, both ends included."""
WRONG, WRONG_COLUMNS = 16, 4
MAP_POINTS = 2000
"""Most points of the latent map: more only hide each other."""


@dataclass(frozen=True)
class Plane:
    """Codes in two dimensions."""

    points: Float[Tensor, "N 2"]
    explained: tuple[float, float] | None
    """Shares of the codes' variance on the two axes, 0 .. 1; None where the points are the codes themselves."""


@dataclass(frozen=True)
class Inside:
    """What `look_inside` found: sheets of images, the map, and the facts that say what is where in them."""

    sheets: dict[str, UInt8[np.ndarray, "H W *C"]]
    facts: dict[str, Any]
    """JSON: under each sheet's name what its rows are; per latent dimension its use. Classes are indices."""
    points: Float[Tensor, "N 2"] | None
    """The map; None for a single latent dimension."""
    labels: Int[Tensor, " N"]


@dataclass(frozen=True)
class _Sheet:
    images: Float[Tensor, "N D"]
    columns: int
    about: dict[str, Any]


@dataclass(frozen=True)
class Misread:
    """Generated images read as another class than asked for, the most confident first."""

    index: Int[Tensor, " M"]
    read: Int[Tensor, " M"]
    probability: Float[Tensor, " M"]
    """The judge's, of the class it reads; 0 .. 1."""


@torch.inference_mode()
def look_inside(
    model: Architecture,
    data: PreparedData,
    part: Split,
    judge: Judge | None,
    *,
    per_class: int,
    seed: int,
    prior: Prior = STANDARD,
) -> Inside:
    """Everything above for one model on one split; `judge`, `per_class`, `seed` and `prior` are those of its score.

    A judge of None leaves out the most wrong samples. The same model gives the same arrays.
    """
    model.eval()
    mu, logvar = model.encode(part.as_float(), part.labels)
    variance = mu.double().var(0)  # of the mean, over images: (Z,)
    dims = variance.argsort(descending=True, stable=True)
    kl = None if logvar is None else gaussian_kl_per_dim(mu, logvar).double()  # (N, Z)
    if kl is not None:
        dims = dims[: max(1, int((variance > ACTIVE_VARIANCE).sum()))]
    moved = dims[:TRAVERSED].tolist()
    sheets = {"between_images": _between_images(model, part)}
    if model.conditional:
        assert kl is not None
        richest = int(_by_class(kl.sum(1), part.labels, model.classes).argmax())
        sheets |= _of_labels(model, moved[0])
    else:
        richest = None
    base, unit = base_code(mu, stochastic=model.stochastic)
    about = {"dims": moved, "offsets": OFFSETS, "label": richest}
    sheets["traversals"] = _Sheet(traversals(model, base, unit, moved, richest or 0), len(OFFSETS), about)
    if judge is not None:
        sheets["most_wrong"] = _most_wrong(model, judge, per_class=per_class, seed=seed, prior=prior)
    flat = plane(mu) if model.latent_dim > 1 else None
    some = torch.arange(0, len(part), -(-len(part) // MAP_POINTS))  # evenly spread over the split
    return Inside(
        sheets={
            name: tile(sheet.images, columns=sheet.columns, shape=data.shape).numpy()
            for name, sheet in sheets.items()
            if len(sheet.images)
        },
        facts={
            "class_names": data.class_names,
            "cell": (data.height, data.width),
            "images": len(part),
            "variance_per_dim": variance.tolist(),
            "kl_per_dim": None if kl is None else kl.mean(0).tolist(),
            "explained": flat.explained if flat else None,
            **{name: sheet.about for name, sheet in sheets.items()},
        },
        points=flat.points.float().cpu()[some] if flat else None,
        labels=part.labels.cpu()[some],
    )


def _between_images(model: Architecture, part: Split) -> _Sheet:
    pairs = image_pairs(part.labels, model.classes, same_class=model.conditional)[:ROWS]
    return _Sheet(between_images(model, part, pairs), STEPS + 2, {"labels": part.labels[pairs].tolist()})


def _of_labels(model: Architecture, dim: int) -> dict[str, _Sheet]:
    """The sheets that have a row per class."""
    rows = list(range(min(model.classes, ROWS)))
    z = fixed_noise(10, model.latent_dim, seed=0)  # the columns of the generation grid
    base, unit = base_code(z, stochastic=True)
    moved = torch.cat([traversals(model, base, unit, [dim], label) for label in rows])
    turns = [(label, (label + 1) % model.classes) for label in rows]
    return {
        "class_traversals": _Sheet(moved, len(OFFSETS), {"dim": dim, "offsets": OFFSETS, "labels": rows}),
        "between_labels": _Sheet(between_labels(model, z[0], turns), STEPS, {"labels": turns}),
    }


def _most_wrong(model: Architecture, judge: Judge, *, per_class: int, seed: int, prior: Prior) -> _Sheet:
    x, y = conditional_samples(model, per_class=per_class, seed=seed, prior=prior)
    wrong = misread(predict_logits(judge, x).cpu(), y)
    shown = wrong.index[:WRONG]
    about = {
        "generated": len(y),
        "misread": len(wrong.index),
        "asked": y[shown].tolist(),
        "read": wrong.read[:WRONG].tolist(),
        "probability": wrong.probability[:WRONG].tolist(),
    }
    return _Sheet(x[shown.to(x.device)], WRONG_COLUMNS, about)


def _by_class(values: Float[Tensor, " N"], y: Int[Tensor, " N"], classes: int) -> Float[Tensor, " K"]:
    """Mean of the values of each class; 0 for a class without images."""
    total = torch.zeros(classes, dtype=values.dtype, device=values.device).index_add(0, y, values)
    return total / torch.bincount(y, minlength=classes).clamp(min=1)


def base_code(mu: Float[Tensor, "N Z"], *, stochastic: bool) -> tuple[Float[Tensor, " Z"], Float[Tensor, " Z"]]:
    """Where traversals start, and the length of one step in each dimension.

    The centre of the prior and its standard deviation, 1; without a prior those of the codes.
    """
    if stochastic:
        return torch.zeros_like(mu[0]), torch.ones_like(mu[0])
    return mu.mean(0), mu.std(0, correction=0)


def traversals(
    model: Architecture, base: Float[Tensor, " Z"], unit: Float[Tensor, " Z"], dims: list[int], label: int
) -> Float[Tensor, "N D"]:
    """A row per dimension: it alone moved from the base code by OFFSETS units, at one label. N = len(dims) * steps."""
    offsets = torch.tensor(OFFSETS, dtype=base.dtype, device=base.device)
    z = base.repeat(len(dims), len(offsets), 1)  # (dims, steps, Z)
    for row, dim in enumerate(dims):
        z[row, :, dim] += offsets * unit[dim]
    return decode_means(model, z.flatten(0, 1), torch.full((len(dims) * len(offsets),), label))


def image_pairs(labels: Int[Tensor, " N"], classes: int, *, same_class: bool) -> Int[Tensor, "P 2"]:
    """Indices of two images per row: the first and the last of a class, or the first of a class and of the next."""
    members = [(labels == label).nonzero().squeeze(1) for label in range(classes)]
    members = [found for found in members if len(found)]
    others = [found[-1] for found in members] if same_class else [found[0] for found in members[1:] + members[:1]]
    return torch.stack([torch.stack([found[0], other]) for found, other in zip(members, others, strict=True)])


def between_images(model: Architecture, part: Split, pairs: Int[Tensor, "P 2"]) -> Float[Tensor, "N D"]:
    """A row per pair: the first image, STEPS images decoded on the straight line from mean to mean, the second image.

    Straight, not spherical: a sphere keeps the norm of draws from the prior, while the means of q lie inside of it,
    and equal steps along a line are equal changes of every dimension. A cvae decodes under the label of the first
    image, which should be that of both; then the ends are the reconstructions.
    """
    (first, second), y = part.as_float(pairs.flatten()).unflatten(0, pairs.shape).unbind(1), part.labels[pairs]
    (start, _), (end, _) = model.encode(first, y[:, 0]), model.encode(second, y[:, 1])
    t = torch.linspace(0, 1, STEPS, dtype=start.dtype, device=start.device)[None, :, None]
    z = start[:, None] * (1 - t) + end[:, None] * t  # (P, STEPS, Z)
    decoded = decode_means(model, z.flatten(0, 1), y[:, 0].repeat_interleave(STEPS)).unflatten(0, (-1, STEPS))
    return torch.cat([first[:, None], decoded, second[:, None]], dim=1).flatten(0, 1)


def between_labels(model: Architecture, z: Float[Tensor, " Z"], turns: list[tuple[int, int]]) -> Float[Tensor, "N D"]:
    """A row per pair of labels: one z, decoded under (1 - t) * first + t * second for STEPS values of t in 0 .. 1."""
    device = next(model.parameters()).device
    labels = torch.eye(model.classes, device=device)[torch.tensor(turns, device=device)]  # (P, 2, K)
    t = torch.linspace(0, 1, STEPS, device=device)[None, :, None]
    weights = (labels[:, :1] * (1 - t) + labels[:, 1:] * t).flatten(0, 1)  # (N, K)
    return model.likelihood.mean(model.decode_mixture(z.to(device).expand(len(weights), -1), weights))


def misread(logits: Float[Tensor, "N K"], asked: Int[Tensor, " N"]) -> Misread:
    """Which images are read as another class than asked for, by falling probability of that class."""
    probability, read = logits.double().softmax(-1).max(-1)
    wrong = (read != asked).nonzero().squeeze(1)
    wrong = wrong[probability[wrong].argsort(descending=True, stable=True)]
    return Misread(wrong, read[wrong], probability[wrong])


def plane(mu: Float[Tensor, "N Z"]) -> Plane:
    """The codes in two dimensions: as they are where Z = 2, else on their two principal components.

    The entry of largest size of each component is positive, so that the picture does not flip.
    """
    if mu.shape[1] == 2:
        return Plane(mu, None)
    centred = mu.double() - mu.double().mean(0)
    variances, axes = torch.linalg.eigh(centred.T @ centred)
    top = axes.T.flip(0)[:2]  # (2, Z)
    top = top * top.gather(1, top.abs().argmax(1, keepdim=True)).sign()
    first, second = (variances.flip(0)[:2] / variances.sum().clamp(min=1e-300)).tolist()
    return Plane(centred @ top.T, (first, second))
