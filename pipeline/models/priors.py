"""What z is drawn from: N(0, I), or a mixture of Gaussians per class. Knows tensors; fits nothing, reads no files."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.models.losses import gaussian_kl


class Prior(Protocol):
    """p(z|c): one half of a generative model, the decoder being the other."""

    def draw(self, eps: Float[Tensor, "N Z"], u: Float[Tensor, " N"], y: Int[Tensor, " N"]) -> Float[Tensor, "N Z"]:
        """z of class y from standard normal `eps` and `u` uniform in [0, 1): the same noise pairs models and priors."""
        ...

    def log_prob(self, z: Float[Tensor, "N Z"], y: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
        """log p(z|c=y) in nats."""
        ...


@dataclass(frozen=True)
class StandardNormal:
    """N(0, I) for every class: what a cvae is trained against."""

    def draw(self, eps: Float[Tensor, "N Z"], u: Float[Tensor, " N"], y: Int[Tensor, " N"]) -> Float[Tensor, "N Z"]:
        return eps

    def log_prob(self, z: Float[Tensor, "N Z"], y: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
        return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)


STANDARD = StandardNormal()


@dataclass(frozen=True)
class ClassMixtures:
    """A mixture of C Gaussians over z for each of K classes; of one class alone it is every label's."""

    weights: Float[Tensor, "K C"]
    """Sum to 1; a class of fewer components than C has zeros at the end."""
    means: Float[Tensor, "K C Z"]
    roots: Float[Tensor, "K C Z Z"]
    """Lower triangular L with L L^T the covariance of the component."""

    def draw(self, eps: Float[Tensor, "N Z"], u: Float[Tensor, " N"], y: Int[Tensor, " N"]) -> Float[Tensor, "N Z"]:
        """z of class y; `u` picks the component, `eps` the place in it."""
        row = self._row(y)
        edges = self.weights.cumsum(1)[row]  # (N, C)
        last = (self.weights > 0).sum(1)[row] - 1  # rounding may leave the last edge below u
        component = (u[:, None] >= edges).sum(1).minimum(last)
        return self.means[row, component] + (self.roots[row, component] @ eps[:, :, None]).squeeze(-1)

    def log_prob(self, z: Float[Tensor, "N Z"], y: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
        """log sum_c w_c N(z; m_c, L_c L_c^T), class by class: the roots of every z at once would be gigabytes."""
        row, found = self._row(y), z.new_empty(len(z))
        for label in row.unique().tolist():
            own = row == label
            found[own] = self._log_prob_of(label, z[own])
        return found

    def _row(self, y: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
        return y if len(self.weights) > 1 else torch.zeros_like(y)

    def _log_prob_of(self, label: int, z: Float[Tensor, "N Z"]) -> Float[Tensor, " N"]:
        weights, means, roots = (part[label].to(z.device) for part in (self.weights, self.means, self.roots))
        c, size = means.shape
        unit = torch.eye(size, dtype=torch.float64, device=z.device).expand(c, size, size)
        whiten = torch.linalg.solve_triangular(roots.double(), unit, upper=False).to(z)  # L^-1: (C, Z, Z)
        log_size = whiten.diagonal(dim1=-2, dim2=-1).log().sum(-1) - 0.5 * size * math.log(2 * math.pi)  # (C,)
        columns = whiten.permute(2, 0, 1).flatten(1)  # (Z, C Z): every component's L^-1 z in one product
        centres = (whiten @ means.to(z)[:, :, None]).squeeze(-1)  # (C, Z)
        distance = ((z @ columns).unflatten(1, (c, size)) - centres).square().sum(-1)  # (N, C)
        return (weights.to(z).log() + log_size - 0.5 * distance).logsumexp(-1)


def prior_kl(
    mu: Float[Tensor, "B Z"],
    logvar: Float[Tensor, "B Z"],
    z: Float[Tensor, "B Z"],
    y: Int[Tensor, " B"],
    prior: Prior,
) -> Float[Tensor, " B"]:
    """E_q[log q(z|x,c) - log p(z|c)] in nats per image, from one z ~ q(z|x,c) each; unbiased.

    KL(q || N(0, I)) in closed form, and what log p differs from log N(0, I) at z. Of log q - log p the noise would be
    that of z's distance from mu, about sqrt(Z / 2) nats an image; of this it is only that of the difference, which is
    nothing for N(0, I) itself.
    """
    return gaussian_kl(mu, logvar) + STANDARD.log_prob(z, y) - prior.log_prob(z, y)
