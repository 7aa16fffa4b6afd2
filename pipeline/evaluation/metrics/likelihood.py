"""Bounds on -log p(x|c) from weights of sampled z, in nats per image. Knows logits and q; not the model.

For grey pixels log p(x|z,c) is minus the Bernoulli cross-entropy, which is no normalised density: values compare
between models of the same images, not with bits per dimension elsewhere.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.models.likelihoods import BERNOULLI, Likelihood


def log_importance_weights(
    logits: Float[Tensor, "... B D"],
    x: Float[Tensor, "B D"],
    z: Float[Tensor, "... B Z"],
    mu: Float[Tensor, "B Z"],
    logvar: Float[Tensor, "B Z"],
    likelihood: Likelihood = BERNOULLI,
) -> Float[Tensor, "... B"]:
    """log p(x|z,c) + log p(z) - log q(z|x,c) in nats, z drawn from q = N(mu, exp(logvar)), p(z) = N(0, I).

    `logits` are the decoder's for z, x in [0, 1]. The mean over draws estimates minus the negative ELBO.
    """
    eps_squared = (z - mu).square() / logvar.exp()
    log_ratio = 0.5 * (eps_squared + logvar - z.square()).sum(-1)  # the two log(2 pi) cancel
    return log_ratio - likelihood.nll(logits, x.expand_as(logits))


class StreamingLogMeanExp:
    """log((1/K) sum_k exp(w_k)) over chunks of K, holding one number per image, so that K = 5,000 fits anywhere."""

    def __init__(self) -> None:
        self.draws = 0
        self.log_sum: Tensor | None = None

    def update(self, log_weights: Float[Tensor, "K B"]) -> None:
        """Add K more draws for the same B images."""
        chunk = log_weights.double().logsumexp(0)
        self.log_sum = chunk if self.log_sum is None else torch.logaddexp(self.log_sum, chunk)
        self.draws += len(log_weights)

    def value(self) -> Float[Tensor, " B"]:
        """The log mean so far, in float64; minus it is the IWAE bound. Needs one update before."""
        assert self.log_sum is not None, "no draws yet"
        return self.log_sum - math.log(self.draws)


def iwae_nll(log_weights: Float[Tensor, "K B"]) -> Float[Tensor, " B"]:
    """-(logsumexp_k log w_k - log K) in nats per image, down is better (Burda et al. 2016, eq. 8).

    An upper bound on -log p(x|c) in expectation: the negative ELBO at K = 1, tighter with K.
    """
    return math.log(len(log_weights)) - log_weights.logsumexp(0)


@dataclass(frozen=True)
class ElboSummary:
    """Means over images, in nats per image; down is better for each but `kl`, which has no better side alone."""

    bce: float
    """Distortion, z sampled."""
    kl: float
    """Rate."""
    neg_elbo: float
    """bce + kl at beta = 1."""
    neg_elbo_sem: float
    """Standard error of neg_elbo over images: its draws are averaged per image first. Not the spread over trainings."""
    excess_bce: float
    """bce less the pixel entropy of the same images, 0 or more: what a perfect decoder could still gain."""


def elbo_summary(bce: Float[Tensor, "S B"], kl: Float[Tensor, " B"], floor: Float[Tensor, " B"]) -> ElboSummary:
    """The negative ELBO (Kingma & Welling 2014, eq. 3) of B images from S draws of z each; `floor` = pixel entropy."""
    distortion, kl, floor = bce.double().mean(0), kl.double(), floor.double()  # (B,) each
    neg_elbo = distortion + kl
    return ElboSummary(
        bce=distortion.mean().item(),
        kl=kl.mean().item(),
        neg_elbo=neg_elbo.mean().item(),
        neg_elbo_sem=neg_elbo.std().item() / math.sqrt(len(neg_elbo)),
        excess_bce=(distortion - floor).mean().item(),
    )
