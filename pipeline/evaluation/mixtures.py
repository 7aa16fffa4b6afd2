"""Mixtures of Gaussians for the codes of several classes at once, by EM. Knows tensors; no models, no settings.

The log density of a Gaussian is linear in the features (1, x, x x^T), so both steps of EM are one product each: the
features with every component's coefficients, and the responsibilities with the features. In float32 that needs x of
order one: codes are whitened class by class first, and the mixture is carried back at the end. What is small (means,
covariances, roots) is in float64.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits
from torch import Tensor

from pipeline.models.priors import ClassMixtures

FLOOR = 1e-4
"""Added to the diagonal of every covariance: codes live on the scale of N(0, I), so this is 1 % of its deviation."""
RELATIVE_FLOOR = 1e-5
"""The same on the scale of a class's own codes: float32 tells no smaller variance from 0 there."""
FIRST_CODES = 500
"""Codes per class of EM's first stage: it takes tens of steps, which cost a tenth on so few."""
STEPS = 200
"""Of EM in each stage, at most."""
FEATURES = 2**24
"""Numbers that the features of the classes fitted together may be: 64 MB."""


@dataclass(frozen=True)
class Codes:
    """Codes of K classes side by side, in random order; n is the size of the largest class, the others are padded."""

    x: Float[Tensor, "K Z n"]
    weights: Float[Tensor, "K n"]
    """What each code counts for, 0 where there is none."""

    @property
    def sizes(self) -> Float[Tensor, " K"]:
        """What all codes of a class count for."""
        return self.weights.sum(1)

    def of(self, classes: slice) -> "Codes":
        """Some of the classes."""
        return Codes(self.x[classes], self.weights[classes])


def side_by_side(
    z: Float[Tensor, "N Z"], y: Int[Tensor, " N"], *, classes: int, draws: int = 1, seed: int = 0
) -> Codes:
    """Codes by class; `draws` of them are of one image and count as one together: sizes are numbers of images."""
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed)).to(y.device)
    order = order[y[order].argsort(stable=True)]  # (N,) class by class, random within a class
    sizes = y.bincount(minlength=classes)
    first = sizes.cumsum(0) - sizes
    place = torch.arange(len(z), device=y.device) - first.repeat_interleave(sizes)  # (N,) 0 1 2 .. in each class
    x = z.new_zeros(classes, int(sizes.max()), z.shape[1])
    weights = z.new_zeros(x.shape[:2])
    x[y[order], place], weights[y[order], place] = z[order], 1 / draws
    return Codes(x.mT.contiguous(), weights)


def fit_mixtures(
    codes: Codes, components: Sequence[int], *, seed: int, tolerance: float = 1e-3, start: ClassMixtures | None = None
) -> ClassMixtures:
    """A mixture of `components[k]` Gaussians for each class k by EM, from a k-means clustering or from `start`.

    Stops when the mean log likelihood gains less than `tolerance` nats a code in a step. Covariances are those of a
    maximum a posteriori estimate, so that a class of few images has no thinner density than they can tell: a class's
    own counts as many images of N(0, I) besides its own as there are dimensions; a component's, Z + 2 images of its
    class's covariance shrunk to a component's share of the volume (Fraley & Raftery 2007, section 2).
    """
    classes, size, n = codes.x.shape
    together = max(1, FEATURES // (n * (1 + size + size * (size + 1) // 2)))
    parts = []
    for first in range(0, classes, together):
        some = slice(first, first + together)
        begin = ClassMixtures(start.weights[some], start.means[some], start.roots[some]) if start else None
        parts.append(_fit(codes.of(some), list(components[some]), max(components), seed, tolerance, begin))
    weights, means, roots = (torch.cat(tensors).float().cpu() for tensors in zip(*parts, strict=True))
    return ClassMixtures(weights, means, roots)


def class_gaussians(codes: Codes) -> tuple[Float[Tensor, "K Z"], Float[Tensor, "K Z Z"]]:
    """Mean and root of the covariance of each class, float64: a mixture of one, in closed form."""
    weights, sizes = codes.weights[:, None].double(), codes.sizes.double()[:, None, None]
    mean = (codes.x.double() * weights).sum(2, keepdim=True) / sizes.clamp_min(
        1
    )  # (K, Z, 1); N(0, I) for a class without codes
    centred = codes.x.double() - mean
    unit = _unit(codes)
    shrink = len(unit)  # images of N(0, I)
    covariance = ((centred * weights) @ centred.mT + shrink * unit) / (sizes + shrink) + FLOOR * unit
    return mean.squeeze(2), torch.linalg.cholesky(covariance)


def _unit(codes: Codes) -> Float[Tensor, "Z Z"]:
    return torch.eye(codes.x.shape[1], dtype=torch.float64, device=codes.x.device)


def _fit(
    codes: Codes, components: list[int], most: int, seed: int, tolerance: float, start: ClassMixtures | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (K, C), means (K, C, Z) and roots (K, C, Z, Z) of some classes, float64."""
    mean, root = class_gaussians(codes)
    if most == 1:
        return torch.ones_like(mean[:, :1]), mean[:, None], root[:, None]
    unit = _unit(codes)
    inverse = torch.linalg.solve_triangular(root, unit.expand_as(root), upper=False)  # (K, Z, Z)
    x = inverse.float() @ (codes.x - mean[:, :, None].float())  # (K, Z, n), covariance about I
    floor = FLOOR * inverse @ inverse.mT + RELATIVE_FLOOR * unit
    there = torch.arange(most, device=x.device) < torch.tensor(components, device=x.device)[:, None]  # (K, C)
    if start is None:
        mixture = _clustered_start(codes, x, there, floor, seed)
    else:
        own = start.means.double().to(x.device), start.roots.double().to(x.device)
        means = (inverse[:, None] @ (own[0] - mean[:, None])[..., None]).squeeze(-1)
        mixture = start.weights.double().to(x.device), means, inverse[:, None] @ own[1]
    for size in (FIRST_CODES, x.shape[2]) if start is None and x.shape[2] > FIRST_CODES else (x.shape[2],):
        mixture = _em(x[:, :, :size], codes.weights[:, None, :size], mixture, there, floor, tolerance)
    weights, means, roots = mixture
    carried = mean[:, None] + (root[:, None] @ means[..., None]).squeeze(-1)
    return weights, carried, root[:, None] @ roots


def _clustered_start(
    codes: Codes, x: Float[Tensor, "K Z n"], there: Tensor, floor: Float[Tensor, "K Z Z"], seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The components of a first clustering (k-means) of each class's first codes.

    A class with fewer codes than components has some of them twice; EM keeps equal components equal.
    """
    few, weights = x[:, :, :FIRST_CODES], codes.weights[:, None, :FIRST_CODES]
    member = torch.zeros(few.shape[0], there.shape[1], few.shape[2])
    points = few.mT.double().cpu().numpy()
    # One thread: several add up in any order. Codes may be equal, which k-means warns of.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for k, (count, own) in enumerate(zip((weights > 0).sum((1, 2)).tolist(), there.sum(1).tolist(), strict=True)):
            clusters = min(own, count)
            if clusters:
                label = KMeans(clusters, n_init=3, random_state=seed).fit_predict(points[k, :count])
                for component in range(own):
                    member[k, component, :count] = torch.as_tensor(label == component % clusters)
    return _maximised(_features(few), member.to(x.device) * weights, there, floor)


def _features(x: Float[Tensor, "K Z n"]) -> Float[Tensor, "K F n"]:
    """1, x and x_i x_j for i <= j of each code."""
    i, j = torch.triu_indices(x.shape[1], x.shape[1], device=x.device)
    return torch.cat([torch.ones_like(x[:, :1]), x, x[:, i] * x[:, j]], dim=1)


def _em(
    x: Float[Tensor, "K Z n"],
    weights: Float[Tensor, "K 1 n"],
    mixture: tuple[Tensor, Tensor, Tensor],
    there: Tensor,
    floor: Float[Tensor, "K Z Z"],
    tolerance: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """EM of whitened codes until it gains less than `tolerance` nats a code."""
    features = _features(x)
    before = -math.inf
    for step in range(STEPS):
        logits = _coefficients(*mixture) @ features  # (K, C, n)
        found = float((logits.logsumexp(1, keepdim=True) * weights).sum() / weights.sum())
        if step > 1 and found - before < tolerance:
            break
        before = found
        mixture = _maximised(features, logits.softmax(1) * weights, there, floor)
    return mixture


def _maximised(
    features: Float[Tensor, "K F n"], shares: Float[Tensor, "K C n"], there: Tensor, floor: Float[Tensor, "K Z Z"]
) -> tuple[Tensor, Tensor, Tensor]:
    """The maximisation step: weights, means and roots, float64, of codes that belong to components by `shares`."""
    size = floor.shape[-1]
    i, j = torch.triu_indices(size, size, device=features.device)
    unit = torch.eye(size, dtype=torch.float64, device=features.device)
    # A component's share of the class's volume: its deviations are C^(-1/Z) of the class's, which are 1.
    volume = there.sum(1).double().pow(-2 / size)[:, None, None, None] * unit  # (K, 1, Z, Z)
    strength = size + 2
    sums = (shares @ features.mT).double()  # (K, C, F)
    count = sums[..., 0].clamp_min(1e-6)  # a component may have lost all its codes
    means = sums[..., 1 : 1 + size] / count[..., None]
    square = torch.empty(*count.shape, size, size, dtype=torch.float64, device=features.device)
    square[..., i, j] = square[..., j, i] = sums[..., 1 + size :]
    scatter = square - count[..., None, None] * means[..., :, None] * means[..., None, :]
    covariance = (scatter + strength * volume) / (count + strength)[..., None, None] + floor[:, None]
    return there * count / (there * count).sum(1, keepdim=True), means, torch.linalg.cholesky(covariance)


def _coefficients(
    weights: Float[Tensor, "K C"], means: Float[Tensor, "K C Z"], roots: Float[Tensor, "K C Z Z"]
) -> Float[Tensor, "K C F"]:
    """log w_c + log N(x; m_c, L_c L_c^T) as coefficients of (1, x, x_i x_j for i <= j), float32."""
    size = means.shape[-1]
    i, j = torch.triu_indices(size, size, device=means.device)
    unit = torch.eye(size, dtype=torch.float64, device=means.device)
    inverse = torch.linalg.solve_triangular(roots, unit.expand_as(roots), upper=False)
    precision = inverse.mT @ inverse
    linear = (precision @ means[..., None]).squeeze(-1)
    log_size = inverse.diagonal(dim1=-2, dim2=-1).log().sum(-1) - 0.5 * size * math.log(2 * math.pi)
    constant = weights.log() + log_size - 0.5 * (means * linear).sum(-1)
    square = torch.where(i == j, -0.5, -1.0) * precision[..., i, j]
    # Not -inf: the product with a feature that is 0 would be no number.
    return torch.cat([constant.clamp_min(-1e30)[..., None], linear, square], dim=-1).float()
